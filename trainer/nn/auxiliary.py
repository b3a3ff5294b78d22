"""Paths that exist only while training.

A module whose class says ``auxiliary = True`` is training-only with everything inside it: the
main output must not depend on it, and the compiler removes it. Two kinds live here: the auxiliary
accumulation pathway (AAP) of the full-spike paper, which adds up the spikes of all blocks beside
the spike stream, and the shortcut branches of the shortcut back-propagation paper, small
classifiers on the output of single blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    TimeMean,
)

__all__ = [
    "SCHEDULES",
    "AapAvgPool",
    "AapDownsample",
    "AapMaxPool",
    "AapProjection",
    "Accumulate",
    "AuxiliaryLinear",
    "BalanceSchedule",
    "PooledFeatures",
    "ShortcutBranch",
    "auxiliary_modules",
    "is_auxiliary",
]


class Accumulate(nn.Module):
    """One step along the accumulation pathway, ``a + o`` (AAP paper, Eq. 11)."""

    auxiliary: bool = True  # a DSNN, which deploys the pathway, clears it

    def forward(self, a: Tensor, o: Tensor) -> Tensor:
        """Add a block's spikes ``o`` to the pathway ``a``, both (T, B, C, H, W)."""
        return a + o


class AapDownsample(nn.Sequential):
    """What carries the accumulation pathway past a block that changes the shape.

    With a stride: depthwise 3x3 with that stride, 1x1, batch normalization, ReLU; without one: 1x1,
    batch normalization, ReLU (the AAP paper's released code; its operation counts agree).
    """

    auxiliary: bool = True

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        depthwise = (
            []
            if stride == 1
            else [
                Conv2d(
                    in_channels,
                    in_channels,
                    kernel_size=3,
                    stride=stride,
                    padding=1,
                    groups=in_channels,
                    bias=False,
                )
            ]
        )
        super().__init__(
            *depthwise,
            Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
            BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class AapAvgPool(AvgPool2d):
    """Average pooling of the accumulation pathway, where the spike stream is averaged too."""

    auxiliary: bool = True


class AapMaxPool(MaxPool2d):
    """Max pooling of the accumulation pathway, where the spike stream is max-pooled too.

    The papers do not say how the pathway passes a pooling layer; as the spike stream does, both
    streams stay equal where the residual functions are silent.
    """

    auxiliary: bool = True


class AapProjection(nn.Sequential):
    """What carries the pathway past a linear layer: (T, B, F) to (T, B, F').

    The papers have images only; a 1x1 convolution on images of one pixel is a linear layer.
    """

    auxiliary: bool = True

    def __init__(self, features: int, out_features: int) -> None:
        super().__init__(nn.Linear(features, out_features, bias=False), nn.ReLU())


class PooledFeatures(nn.Sequential):
    """The mean over space and time, as the auxiliary heads read it.

    (T, B, C, H, W) to (B, C); where the network has vectors and not images, (T, B, F) to (B, F).
    """

    auxiliary: bool = True

    def __init__(self, *, images: bool = True) -> None:
        super().__init__(*([GlobalAvgPool2d(), Flatten()] if images else []), TimeMean())


class ShortcutBranch(nn.Sequential):
    """A classifier on one block's output (shortcut paper, Eq. 6).

    (T, B, C, H, W) to (B, K); where the network has vectors and not images, from (T, B, F).
    """

    auxiliary: bool = True

    def __init__(self, channels: int, classes: int, *, images: bool = True) -> None:
        pool = [GlobalAvgPool2d(), Flatten()] if images else []
        super().__init__(*pool, TimeMean(), nn.Linear(channels, classes))


SCHEDULES = ("linear", "constant", "cosine")


@dataclass(frozen=True)
class BalanceSchedule:
    """The balance coefficient of the shortcut branches over the training (shortcut paper, Eq. 10).

    ``linear``: ``initial * (1 - i/I)``, the paper's evolutionary training; ``cosine``:
    ``initial * (1 + cos(pi i/I)) / 2``; ``constant``: plain shortcut back-propagation.
    """

    initial: float = 0.25
    kind: str = "linear"

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ConfigError(
                "unknown schedule of the balance coefficient",
                found=repr(self.kind),
                allowed=", ".join(SCHEDULES),
                where="balance.kind",
                remedy="'linear' is the paper's",
            )
        if not 0.0 <= self.initial < math.inf:
            raise ConfigError(
                "the initial balance coefficient must be a finite number of at least 0",
                found=repr(self.initial),
                allowed=">= 0",
                where="balance.initial",
                remedy="0.25 is the paper's",
            )

    def at(self, iteration: int, total: int) -> float:
        """Return the coefficient at iteration ``i`` of ``total`` iterations ``I``; 0 at the end."""
        if self.kind == "constant":
            return self.initial
        progress = min(max(iteration / max(total, 1), 0.0), 1.0)
        if self.kind == "linear":
            return self.initial * (1.0 - progress)
        return self.initial * (1.0 + math.cos(math.pi * progress)) / 2.0


class AuxiliaryLinear(nn.Linear):
    """A classifier that the accumulation pathway has to itself: (B, F) to (B, K)."""

    auxiliary: bool = True


def is_auxiliary(module: nn.Module) -> bool:
    """Whether a module is marked as training-only; a submodule of that name is not a mark."""
    return getattr(module, "auxiliary", False) is True


def auxiliary_modules(model: nn.Module) -> frozenset[str]:
    """Dotted names of all marked modules and of everything inside them."""
    marked = [(name, module) for name, module in model.named_modules() if is_auxiliary(module)]
    return frozenset(
        inner for name, module in marked for inner, _ in module.named_modules(prefix=name)
    )
