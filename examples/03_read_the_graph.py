"""What a network became: its graph in integers, what it does, and what is proved about it.

python examples/03_read_the_graph.py
"""

import numpy as np
import torch
from torch import nn

import purespike as ps
from purespike.nn import IF, Conv2d, Flatten, GlobalAvgPool2d, TimeMean


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        Conv2d(2, 4, 3, padding=1), IF(), GlobalAvgPool2d(), Flatten(), TimeMean(), nn.Linear(4, 3)
    )
    x = np.random.default_rng(0).random((4, 16, 2, 6, 6)) < 0.4
    build = ps.compile(model, ps.Samples(x), golden=4, lava="none")
    print(build.graph)
    ran = build.simulate(x, membranes=True)
    print("decisions:", ran.decisions)
    for row in build.report.activity:  # bounds for any input, before the reset
        low, high = row.membrane_bound
        seen = ran.membranes[row.name] / 64  # in weights
        assert low <= seen.min() and seen.max() <= high
        print(
            f"{row.name}: membrane proved in {low:g} to {high:g}, "
            f"seen {seen.min():g} to {seen.max():g}"
        )


if __name__ == "__main__":
    main()
