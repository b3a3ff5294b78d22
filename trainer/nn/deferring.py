"""Normalizations that leave their work, and that of their convolutions, to the neuron behind them.

Modules become these classes while :func:`~purespike.trainer.nn.spiking.spike_kernels` is on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from purespike.trainer.nn import layers, native
from purespike.trainer.nn.carrying import Packed
from purespike.trainer.nn.normed import Neurons, Norm, fire_normed
from purespike.trainer.nn.unit import hear_and_fire

__all__ = ["Deferred", "Link", "Normed", "listened", "tensors_of"]


class Link:
    """A normalization, the neuron that computes it, and what a convolution leaves to both.

    Attributes:
        pending: what the neuron shall normalize.
        heard: what it shall convolve first: spikes, their bits, and the kernel.
    """

    def __init__(self, norm: Any, neuron: Any) -> None:
        self.norm, self.neuron = norm, neuron
        self.pending: Tensor | None = None
        self.heard: tuple[Tensor, Packed, Any] | None = None
        self.promised = torch.empty(0)

    def deferred(self, x: Tensor, channels: int) -> bool:
        """Whether the neuron computes the normalization of currents like x, of so many channels."""
        norm = self.norm
        wide = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
        found: bool = (
            norm.training
            and torch.is_grad_enabled()
            and native.usable(x)
            and channels == norm.num_features
            and not norm.over_processes
            and norm.momentum is not None
            and tensors_of(norm, wide) is not None
            and not listened(norm)
            and not self.neuron._forward_pre_hooks
            and not self.neuron._backward_hooks
            and not self.neuron._backward_pre_hooks
            and "forward" not in vars(self.neuron)
        )
        return found

    def promise(self, x: Tensor, shape: Any) -> Tensor:
        """What stands for currents that are not computed yet: their shape, and no number."""
        size = (*x.shape[:2], shape.out, shape.rows, shape.columns)
        if self.promised.shape != size or self.promised.dtype != x.dtype:
            self.promised = x.new_full((1,), torch.nan).expand(size)
        return self.promised


class Deferred:
    """A normalization that leaves its work to the neuron behind it."""

    def forward(self: Any, input: Tensor) -> Tensor:
        """Hand on what is to be normalized (T, B, C, H, W), or normalize it."""
        link = self._spiking
        begun = link.heard is not None and input is link.promised
        if begun or (
            input.dim() == 5
            and input.numel() > input.shape[2]
            and link.deferred(input, input.shape[2])
        ):
            link.pending = input
            return input
        link.pending = None
        plain: Tensor = super().forward(input)  # type: ignore[misc]
        return plain


class Normed:
    """A neuron that normalizes its input, too."""

    def forward(self: Any, x: Tensor, steps: int | None = None) -> Tensor:
        """Spikes (T, B, C, H, W) of currents or of what was left to it."""
        link = self._spiking
        pending, link.pending = link.pending, None
        heard, link.heard = link.heard, None
        if pending is None or pending is not x:
            plain: Tensor = super().forward(x, steps)  # type: ignore[misc]
            return plain
        norm = link.norm
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        weight = norm.weight
        if isinstance(norm, layers.ThresholdBatchNorm2d):
            weight = weight * norm.scale
        neurons = Neurons(self.decay, self.input_scale, self.dynamics(), steps)
        moments = Norm(norm.eps, norm.momentum, norm.running_mean, norm.running_var)
        if heard is not None:
            x, bits, kernel = heard
            spikes, self.firing_rate = hear_and_fire(
                x, bits, kernel, weight, norm.bias, moments, neurons
            )
            return spikes
        if not x[0].is_contiguous(memory_format=torch.channels_last) or (
            len(x) > 1 and x.stride(0) != x[0].numel()
        ):
            flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            x = flat.reshape(*x.shape[:2], *flat.shape[1:])
        spikes, self.firing_rate = fire_normed(x, weight, norm.bias, moments, neurons)
        return spikes


def tensors_of(norm: Any, dtype: torch.dtype) -> tuple[Any, ...] | None:
    """Weight, bias, running mean and variance, where the kernels can read and write them all."""
    # Not as attributes: what a module holds as a parameter is found last of all there.
    given, kept = norm._parameters, norm._buffers
    found = *map(given.get, ("weight", "bias")), *map(kept.get, ("running_mean", "running_var"))
    size = (norm.num_features,)
    for each in found:
        if each is None or each.dtype != dtype or each.shape != size or not each.is_contiguous():
            return None
    return found


def listened(module: Any) -> bool:
    """Whether a hook, or a forward that was put on it, would see what a module takes or gives."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in vars(module)
    )
