"""The spiking neuron: charge, fire, reset, over all time steps in one call.

    h[t] = decay * v[t-1] + input_scale * x[t]
    s[t] = 1 if h[t] >= threshold else 0
    v[t] = h[t] where s[t] is 0, and 0 where it is 1       (reset 'zero')
    v[t] = h[t] - amount * s[t]                            (reset 'subtract')

With the membrane potential rectificator the neuron fires where ``rectify(h[t]) >= threshold``,
which is where ``h[t] >= threshold``; only the gradient is another. The state starts at rest,
``v[-1] = 0``, in every call: there is nothing to reset between batches. An exact tie
``h == threshold`` fires. Products and sums are rounded one after the other (no fused
multiply-add), so that an interpreter that follows the formulas literally is bit-equal.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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

    Only ``h`` is kept for the backward pass: the spikes are ``h >= threshold`` again, exactly. A
    learned decay or input scale needs ``x`` too.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, decay: Coefficient, input_scale: Coefficient, neuron: Neuron
    ) -> Tensor:
        keep, scale = float(decay), float(input_scale)
        h = x * scale if scale != 1.0 else x.clone()
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
        learned = isinstance(decay, Tensor) or isinstance(input_scale, Tensor)
        ctx.save_for_backward(h, x if learned else None)
        ctx.neuron, ctx.keep, ctx.scale = neuron, keep, scale
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_spikes,) = grad_outputs
        h, x = ctx.saved_tensors
        neuron: Neuron = ctx.neuron
        seen = rectify(h) if neuron.rectified else h
        slope = neuron.surrogate.derivative(seen - neuron.threshold)
        if neuron.rectified:
            slope = slope * rectify_slope(h)
        quiet = None
        if neuron.reset == "zero":
            quiet = torch.lt(h, neuron.threshold, out=torch.empty_like(h))
        grad_h = grad_spikes * slope
        grad_v: Tensor | None = None  # dL/dv[t], from the next time step
        for t in range(h.shape[0] - 1, -1, -1):
            if grad_v is not None:
                if not neuron.detach_reset:  # dv/ds: -h ('zero') or -amount ('subtract')
                    through_spike = h[t] if quiet is not None else neuron.amount
                    grad_h[t] -= grad_v * through_spike * slope[t]
                if quiet is None:
                    grad_h[t] += grad_v
                else:
                    grad_h[t].addcmul_(grad_v, quiet[t])
            grad_v = grad_h[t] * ctx.keep if ctx.keep != 1.0 else grad_h[t]
        by_decay = by_scale = None
        if ctx.needs_input_grad[1]:  # dh[t]/d(decay) = v[t-1]
            fired = torch.ge(h, neuron.threshold)
            v = (
                h.masked_fill(fired, 0.0)
                if quiet is not None
                else torch.sub(h, fired.to(h.dtype), alpha=neuron.amount)
            )
            by_decay = (grad_h[1:] * v[:-1]).sum()
        if ctx.needs_input_grad[2]:
            by_scale = (grad_h * x).sum()
        return grad_h.mul_(ctx.scale), by_decay, by_scale, None


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
        current = x.float() if x.dtype in _HALF else x
        spikes: Tensor = _NeuronFunction.apply(  # type: ignore[no-untyped-call]
            current, *self.coefficients(), self
        )
        self.firing_rate = spikes.detach().mean()
        return spikes.to(x.dtype)

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
