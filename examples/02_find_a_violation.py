"""Your own torch module, with a mistake in it: the verdict names the layer and says what to do.

python examples/02_find_a_violation.py
"""

import numpy as np
from torch import Tensor, nn

from purespike.flow.build import Options, Subject, build
from purespike.trainer.nn.gates import Add, Iand
from purespike.trainer.nn.layers import Conv2d, Flatten, GlobalAvgPool2d, TimeMean
from purespike.trainer.nn.neuron import IF

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
        return self.readout(self.behind(self.join(self.residual(x), x)))


def main() -> None:
    rng = np.random.default_rng(0)
    spikes = (rng.random((STEPS, SAMPLES, 2, 8, 8)) < 0.3).astype(np.uint8)
    labels = rng.integers(0, CLASSES, SAMPLES)
    for join in (Add(), Iand()):  # SEW ADD carries integers; IAND carries spikes
        name = type(join).__name__
        subject = Subject(name, Net(join), (2, 8, 8), spikes, labels)
        report = build(subject, Options(golden=4, lava="none")).report
        print(f"{name}: {report.headline}")
        for finding in report.findings:
            if finding.status == "FAIL":
                print(f"  {finding.rule.id} at {finding.where}: {finding.measured}")
                print(f"        to do: {finding.remedy}")


if __name__ == "__main__":
    main()
