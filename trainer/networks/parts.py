"""What a builder of a network returns, and how wide its layers are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

__all__ = ["Parts", "scaled"]


@dataclass(frozen=True)
class Parts:
    """A network without its heads.

    Attributes:
        stem: from the input to the first spikes; its first layer is a convolution.
        blocks: modules ``(s, a) -> (s', a')`` with ``out_channels``.
        stages: how many blocks each stage has; a stage keeps its shape.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    stages: tuple[int, ...]


def scaled(channels: int, width: float) -> int:
    """The channels of a network that is ``width`` times as wide."""
    return max(1, round(channels * width))
