"""Layers of torch for sequences: they take ``(T, B, C, H, W)`` and treat each step alike.

Each merges the time and the batch axis, calls its torch parent, and splits them again, so the
batch normalization takes its statistics over (T, B, H, W). ``nn.Linear`` needs no such wrapper.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from purespike.trainer.errors import ShapeError

__all__ = [
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool2d",
    "MaxPool2d",
    "TimeMean",
]


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` on (T, B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve each time step of each sample; (T, B, C', H', W')."""
        return _merged(super().forward, input, self)


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` on (T, B, C, H, W), statistics shared by all time steps."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each channel over (T, B, H, W)."""
        return _merged(super().forward, input, self)


class AvgPool2d(nn.AvgPool2d):
    """``nn.AvgPool2d`` on (T, B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Average over windows of each time step; (T, B, C, H', W')."""
        return _merged(super().forward, input, self)


class MaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d`` on (T, B, C, H, W); on spikes this is OR."""

    def forward(self, input: Tensor) -> Tensor:
        """Take the maximum of windows of each time step; (T, B, C, H', W')."""
        return _merged(super().forward, input, self)


class GlobalAvgPool2d(nn.AdaptiveAvgPool2d):
    """The mean over height and width: (T, B, C, H, W) to (T, B, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, input: Tensor) -> Tensor:
        """Average over all of H and W."""
        return _merged(super().forward, input, self)


class Flatten(nn.Flatten):
    """Everything after time and batch in one axis: (T, B, ...) to (T, B, F)."""

    def __init__(self) -> None:
        super().__init__(start_dim=2)


class TimeMean(nn.Module):
    """The mean over time: (T, B, F) to (B, F)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average over the time steps."""
        return x.mean(0)


def _merged(layer: Callable[[Tensor], Tensor], x: Tensor, module: nn.Module) -> Tensor:
    if x.dim() != 5:
        raise ShapeError(
            f"{type(module).__name__} takes a sequence of images",
            found=f"shape {tuple(x.shape)}",
            allowed="(T, B, C, H, W)",
            where=repr(module),
            remedy="put the time axis first; for one time step x[None]",
        )
    out = layer(x.flatten(0, 1))
    return out.reshape(*x.shape[:2], *out.shape[1:])
