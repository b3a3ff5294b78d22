"""All time steps of a layer of spiking neurons as one operation, with a backward pass by hand.

    h[t] = decay * v[t-1] + input_scale * x[t]
    s[t] = 1 if h[t] >= threshold else 0
    v[t] = h[t] where s[t] is 0, and 0 where it is 1       (reset 'zero')
    v[t] = h[t] - amount * s[t]                            (reset 'subtract')

With the membrane potential rectificator the neuron fires where ``rectify(h[t]) >= threshold``,
which is where ``h[t] >= threshold``; only the gradient is another. The state starts at rest,
``v[-1] = 0``. An exact tie ``h == threshold`` fires. Products and sums are rounded one after the
other (no fused multiply-add), so that an interpreter that follows the formulas literally is
bit-equal. On a CPU with a C++ compiler :mod:`purespike.trainer.nn.kernel` computes the same,
faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from purespike.trainer.nn import kernel
from purespike.trainer.nn.native import usable
from purespike.trainer.nn.once import once
from purespike.trainer.nn.rectificator import rectify, rectify_slope
from purespike.trainer.nn.surrogate import ATan, Surrogate

__all__ = ["RESETS", "Coefficient", "Dynamics", "Reset", "fire"]

Reset = Literal["zero", "subtract"]
RESETS: tuple[Reset, ...] = ("zero", "subtract")
Coefficient = Tensor | float  # a tensor where it is learned
_HALF = (torch.bfloat16, torch.float16)  # inputs under autocast; membranes stay in 32 bits


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What a layer of neurons does besides charging, as `purespike.trainer.nn.neuron.Neuron` says.

    Attributes:
        threshold: fires on ``>=``.
        reset: 'zero' or 'subtract'.
        amount: what a soft reset subtracts.
        rectified: fires through the membrane potential rectificator.
        surrogate: the pseudo-derivative of the firing step.
        detach_reset: whether no gradient flows through the reset.
    """

    threshold: float
    reset: Reset
    amount: float
    rectified: bool = False
    surrogate: Surrogate = field(default_factory=ATan)
    detach_reset: bool = True


def fire(
    x: Tensor,
    decay: Coefficient,
    input_scale: Coefficient,
    dynamics: Dynamics,
    steps: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Run all steps, differentiably.

    Args:
        x: input currents, (T, B, ...); with ``steps`` (1, B, ...).
        decay: of the membrane potential, after the reset.
        input_scale: factor on ``x``.
        dynamics: what the neurons do with it.
        steps: T, if the same current enters at every step. It is read where it lies, and the
            backward pass adds up the gradients of the steps, from the last to the first.

    Returns:
        Spikes (T, B, ...) in the dtype of ``x``, and their mean, which carries no gradient.
    """
    spikes, rate = _Fire.apply(  # type: ignore[no-untyped-call]
        x, decay, input_scale, dynamics, steps
    )
    return spikes, rate


class _Fire(torch.autograd.Function):
    """All time steps forward and backward through time.

    Only ``h - threshold`` is kept for the backward pass, in bfloat16 where the input is: its sign
    is the spikes, exactly. A learned decay or input scale needs ``x`` too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        decay: Coefficient,
        input_scale: Coefficient,
        dynamics: Dynamics,
        steps: int | None,
    ) -> tuple[Tensor, Tensor]:
        keep, scale = float(decay), float(input_scale)
        # Whoever replaces a threshold by a tensor, one per channel, gets what torch makes of it.
        plain = all(isinstance(c, int | float) for c in (dynamics.threshold, dynamics.amount))
        ctx.fast = plain and usable(x)
        currents = x if steps is None else x.expand(steps, *x.shape[1:])
        if ctx.fast:
            spikes, gap, rate = kernel.forward(
                currents,
                scale=scale,
                decay=keep,
                threshold=dynamics.threshold,
                amount=dynamics.amount,
                to_zero=dynamics.reset == "zero",
                keep_gap=any(ctx.needs_input_grad),
            )
            firing_rate = torch.tensor(rate, dtype=_wide(x[:0]).dtype)
        else:
            spikes, gap, firing_rate = _forward(currents, keep, scale, dynamics)
        learned = isinstance(decay, Tensor) or isinstance(input_scale, Tensor)
        ctx.save_for_backward(gap, x if learned else None)
        ctx.dynamics, ctx.keep, ctx.scale, ctx.dtype = dynamics, keep, scale, x.dtype
        ctx.held = steps is not None
        ctx.mark_non_differentiable(firing_rate)
        return spikes, firing_rate

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gap, x = ctx.saved_tensors
        dynamics: Dynamics = ctx.dynamics
        if ctx.fast and x is None:
            grad_x = kernel.backward(
                grad_outputs[0],
                gap,
                scale=ctx.scale,
                decay=ctx.keep,
                threshold=dynamics.threshold,
                amount=dynamics.amount,
                to_zero=dynamics.reset == "zero",
                detached=dynamics.detach_reset,
                held=ctx.held,
                surrogate=None if dynamics.rectified else dynamics.surrogate,
                slope=lambda: _slope(_wide(gap), dynamics),
            )
            return grad_x, None, None, None, None
        grad_h = _backward(_wide(grad_outputs[0]), _wide(gap), ctx.keep, dynamics)
        by_decay = by_scale = None
        if ctx.needs_input_grad[1]:  # dh[t]/d(decay) = v[t-1]
            h, fired = _wide(gap) + dynamics.threshold, _wide(gap) >= 0.0
            v = (
                h.masked_fill(fired, 0.0)
                if dynamics.reset == "zero"
                else torch.sub(h, fired.to(h.dtype), alpha=dynamics.amount)
            )
            by_decay = (grad_h[1:] * v[:-1]).sum()
        if ctx.needs_input_grad[2]:
            by_scale = (grad_h * x).sum()
        if ctx.held:
            for t in range(len(grad_h) - 2, -1, -1):  # in the order in which the kernel adds
                grad_h[-1] += grad_h[t]
            grad_h = grad_h[-1:]
        return grad_h.mul_(ctx.scale).to(ctx.dtype), by_decay, by_scale, None, None


