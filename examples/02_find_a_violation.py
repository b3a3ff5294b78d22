"""Your own torch module, with a mistake in it: the verdict names the layer and says what to do.

python examples/02_find_a_violation.py
"""

import numpy as np
from torch import Tensor, nn

import purespike as ps
from purespike.nn import IF, Add, Conv2d, Flatten, GlobalAvgPool2d, Iand, TimeMean

STEPS, SAMPLES, CLASSES = 4, 16, 10


class Net(nn.Module):
    """One residual block on spikes, joined by ``join``."""

    def __init__(self, join: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv2d(2, 8, 3, padding=1), IF())
        self.residual = nn.Sequential(Conv2d(8, 8, 3, padding=1), IF())
        self.join = join
        self.behind = nn.Sequential(Conv2d(8, 8, 3, padding=1), IF())
        self.readout = nn.Sequential(
            GlobalAvgPool2d(), Flatten(), TimeMean(), nn.Linear(8, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, 2, H, W) spikes to (B, classes)."""
        x = self.stem(x)
        logits: Tensor = self.readout(self.behind(self.join(self.residual(x), x)))
        return logits


def main() -> None:
    rng = np.random.default_rng(0)
    spikes = rng.random((STEPS, SAMPLES, 2, 8, 8)) < 0.3
    samples = ps.Samples(spikes)  # the network is untrained: no labels
    for join in (Add(), Iand()):  # SEW ADD carries integers; IAND carries spikes
        build = ps.compile(Net(join), samples, golden=4, lava="none")
        print(f"{type(join).__name__}: {build.headline}")
        for finding in build.findings:
            if finding.status == "FAIL":
                print(f"  {finding.rule.id} at {finding.where}: {finding.measured}")
                print(f"        to do: {finding.remedy}")


if __name__ == "__main__":
    main()
