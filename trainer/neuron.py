"""The spiking neuron: charge, fire, reset, over all time steps in one call.

    h[t] = decay * v[t-1] + input_scale * x[t]
    s[t] = 1 if h[t] >= threshold else 0
    v[t] = h[t] where s[t] is 0, and 0 where it is 1       (reset 'zero')
    v[t] = h[t] - amount * s[t]                            (reset 'subtract')

With the membrane potential rectificator the neuron fires where ``rectify(h[t]) >= threshold``,
which is where ``h[t] >= threshold``; only the gradient is another. The state starts at rest,
``v[-1] = 0``, in every call: there is nothing to reset between batches. An exact tie
``h == threshold`` fires. Products and sums are rounded one after the other (no fused
multiply-add), so that an interpreter that follows the formulas literally is bit-equal. On a CPU
with a C++ compiler :mod:`purespike.trainer.kernel` computes the same, faster.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purespike.trainer import kernel
from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.rectificator import THRESHOLD, rectify, rectify_slope
from purespike.trainer.surrogate import ATan, Surrogate

__all__ = ["IF", "LIF", "PLIF", "RESETS", "Coefficient", "Neuron", "Reset"]

Reset = Literal["zero", "subtract"]
RESETS: tuple[Reset, ...] = ("zero", "subtract")
Coefficient = Tensor | float  # a tensor where it is learned
_HALF = (torch.bfloat16, torch.float16)  # inputs under autocast; membranes stay in 32 bits


class _NeuronFunction(torch.autograd.Function):
    """All time steps forward and backward through time by hand.

    Only ``h - threshold`` is kept for the backward pass, in bfloat16 where the input is: its sign
    is the spikes, exactly. A learned decay or input scale needs ``x`` too.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, decay: Coefficient, input_scale: Coefficient, neuron: Neuron
    ) -> tuple[Tensor, Tensor]:
        keep, scale = float(decay), float(input_scale)
        # Whoever replaces a threshold by a tensor, one a channel, gets what torch makes of it.
        plain = all(isinstance(c, int | float) for c in (neuron.threshold, neuron.amount))
        ctx.fast = plain and kernel.usable(x)
        if ctx.fast:
            spikes, gap, rate = kernel.forward(
                x,
                scale=scale,
                decay=keep,
                threshold=neuron.threshold,
                amount=neuron.amount,
                to_zero=neuron.reset == "zero",
                keep_gap=any(ctx.needs_input_grad),
            )
            firing_rate = torch.tensor(rate, dtype=_wide(x[:0]).dtype)
        else:
            spikes, gap, firing_rate = _forward(x, keep, scale, neuron)
        learned = isinstance(decay, Tensor) or isinstance(input_scale, Tensor)
        ctx.save_for_backward(gap, x if learned else None)
        ctx.neuron, ctx.keep, ctx.scale, ctx.dtype = neuron, keep, scale, x.dtype
        ctx.mark_non_differentiable(firing_rate)
        return spikes, firing_rate

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gap, x = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        if ctx.fast and x is None:
            grad_x = kernel.backward(
                grad_outputs[0],
                gap,
                scale=ctx.scale,
                decay=ctx.keep,
                threshold=neuron.threshold,
                amount=neuron.amount,
                to_zero=neuron.reset == "zero",
                detached=neuron.detach_reset,
                surrogate=None if neuron.rectified else neuron.surrogate,
                slope=lambda: _slope(_wide(gap), neuron),
            )
            return grad_x, None, None, None
        grad_h = _backward(_wide(grad_outputs[0]), _wide(gap), ctx.keep, neuron)
        by_decay = by_scale = None
        if ctx.needs_input_grad[1]:  # dh[t]/d(decay) = v[t-1]
            h, fired = _wide(gap) + neuron.threshold, _wide(gap) >= 0.0
            v = (
                h.masked_fill(fired, 0.0)
                if neuron.reset == "zero"
                else torch.sub(h, fired.to(h.dtype), alpha=neuron.amount)
            )
            by_decay = (grad_h[1:] * v[:-1]).sum()
        if ctx.needs_input_grad[2]:
            by_scale = (grad_h * x).sum()
        return grad_h.mul_(ctx.scale).to(ctx.dtype), by_decay, by_scale, None


