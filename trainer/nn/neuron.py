"""The spiking neuron: charge, fire, reset, over all time steps in one call.

What it computes stands in :mod:`purespike.trainer.nn.dynamics`. The state starts at rest in every
call: there is nothing to reset between batches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.nn.dynamics import RESETS, Coefficient, Dynamics, Reset, fire
from purespike.trainer.nn.operation import exported
from purespike.trainer.nn.rectificator import THRESHOLD
from purespike.trainer.nn.surrogate import ATan, Surrogate

__all__ = ["IF", "LIF", "PLIF", "RESETS", "Coefficient", "Neuron", "Reset"]


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
            (:mod:`purespike.trainer.nn.rectificator`); at a threshold of 0.5 it changes gradients
            and no spike, so the compiler removes it.

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

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        """Return the spikes, 0 or 1 in the dtype of ``x``.

        Args:
            x: input current, (T, B, ...); with ``steps`` (1, B, ...).
            steps: T, where the same current enters at every step: it is not written out T times,
                and neither is its gradient.

        Returns:
            Spikes, (T, B, ...).

        Raises:
            ShapeError: if there is no time and batch axis, or more than one step of a current that
                is the same at all of them.
        """
        if x.dim() < 2:
            raise ShapeError(
                "a neuron needs a time and a batch axis",
                found=f"shape {tuple(x.shape)}",
                allowed="(T, B, ...)",
                where=type(self).__name__,
                remedy="add the missing axes, for one time step x[None]",
            )
        if steps is not None and (len(x) != 1 or steps < 1):
            raise ShapeError(
                "a current that is the same at every step is given once",
                found=f"shape {tuple(x.shape)}, steps={steps}",
                allowed="(1, B, ...), steps >= 1",
                where=type(self).__name__,
                remedy="give the current of one step, or leave out steps",
            )
        if torch.compiler.is_exporting():  # one whole operation of the program
            x = x if steps is None else x.expand(steps, *x.shape[1:])
            return exported(x, *self.coefficients(), self.dynamics())
        spikes, self.firing_rate = fire(x, *self.coefficients(), self.dynamics(), steps)
        return spikes

    def dynamics(self) -> Dynamics:
        """What it does besides charging, as it is now."""
        firing = self.threshold, self.reset, self.amount, self.rectified
        return Dynamics(*firing, self.surrogate, self.detach_reset)

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