def _forward(
    x: Tensor, keep: float, scale: float, dynamics: Dynamics
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, ``h - threshold`` and firing rate, by torch operations."""
    wide = _wide(x)
    h = wide * scale if scale != 1.0 else wide.clone()
    spikes = torch.empty_like(h)
    v: Tensor | None = None
    for t in range(h.shape[0]):
        if v is not None:
            h[t] += v
        torch.ge(h[t], dynamics.threshold, out=spikes[t])
        if dynamics.reset == "zero":
            v = torch.addcmul(h[t], h[t], spikes[t], value=-1)  # exact: s is 0 or 1
        else:
            v = torch.sub(h[t], spikes[t], alpha=dynamics.amount)
        if keep != 1.0:
            v *= keep
    gap = h.sub_(dynamics.threshold)
    # Rounded to float16, a small gap could become 0 and its sign be lost.
    return spikes.to(x.dtype), gap.to(x.dtype) if x.dtype == torch.bfloat16 else gap, spikes.mean()


def _backward(grad_spikes: Tensor, gap: Tensor, keep: float, dynamics: Dynamics) -> Tensor:
    """Gradient by ``h`` from that by the spikes, by torch operations."""
    slope = _slope(gap, dynamics)
    quiet = None
    if dynamics.reset == "zero":
        quiet = torch.lt(gap, 0.0, out=torch.empty_like(gap))
    grad_h = grad_spikes * slope
    grad_v: Tensor | None = None  # dL/dv[t], from the next time step
    for t in range(gap.shape[0] - 1, -1, -1):
        if grad_v is not None:
            if not dynamics.detach_reset:  # dv/ds: -h ('zero') or -amount ('subtract')
                through_spike = (
                    gap[t] + dynamics.threshold if quiet is not None else dynamics.amount
                )
                grad_h[t] -= grad_v * through_spike * slope[t]
            if quiet is None:
                grad_h[t] += grad_v
            else:
                grad_h[t].addcmul_(grad_v, quiet[t])
        grad_v = grad_h[t] * keep if keep != 1.0 else grad_h[t]
    return grad_h


def _slope(gap: Tensor, dynamics: Dynamics) -> Tensor:
    """The surrogate's derivative of the spikes by ``h``."""
    if not dynamics.rectified:
        return dynamics.surrogate.derivative(gap.clone())  # which a surrogate may overwrite
    h = gap + dynamics.threshold
    return dynamics.surrogate.derivative(rectify(h) - dynamics.threshold) * rectify_slope(h)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x
