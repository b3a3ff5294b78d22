"""Layers of torch for sequences: they take ``(T, B, C, H, W)`` and treat each step alike.

Each merges the time and the batch axis, calls its torch parent, and splits them again, so the
batch normalization takes its statistics over (T, B, H, W). ``nn.Linear`` needs no such wrapper.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from purespike.trainer.errors import ShapeError
from purespike.trainer.nn import pointwise
from purespike.trainer.nn.normalization import normalize
from purespike.trainer.nn.pooling import halve, halves

__all__ = [
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "Flatten",
    "GlobalAvgPool2d",
    "MaxPool2d",
    "ThresholdBatchNorm2d",
    "TimeMean",
]


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` on (T, B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve each time step of each sample; (T, B, C', H', W')."""
        return _merged(super().forward, input, self)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, padding = _padded(self, input)
        return pointwise.conv2d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(nn.Conv1d):
    """``nn.Conv1d`` on (T, B, C, 1, L): a signal is an image of height 1.

    All other layers of images take it as it is; pool with kernels (1, k).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve each time step of each sample; (T, B, C', 1, L')."""
        if input.dim() != 5 or input.shape[3] != 1:
            raise ShapeError(
                "Conv1d takes a sequence of signals",
                found=f"shape {tuple(input.shape)}",
                allowed="(T, B, C, 1, L)",
                where=repr(self),
                remedy="give signals a height of 1: x.unsqueeze(-2)",
            )
        out = super().forward(input.squeeze(3).flatten(0, 1))
        return out.reshape(*input.shape[:2], out.shape[1], 1, out.shape[2])

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, padding = _padded(self, input)
        return pointwise.conv1d(x, weight, bias, self.stride, padding, self.dilation, self.groups)


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` on (T, B, C, H, W), statistics shared by all time steps.

    Attributes:
        over_processes: take the statistics over the shares of all training processes.
    """

    over_processes: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each channel over (T, B, H, W)."""
        if self.training and self.over_processes:
            return _merged(partial(normalize, norm=self), input, self)
        return _merged(super().forward, input, self)


class ThresholdBatchNorm2d(BatchNorm2d):
    """tdBN: ``weight * alpha * threshold * (x - mean) / sqrt(var + eps) + bias`` (T, B, C, H, W).

    Statistics are shared by all time steps. Scaling the normalized current by the threshold keeps
    the firing rate and the gradient of a layer where deep networks can be trained; ``alpha`` is 1,
    and ``1 / sqrt(n)`` for each of n currents that meet in one sum (Zheng et al. 2021, Eq. 4 and
    5; used by InfLoR-SNN).

    Args:
        channels: C.
        threshold: firing threshold of the neuron behind it.
        terms: how many normalized currents the neuron adds up, n.
    """

    def __init__(self, channels: int, threshold: float, terms: int = 1) -> None:
        super().__init__(channels)
        self.scale = threshold / terms**0.5

    def forward(self, input: Tensor) -> Tensor:
        """Normalize each channel over (T, B, H, W) to the scale of the threshold."""
        return _merged(self._normalize, input, self)

    def _normalize(self, x: Tensor) -> Tensor:
        if self.training and self.over_processes:
            return normalize(x, self, self.scale)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight * self.scale,
            self.bias,
            self.training,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )


class AvgPool2d(nn.AvgPool2d):
    """``nn.AvgPool2d`` on (T, B, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Average over windows of each time step; (T, B, C, H', W')."""
        return _merged(self._pool, input, self)

    def _pool(self, x: Tensor) -> Tensor:
        return halve(x) if halves(self, x) else super().forward(x)


class MaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d`` on (T, B, C, H, W); on spikes this is OR."""

    def forward(self, input: Tensor) -> Tensor:
        """Take the maximum of windows of each time step; (T, B, C, H', W')."""
        return _merged(super().forward, input, self)


class AdaptiveMaxPool2d(nn.AdaptiveMaxPool2d):
    """``nn.AdaptiveMaxPool2d`` on (T, B, C, H, W); on spikes this is OR."""

    def forward(self, input: Tensor) -> Tensor:
        """Take the maximum of equal windows of each time step; (T, B, C, H', W')."""
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


def _padded(layer: nn.Conv1d | nn.Conv2d, x: Tensor) -> tuple[Tensor, str | tuple[int, ...]]:
    """What a convolution reads, and the zeros that are still to be put around it."""
    if layer.padding_mode == "zeros":
        return x, layer.padding
    around = layer._reversed_padding_repeated_twice
    return functional.pad(x, around, mode=layer.padding_mode), (0,) * len(layer.kernel_size)


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