def _forward(x: Tensor, keep: float, scale: float, neuron: Neuron) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, ``h - threshold`` and firing rate, by torch operations."""
    wide = _wide(x)
    h = wide * scale if scale != 1.0 else wide.clone()
    spikes = torch.empty_like(h)
    v: Tensor | None = None
    for t in range(h.shape[0]):
        if v is not None:
            h[t] += v
        torch.ge(h[t], neuron.threshold, out=spikes[t])
        if neuron.reset == "zero":
            v = torch.addcmul(h[t], h[t], spikes[t], value=-1)  # exact: s is 0 or 1
        else:
            v = torch.sub(h[t], spikes[t], alpha=neuron.amount)
        if keep != 1.0:
            v *= keep
    gap = h.sub_(neuron.threshold)
    # Rounded to float16, a small gap could become 0 and its sign be lost.
    return spikes.to(x.dtype), gap.to(x.dtype) if x.dtype == torch.bfloat16 else gap, spikes.mean()


def _backward(grad_spikes: Tensor, gap: Tensor, keep: float, neuron: Neuron) -> Tensor:
    """Gradient by ``h`` from that by the spikes, by torch operations."""
    slope = _slope(gap, neuron)
    quiet = None
    if neuron.reset == "zero":
        quiet = torch.lt(gap, 0.0, out=torch.empty_like(gap))
    grad_h = grad_spikes * slope
    grad_v: Tensor | None = None  # dL/dv[t], from the next time step
    for t in range(gap.shape[0] - 1, -1, -1):
        if grad_v is not None:
            if not neuron.detach_reset:  # dv/ds: -h ('zero') or -amount ('subtract')
                through_spike = gap[t] + neuron.threshold if quiet is not None else neuron.amount
                grad_h[t] -= grad_v * through_spike * slope[t]
            if quiet is None:
                grad_h[t] += grad_v
            else:
                grad_h[t].addcmul_(grad_v, quiet[t])
        grad_v = grad_h[t] * keep if keep != 1.0 else grad_h[t]
    return grad_h


def _slope(gap: Tensor, neuron: Neuron) -> Tensor:
    """The surrogate's derivative of the spikes by ``h``."""
    if not neuron.rectified:
        return neuron.surrogate.derivative(gap.clone())  # which a surrogate may overwrite
    h = gap + neuron.threshold
    return neuron.surrogate.derivative(rectify(h) - neuron.threshold) * rectify_slope(h)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x


