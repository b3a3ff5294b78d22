"""The spiking neuron: one operation for every integrate-and-fire variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from purespike.compiler.ir.domain import ANALOG, INTEGER, SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape, frozen
from purespike.compiler.ir.ops.synapse import broadcasts

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
    """``u <- current_decay * u + x; v <- decay * v + u``; fires where ``v >= threshold``; resets.

    The synaptic current u is what arrives, if ``current_decay`` is 0, and else fades (CubaLIF, the
    current-based neuron). It takes part in the step in which it changes, and no reset touches it.

    Attributes:
        threshold: Scalar or broadcastable array, in units of the input; fires on ``>=``.
        decay: Factor of the membrane a step: 1 is IF, 0 is memoryless (a gate), between is LIF.
        reset: ``zero`` sets v to 0 where it fired, ``subtract`` takes ``amount`` off, ``none``
            never fires: an integrator whose output is its membrane (the readout).
        amount: What ``subtract`` takes off; InfLoR-SNN subtracts 1 at threshold 0.5 (its Eq. 6).
            Nothing, 0, is a neuron that fires and is never reset.
        initial: The membrane at the start of a sample.
        fixed: None computes in real numbers; else exactly as a fixed-point chip does.
        current_decay: Factor of the synaptic current a step; 0 keeps none of it. The current rests
            at 0, and in fixed point it counts and rounds as the membrane does.
    """

    threshold: Array
    decay: float = 1.0
    reset: Reset = "zero"
    amount: Array = None  # type: ignore[assignment]  # None is the threshold
    initial: float = 0.0
    fixed: FixedPoint | None = None
    current_decay: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", frozen(self.threshold, infinite=True))
        amount = self.threshold if self.amount is None else frozen(self.amount, infinite=True)
        object.__setattr__(self, "amount", amount)
        for what, decay in (("", self.decay), ("'s current", self.current_decay)):
            if not 0 <= decay <= 1:
                raise IRError(
                    f"the decay of a neuron{what} is a factor", found=f"{decay:g}", allowed="0 to 1"
                )
        if self.reset not in ("zero", "subtract", "none"):
            raise IRError("unknown reset", found=repr(self.reset), allowed="zero, subtract, none")
        grid = 2**self.fixed.decay_bits if self.fixed else 0
        for what, decay in (("", self.decay), (" of the current", self.current_decay)):
            if grid and not float(decay * grid).is_integer():
                raise IRError(
                    f"the decay{what} is off the chip's grid",
                    found=f"{decay}",
                    allowed=f"whole multiples of 1/{grid}",
                )
        if grid and self.current_decay == 1:  # lava-nc's du is 12 bits, and 0 keeps 4095 of 4096
            raise IRError("a chip's current fades", found="1", allowed=f"up to 1 - 1/{grid}")

    @property
    def fires(self) -> bool:
        """False for an integrator."""
        return self.reset != "none"

    @property
    def leaks(self) -> bool:
        """Does the membrane leave the grid of its input? A decay of 1 or 0 leaves it there."""
        return self.decay not in (0.0, 1.0) or self.current_decay != 0.0

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
        whole = x.domain <= INTEGER and not self.leaks and self.initial % 1 == 0
        return x.shape, INTEGER if whole else ANALOG

    def seen(self, v: Array) -> Array:
        """What the firing step compares with the threshold: the membrane."""
        return v

    def start(self, batch: int, shape: Shape) -> Array:
        """The membrane at rest, in its own units; with a current, (2, B, *shape): both."""
        unit = 1 << self.fixed.fraction_bits if self.fixed else 1
        v = np.full((batch, *shape), self.initial * unit)
        return np.stack([v, np.zeros_like(v)]) if self.current_decay else v

    def parts(self, state: Array) -> tuple[Array, Array | None]:
        """(membrane, synaptic current) of a state; no current where none is kept."""
        return (state[0], state[1]) if self.current_decay else (state, None)

    def step(self, state: Array, *inputs: Array) -> tuple[Array, Array]:
        """One step; the state holds the membrane after the reset, in its own units."""
        before, current = self.parts(state)
        unit = 1 << self.fixed.fraction_bits if self.fixed else 1
        u = inputs[0] * unit
        if current is not None:
            u = self._faded(current, self.current_decay) + u
        v = self._faded(before, self.decay) + u
        if self.fixed is not None:
            v = np.clip(v, -self.fixed.limit, self.fixed.limit)
        y = v / unit
        if self.fires:
            y = (self.seen(v) >= self.threshold * unit).astype(np.float64)
            left = 0.0 if self.reset == "zero" else v - self.amount * unit
            v = np.where(y > 0, left, v)
        return v if current is None else np.stack([v, u]), y

    def _faded(self, x: Array, decay: float) -> Array:
        """What a step leaves; fixed point rounds towards zero, as Loihi does.

        All products stay exact far below 2**53.
        """
        if self.fixed is None:
            return decay * x
        kept: Array = np.sign(x) * np.floor(np.abs(x) * decay)
        return kept

    def arrays(self) -> dict[str, Array]:
        """Threshold, and amount where it matters."""
        if not self.fires:
            return {}
        return {"threshold": self.threshold} | (
            {"amount": self.amount} if self.reset == "subtract" else {}
        )

    def details(self) -> str:
        """Threshold, decay, reset."""
        decay = f"decay {self.decay:g}"
        decay += f", current decay {self.current_decay:g}" if self.current_decay else ""
        if not self.fires:
            return f"integrates, {decay}"
        size = f"{self.threshold:g}" if self.threshold.ndim == 0 else f"{self.threshold.shape}"
        never = self.reset == "subtract" and not self.amount.any()
        text = f"threshold {size}, {decay}, " + ("never reset" if never else f"reset {self.reset}")
        return text + (", fixed point" if self.fixed else "")


class RectifiedNeuron(Neuron):
    """A neuron that compares ``phi(v)`` with its threshold: a training-only rectificator.

    InfLoR-SNN, Eq. 10 to 13, in real numbers. ``strip_auxiliary`` makes it a plain neuron where it
    can show that no spike changes.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fixed is not None:  # every target would take it for a plain neuron
            raise IRError("a membrane rectificator computes in real numbers", found="fixed point")

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
