"""A convolution of spikes, its normalization and the neurons behind it as one operation, on a CPU.

Half of what small layers cost is not sums but steps of autograd and what stands around them. One
step computes what :func:`~purespike.trainer.nn.synapses.hear` and
:func:`~purespike.trainer.nn.normed.fire_normed` compute one after the other, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from purespike.trainer.nn.carrying import Packed
from purespike.trainer.nn.filtering import Sizes, by_input
from purespike.trainer.nn.normed import Neurons, Norm, fired, unfired
from purespike.trainer.nn.once import once
from purespike.trainer.nn.synapses import heard, possible, unheard

__all__ = ["hear_and_fire"]


def hear_and_fire(
    x: Tensor,
    spikes: Packed,
    kernel: tuple[Tensor, Sizes, tuple[bool, bool]],
    weight: Tensor,
    bias: Tensor,
    norm: Norm,
    neurons: Neurons,
) -> tuple[Tensor, Tensor]:
    """Convolve, normalize and fire.

    Args:
        x: spikes (T, B, C, H, W), or (1, B, C, H, W) with ``neurons.steps``.
        spikes: the same in bits.
        kernel: (C', C, kh, kw), with its sizes and what is computed by events, as
            :func:`~purespike.trainer.nn.synapses.hear` takes them.
        weight: of the normalization, (C',), in the dtype of ``x``, as ``bias``.
        bias: likewise.
        norm: the rest of it.
        neurons: what fires.

    Returns:
        Spikes (T, B, C', H', W'), and their mean, which carries no gradient.
    """
    out, rate = _Unit.apply(  # type: ignore[no-untyped-call]
        x, kernel[0], weight, bias, spikes, kernel[1:], norm, neurons
    )
    return out, rate


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernel: Tensor,
        weight: Tensor,
        bias: Tensor,
        spikes: Packed,
        how: tuple[Sizes, tuple[bool, bool]],
        norm: Norm,
        neurons: Neurons,
    ) -> tuple[Tensor, Tensor]:
        sizes, events = how
        events = possible(spikes.size, kernel, sizes, events)
        flat = x.flatten(0, 1)
        currents = heard(flat, spikes, kernel, None, sizes, events[0])
        currents = currents.contiguous(memory_format=torch.channels_last)
        currents = currents.view(*x.shape[:2], *currents.shape[1:])
        out, rate, moments = fired(ctx, currents, weight, bias, norm, neurons)
        dense = None if events[1] else flat
        ctx.save_for_backward(currents, weight, bias, moments, kernel, spikes.bits, dense)
        ctx.neurons, ctx.size, ctx.sizes, ctx.shape = neurons, spikes.size, sizes, x.shape
        return out, rate

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        currents, weight, bias, moments, kernel, bits, dense = ctx.saved_tensors
        grad, by_weight, by_bias = unfired(
            grad_outputs[0], currents, weight, bias, moments, ctx.neurons
        )
        grad = grad.flatten(0, 1)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = by_input(grad, kernel, ctx.size, ctx.sizes).view(ctx.shape)
        by_kernel = unheard(grad, bits, kernel, dense, ctx.size, ctx.sizes)
        return by_x, by_kernel, by_weight, by_bias, None, None, None, None
