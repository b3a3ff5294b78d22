"""The network: any torch module that takes spikes (T, B, C, H, W) and returns logits (B, K)."""

from __future__ import annotations

from torch import Tensor, nn

import purespike.nn as ps


def block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and neurons; the compiler fuses the first two."""
    convolution = ps.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, ps.BatchNorm2d(out), ps.IF())


class Network(nn.Module):
    """Two paths that a logical gate joins: with ADD in its place the verdict says no."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = block(5, 8)
        self.layer2 = block(8, 8, stride=2)
        self.layer3 = block(8, 8)
        self.join = ps.Or()
        self.readout = nn.Sequential(ps.Flatten(), ps.TimeMean(), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, 10)."""
        x = self.layer2(self.layer1(x))
        logits: Tensor = self.readout(self.join(self.layer3(x), x))
        return logits


def make() -> nn.Module:
    """What recipe.toml and the command line name as ``network:make``."""
    return Network()
