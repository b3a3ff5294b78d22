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
from torch.autograd.function import once_differentiable

from purespike.trainer.nn.dynamics import Dynamics
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.native import function, threads

__all__ = ["Neurons", "fire_normed", "statistics"]


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


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, float64 (C,), of (T, B, C, H, W) channels last."""
    channels = x.shape[2]
    mean, variance = torch.empty((2, channels), dtype=torch.float64)
    function("statistics", x.dtype)(
        *(x.data_ptr(), x.numel() // channels, channels),
        *(mean.data_ptr(), variance.data_ptr(), threads(x)),
    )
    return mean, variance


def fire_normed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    moments: tuple[Tensor, Tensor],
    eps: float,
    neurons: Neurons,
) -> tuple[Tensor, Tensor]:
    """Normalize and fire.

    Args:
        x: currents (T, B, C, H, W), or (1, B, C, H, W) with ``neurons.steps``, channels last.
        weight: of the normalization, (C,).
        bias: likewise.
        moments: of x, from :func:`statistics`.
        eps: of the normalization.
        neurons: what fires.

    Returns:
        Spikes (T, B, C, H, W), and their mean, which carries no gradient.
    """
    spikes, rate = _FireNormed.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, moments, eps, neurons
    )
    return spikes, rate


class _FireNormed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        moments: tuple[Tensor, Tensor],
        eps: float,
        neurons: Neurons,
    ) -> tuple[Tensor, Tensor]:
        mean, variance = moments
        inverse = (variance + eps).rsqrt()
        factor = weight.double() * inverse
        shift = (bias.double() - mean * factor).to(x.dtype)
        factor = factor.to(x.dtype)
        held = neurons.steps is not None
        steps, n = neurons.steps or len(x), x[0].numel()
        spikes = x.new_empty_strided((steps, *x.shape[1:]), (n, *x.stride()[1:]))
        fired = function("normed", x.dtype)(
            *(x.data_ptr(), 0 if held else n, spikes.data_ptr(), steps, n, x.shape[2]),
            *(factor.data_ptr(), shift.data_ptr(), *_firing(neurons), threads(spikes)),
        )
        ctx.save_for_backward(x, weight, bias, mean, inverse)
        ctx.neurons = neurons
        rate = torch.tensor(fired / spikes.numel(), dtype=x.dtype)
        ctx.mark_non_differentiable(rate)
        return spikes, rate

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, inverse = ctx.saved_tensors
        neurons: Neurons = ctx.neurons
        held = neurons.steps is not None
        steps, n, channels = neurons.steps or len(x), x[0].numel(), x.shape[2]
        grad = grad_outputs[0]
        if grad.stride() != (wanted := (n, *x.stride()[1:])):
            grad = grad.new_empty_strided(grad.shape, wanted).copy_(grad)
        factor = weight.double() * inverse
        constants = [
            each.to(x.dtype) for each in (factor, bias.double() - mean * factor, mean, inverse)
        ]
        out = torch.empty_like(x)
        sums = torch.empty((2, channels), dtype=torch.float64)
        kind, steepness, peak = SLOPES[type(neurons.dynamics.surrogate)](neurons.dynamics.surrogate)
        function("unnormed", x.dtype)(
            *(grad.data_ptr(), x.data_ptr(), 0 if held else n, out.data_ptr(), steps, n, channels),
            *(*(each.data_ptr() for each in constants), sums.data_ptr(), *_firing(neurons)),
            *(neurons.dynamics.detach_reset, kind, steepness, peak, threads(grad)),
        )
        by_bias, by_weight = sums
        if ctx.needs_input_grad[0]:
            # d x = factor (g - mean g - x^ mean(g x^)), x^ = (x - mean) inverse
            m = x.numel() // channels
            slope = -factor * inverse * by_weight / m
            terms = [e.to(x.dtype) for e in (factor, slope, -factor * by_bias / m - slope * mean)]
            function("combine", x.dtype)(
                *(out.data_ptr(), x.data_ptr(), x.numel(), channels),
                *(*(each.data_ptr() for each in terms), threads(x)),
            )
        return out, by_weight.to(weight.dtype), by_bias.to(bias.dtype), None, None, None


def _firing(neurons: Neurons) -> tuple[float, float, float, float, int]:
    dynamics = neurons.dynamics
    return (
        *(neurons.input_scale, neurons.decay, dynamics.threshold, dynamics.amount),
        int(dynamics.reset == "zero"),
    )
