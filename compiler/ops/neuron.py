"""The spiking neuron: one operation for every integrate-and-fire variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from purespike.compiler.domain import ANALOG, INTEGER, SPIKE, Array, Domain
from purespike.compiler.ir import Edge, IRError, Op, Shape, frozen
from purespike.compiler.ops.synapse import broadcasts

Reset = Literal["zero", "subtract", "none"]


@dataclass(frozen=True)
class FixedPoint:
    """How a chip holds the membrane: Loihi's conventions are the defaults.

    Attributes:
        fraction_bits: The membrane counts in units of ``2**-fraction_bits`` of a weight.
        decay_bits: The decay is a whole number of ``2**-decay_bits``; products round to zero.
        width: Signed bits of the membrane, which saturates at ``+-(2**(width - 1) - 1)``.

    Source: lava-nc 0.10.0, ``PyLifModelBitAcc``.
    """

    fraction_bits: int = 6
    decay_bits: int = 12
    width: int = 24

    @property
    def limit(self) -> int:
        """The largest magnitude of the membrane, in its own units."""
        return (1 << (self.width - 1)) - 1


@dataclass(frozen=True, eq=False)
class Neuron(Op):
    """``v <- decay * v + x``; fires where ``v >= threshold``; then resets.

    Attributes:
        threshold: Scalar or broadcastable array, in units of the input; fires on ``>=``.
        decay: Factor of the membrane a step: 1 is IF, 0 is memoryless (a gate), between is LIF.
        reset: ``zero`` sets v to 0 where it fired, ``subtract`` takes ``amount`` off, ``none``
            never fires: an integrator whose output is its membrane (the readout).
        amount: What ``subtract`` takes off; InfLoR-SNN subtracts 1 at threshold 0.5 (its Eq. 6).
        initial: The membrane at the start of a sample.
        fixed: None computes in real numbers; else exactly as a fixed-point chip does.
    """

    threshold: Array
    decay: float = 1.0
    reset: Reset = "zero"
    amount: Array = None  # type: ignore[assignment]  # None is the threshold
    initial: float = 0.0
    fixed: FixedPoint | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", frozen(self.threshold, infinite=True))
        amount = self.threshold if self.amount is None else frozen(self.amount, infinite=True)
        object.__setattr__(self, "amount", amount)
        if not 0 <= self.decay <= 1:
            raise IRError(
                "the decay of a neuron is a factor", found=f"{self.decay:g}", allowed="0 to 1"
            )
        if self.reset not in ("zero", "subtract", "none"):
            raise IRError("unknown reset", found=repr(self.reset), allowed="zero, subtract, none")
        grid = 2**self.fixed.decay_bits if self.fixed else 0
        if grid and not float(self.decay * grid).is_integer():
            raise IRError(
                "the decay is off the chip's grid",
                found=f"{self.decay}",
                allowed=f"whole multiples of 1/{grid}",
            )

    @property
    def fires(self) -> bool:
        """False for an integrator."""
        return self.reset != "none"

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; spikes, or for an integrator the membrane."""
        (x,) = inputs
        for parameter in (self.threshold, self.amount):
            broadcasts(parameter, x)
        if self.fires:
            return x.shape, SPIKE
        if self.fixed is not None:
            unit = 1 << self.fixed.fraction_bits
            whole = x.domain <= Domain(-np.inf, np.inf, 1 / unit) and self.initial * unit % 1 == 0
            limit = self.fixed.limit / unit
            return x.shape, Domain(-limit, limit, 1 / unit if whole else 0.0)
        whole = x.domain <= INTEGER and self.decay in (0.0, 1.0) and self.initial % 1 == 0
        return x.shape, INTEGER if whole else ANALOG

    def seen(self, v: Array) -> Array:
        """What the firing step compares with the threshold: the membrane."""
        return v

    def start(self, batch: int, shape: Shape) -> Array:
        """The membrane at rest, in its own units."""
        unit = 1 << self.fixed.fraction_bits if self.fixed else 1
        return np.full((batch, *shape), self.initial * unit)

    def step(self, state: Array, *inputs: Array) -> tuple[Array, Array]:
        """One step; the state is the membrane after the reset, in its own units."""
        (x,) = inputs
        unit = 1
        if self.fixed is None:
            v = self.decay * state + x
        else:
            unit = 1 << self.fixed.fraction_bits
            # Rounds towards zero, as Loihi does; all products stay exact far below 2**53.
            kept = np.sign(state) * np.floor(np.abs(state) * self.decay)
            v = np.clip(kept + x * unit, -self.fixed.limit, self.fixed.limit)
        if not self.fires:
            return v, v / unit
        spikes = (self.seen(v) >= self.threshold * unit).astype(np.float64)
        if self.reset == "zero":
            return np.where(spikes > 0, 0.0, v), spikes
        return v - spikes * (self.amount * unit), spikes

    def arrays(self) -> dict[str, Array]:
        """Threshold, and amount where it matters."""
        if not self.fires:
            return {}
        return {"threshold": self.threshold} | (
            {"amount": self.amount} if self.reset == "subtract" else {}
        )

    def details(self) -> str:
        """Threshold, decay, reset."""
        if not self.fires:
            return f"integrates, decay {self.decay:g}"
        size = f"{self.threshold:g}" if self.threshold.ndim == 0 else f"{self.threshold.shape}"
        text = f"threshold {size}, decay {self.decay:g}, reset {self.reset}"
        return text + (", fixed point" if self.fixed else "")


class RectifiedNeuron(Neuron):
    """A neuron that compares ``phi(v)`` with its threshold: a training-only rectificator.

    InfLoR-SNN, Eq. 10 to 13, in real numbers. ``strip_auxiliary`` makes it a plain neuron where it
    can show that no spike changes.
    """

    def seen(self, v: Array) -> Array:
        """The rectified membrane, ``phi(v)``."""
        middle = np.tanh(3.0 * (v - 0.5)) / (2.0 * np.tanh(1.5)) + 0.5
        below = 1.0 - np.cbrt(np.maximum(1.0 - v, 0.0))
        rectified: Array = np.where(
            v < 0.0, below, np.where(v > 1.0, np.cbrt(np.maximum(v, 0.0)), middle)
        )
        return rectified

    def details(self) -> str:
        """Threshold, decay, reset."""
        return super().details() + ", rectified"
