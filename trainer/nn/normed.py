"""Batch normalization and the neurons behind it as one operation, on a CPU.

Two walks over memory forward (statistics, then normalize and fire), two back, and the one thing
that is kept is the input current: the membrane potentials are computed again from it. The numbers
are those of :class:`~purespike.trainer.nn.layers.BatchNorm2d` and
:class:`~purespike.trainer.nn.neuron.Neuron` one after the other up to the rounding of the
normalization and the order of its sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from purespike.trainer.nn.carrying import carry, room_for
from purespike.trainer.nn.dynamics import Dynamics
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.native import function, threads
from purespike.trainer.nn.once import once

__all__ = ["Neurons", "Norm", "fire_normed"]


@dataclass(frozen=True, eq=False)
class Neurons:
    """What stands behind the normalization.

    Attributes:
        decay: of the membrane potential, after the reset.
        input_scale: factor on the normalized current.
        dynamics: with a surrogate of `SLOPES`, and not rectified.
        steps: T, if the same current enters at every step.
    """

    decay: float
    input_scale: float
    dynamics: Dynamics
    steps: int | None


@dataclass(frozen=True, eq=False)
class Norm:
    """The normalization.

    Attributes:
        eps: under the root of the variance.
        momentum: of the running statistics.
        running_mean: (C,), changed in the forward pass.
        running_var: likewise.
    """

    eps: float
    momentum: float
    running_mean: Tensor
    running_var: Tensor


def fire_normed(
    x: Tensor, weight: Tensor, bias: Tensor, norm: Norm, neurons: Neurons
) -> tuple[Tensor, Tensor]:
    """Normalize and fire.

    Args:
        x: currents (T, B, C, H, W), or (1, B, C, H, W) with ``neurons.steps``, channels last; in
            float64, float32 or bfloat16.
        weight: of the normalization, (C,), in float64 or else float32, as ``bias`` and the running
            statistics.
        bias: likewise.
        norm: the rest of it.
        neurons: what fires.

    Returns:
        Spikes (T, B, C, H, W), and their mean, which carries no gradient.
    """
    spikes, rate = _FireNormed.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, norm, neurons
    )
    return spikes, rate


class _FireNormed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: Norm, neurons: Neurons
    ) -> tuple[Tensor, Tensor]:
        spikes, rate, moments = fired(ctx, x, weight, bias, norm, neurons)
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.neurons = neurons
        return spikes, rate

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, moments = ctx.saved_tensors
        grads = unfired(grad_outputs[0], x, weight, bias, moments, ctx.neurons)
        return *grads, None, None


def fired(
    ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: Norm, neurons: Neurons
) -> tuple[Tensor, Tensor, Tensor]:
    """The forward pass of :func:`fire_normed` in a step of autograd; also the moments, (2, C)."""
    held = neurons.steps is not None
    steps, n, channels = neurons.steps or len(x), x.numel() // len(x), x.shape[2]
    spikes = x.new_empty_strided((steps, *x.shape[1:]), (n, *x.stride()[1:]))
    moments = torch.empty((2, channels), dtype=torch.float64)
    bits, room = room_for(spikes)
    count = function("normed", x.dtype)(
        *(x.data_ptr(), 0 if held else n, x.numel() // channels, spikes.data_ptr(), room),
        *(steps, n, channels, weight.data_ptr(), bias.data_ptr(), norm.eps),
        *(norm.running_mean.data_ptr(), norm.running_var.data_ptr(), norm.momentum),
        *(moments.data_ptr(), moments.data_ptr() + 8 * channels),
        *(*_firing(neurons), threads(spikes)),
    )
    carry(ctx, bits, spikes, count)
    rate = torch.tensor(count / spikes.numel(), dtype=weight.dtype)
    ctx.mark_non_differentiable(rate)
    return spikes, rate, moments


def unfired(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, moments: Tensor, neurons: Neurons
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward pass of :func:`fire_normed`: gradients by x, weight and bias."""
    held = neurons.steps is not None
    steps, n, channels = len(grad), x.numel() // len(x), x.shape[2]
    stride = n, *x.stride()[1:]
    if grad.dtype != x.dtype or grad.stride() != stride:
        grad = x.new_empty_strided(grad.shape, stride).copy_(grad)
    out, by_weight, by_bias = (torch.empty_like(each) for each in (x, weight, bias))
    kind, steepness, peak = SLOPES[type(neurons.dynamics.surrogate)](neurons.dynamics.surrogate)
    function("unnormed", x.dtype)(
        *(grad.data_ptr(), x.data_ptr(), 0 if held else n, out.data_ptr(), steps, n, channels),
        *(weight.data_ptr(), bias.data_ptr()),
        *(moments.data_ptr(), moments.data_ptr() + 8 * channels),
        *(by_weight.data_ptr(), by_bias.data_ptr(), *_firing(neurons)),
        *(neurons.dynamics.detach_reset, kind, steepness, peak, threads(grad)),
    )
    return out, by_weight, by_bias


def _firing(neurons: Neurons) -> tuple[float, float, float, float, int]:
    dynamics = neurons.dynamics
    return (
        *(neurons.input_scale, neurons.decay, dynamics.threshold, dynamics.amount),
        int(dynamics.reset == "zero"),
    )