class Neuron(nn.Module):
    """A layer of spiking neurons, multi-step: ``(T, B, ...)`` in, spikes ``(T, B, ...)`` out.

    Args:
        decay: what is left of the membrane potential after one time step; 1 is integrate-and-fire.
        input_scale: factor on the input current; ``1/tau`` for the SpikingJelly form of the LIF.
        threshold: firing threshold, fires on ``>=``.
        reset: ``'zero'`` (hard) or ``'subtract'`` (soft).
        amount: what a soft reset subtracts; by default the threshold. InfLoR subtracts the
            spike value 1 at a threshold of 0.5.
        surrogate: the pseudo-derivative of the firing step.
        detach_reset: whether no gradient flows through the reset (the AAP paper's code) or some
            does (the shortcut and InfLoR papers' code).
        rectified: the membrane potential rectificator of InfLoR-SNN in front of the firing step
            (:mod:`purespike.trainer.rectificator`); at a threshold of 0.5 it changes gradients and
            no spike, so the compiler removes it.

    Attributes:
        firing_rate: mean of the spikes of the last forward, a detached scalar; None before it.

    Raises:
        ConfigError: if a number is out of its range.
    """

    def __init__(
        self,
        *,
        decay: float = 1.0,
        input_scale: float = 1.0,
        threshold: float = 1.0,
        reset: str = "zero",
        amount: float | None = None,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        self.decay = _number("decay", decay, decay >= 0.0 and decay <= 1.0, "0 <= decay <= 1")
        self.input_scale = _number("input_scale", input_scale, input_scale > 0.0, "> 0")
        self.threshold = _number("threshold", threshold, threshold > 0.0, "> 0")
        if reset not in RESETS:
            raise ConfigError(
                "unknown reset of a neuron",
                found=repr(reset),
                allowed=", ".join(RESETS),
                where="Neuron(reset=...)",
                remedy="'zero' clears the membrane potential, 'subtract' lowers it by 'amount'",
            )
        self.reset: Reset = reset
        chosen = threshold if amount is None else amount
        self.amount = _number("amount", chosen, chosen > 0.0, "> 0")
        self.surrogate: Surrogate = ATan() if surrogate is None else surrogate
        self.detach_reset = detach_reset
        if rectified and threshold != THRESHOLD:
            raise ConfigError(
                "the membrane potential rectificator would change which neurons fire",
                found=f"threshold {threshold:g}",
                allowed=f"threshold {THRESHOLD:g}",
                where="Neuron(rectified=True)",
                remedy="InfLoR-SNN fires at 0.5 and subtracts 1",
            )
        self.rectified = rectified
        self.firing_rate: Tensor | None = None

    def coefficients(self) -> tuple[Coefficient, Coefficient]:
        """Decay and input scale as they are now; tensors where they are learned."""
        return self.decay, self.input_scale

    def constants(self) -> tuple[float, float]:
        """Decay and input scale as they are now, as numbers."""
        decay, scale = self.coefficients()
        return (
            decay.item() if isinstance(decay, Tensor) else decay,
            scale.item() if isinstance(scale, Tensor) else scale,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes, 0 or 1 in the dtype of ``x``.

        Args:
            x: input current, (T, B, ...).

        Raises:
            ShapeError: if there is no time and batch axis.
        """
        if x.dim() < 2:
            raise ShapeError(
                "a neuron needs a time and a batch axis",
                found=f"shape {tuple(x.shape)}",
                allowed="(T, B, ...)",
                where=type(self).__name__,
                remedy="add the missing axes, for one time step x[None]",
            )
        if torch.compiler.is_exporting():  # one whole operation of the program
            return self._exported(x)
        spikes: Tensor
        spikes, self.firing_rate = _NeuronFunction.apply(  # type: ignore[no-untyped-call]
            x, *self.coefficients(), self
        )
        return spikes

    def _exported(self, x: Tensor) -> Tensor:
        decay, scale = self.coefficients()
        spikes: Tensor = _exported_neuron(
            x,
            1.0 if isinstance(decay, Tensor) else decay,
            1.0 if isinstance(scale, Tensor) else scale,
            self.threshold,
            self.reset,
            self.amount,
            self.rectified,
            decay if isinstance(decay, Tensor) else None,
            scale if isinstance(scale, Tensor) else None,
        )
        return spikes

    def extra_repr(self) -> str:
        """Show what differs between neurons in ``print(model)``."""
        decay, scale = self.constants()
        return (
            f"decay={decay}, input_scale={scale}, threshold={self.threshold}, "
            f"reset={self.reset!r}, amount={self.amount}, surrogate={self.surrogate}, "
            f"detach_reset={self.detach_reset}" + (", rectified" if self.rectified else "")
        )


class IF(Neuron):
    """Integrate-and-fire: :class:`Neuron` with decay 1 and unscaled input."""

    def __init__(
        self,
        *,
        threshold: float = 1.0,
        reset: str = "zero",
        amount: float | None = None,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
    ) -> None:
        super().__init__(
            threshold=threshold,
            reset=reset,
            amount=amount,
            surrogate=surrogate,
            detach_reset=detach_reset,
        )


class LIF(Neuron):
    """Leaky integrate-and-fire in the SpikingJelly form ``h = v + (x - v) / tau``.

    That is :class:`Neuron` with decay ``1 - 1/tau`` and input scale ``1/tau`` (up to rounding).
    For ``h = decay * v + x`` use :class:`Neuron` itself.
    """

    def __init__(
        self,
        *,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "zero",
        amount: float | None = None,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
    ) -> None:
        _number("tau", tau, tau >= 1.0, ">= 1 time step")
        super().__init__(
            decay=1.0 - 1.0 / tau,
            input_scale=1.0 / tau,
            threshold=threshold,
            reset=reset,
            amount=amount,
            surrogate=surrogate,
            detach_reset=detach_reset,
        )


class PLIF(Neuron):
    """Leaky integrate-and-fire with a learned time constant (Fang et al. 2021, PLIF, Eq. 10).

    ``h = v + (x - v) sigmoid(w)`` with one learned ``w`` a layer, that is :class:`Neuron` with
    decay ``1 - sigmoid(w)`` and input scale ``sigmoid(w)``; it starts at ``sigmoid(w) = 1/tau``.
    Capture folds the trained value: the compiler sees a neuron with constants.
    """

    def __init__(
        self,
        *,
        tau: float = 2.0,
        threshold: float = 1.0,
        reset: str = "zero",
        amount: float | None = None,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
        rectified: bool = False,
    ) -> None:
        _number("tau", tau, tau > 1.0, "> 1 time step")
        super().__init__(
            threshold=threshold,
            reset=reset,
            amount=amount,
            surrogate=surrogate,
            detach_reset=detach_reset,
            rectified=rectified,
        )
        del self.decay, self.input_scale  # not constants here: see coefficients()
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1.0)))

    def coefficients(self) -> tuple[Coefficient, Coefficient]:
        """Decay and input scale as they are now, differentiable."""
        scale = self.w.sigmoid()
        return 1.0 - scale, scale


@torch.library.custom_op(
    "purespike::neuron",
    mutates_args=(),
    schema="(Tensor x, float decay, float input_scale, float threshold, str reset, float amount, "
    "bool rectified, Tensor? learned_decay, Tensor? learned_scale) -> Tensor",
)
def _exported_neuron(
    x: Tensor,
    decay: float,
    input_scale: float,
    threshold: float,
    reset: str,
    amount: float,
    rectified: bool,
    learned_decay: Tensor | None,
    learned_scale: Tensor | None,
) -> Tensor:
    """A neuron in a program of torch.export, which trainer/exported.py reads.

    Traced through, all that would be left of it are tensor operations, unrolled over the steps.
    """
    neuron = Neuron(
        decay=decay if learned_decay is None else learned_decay.item(),
        input_scale=input_scale if learned_scale is None else learned_scale.item(),
        threshold=threshold,
        reset=reset,
        amount=amount,
        rectified=rectified,
    )
    with torch.no_grad():
        spikes: Tensor = neuron(x)
    return spikes


@_exported_neuron.register_fake
def _(x: Tensor, *constants: object) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _number(name: str, value: float, in_range: bool, allowed: str) -> float:
    if not in_range or not math.isfinite(value):
        raise ConfigError(
            f"{name} of a neuron is out of its range",
            found=repr(value),
            allowed=allowed,
            where=f"Neuron({name}=...)",
            remedy="choose a finite value in the allowed range",
        )
    return float(value)
