"""Rounding of currents in a forward: the level activations that papers write by hand.

``round(clamp(x, 0, D))`` (I-LIF: SpikeYOLO, Spike-driven Transformer V3), ``floor(clamp(x, 0, D) +
0.5)`` (E-3DSNN), clamps behind the rounding, ReLU and Hardtanh for a clamp, with constant factors
and sums between them. A clamp alone is a value that no edge carries: it waits for its rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.forms import ONE, Form, Real, constant, form, minus
from purespike.compiler.ir.graph import IRError
from purespike.compiler.ir.ops.levels import Rounding, rounded_levels

CLAMPS = ("clamp", "clamp_min", "clamp_max", "relu", "relu6")
ROUNDINGS: dict[str, Rounding] = {
    "round": "half even",
    "floor": "floor",
    "ceil": "ceil",
    "trunc": "down",
}


@dataclass(frozen=True, eq=False)
class Clamp:
    """``clamp(source, low, high)`` of real numbers."""

    source: Form
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Rounded:
    """``clamp(round(factor * source + shift), low, high)``, whole numbers.

    Attributes:
        source: A current.
        factor: Above 0.
        shift: Exact.
        mode: How it rounds.
        low: The least value, or minus infinity.
        high: The highest, or infinity.
    """

    source: Form
    factor: Fraction
    shift: Fraction
    mode: Rounding
    low: float
    high: float

    def levels(self) -> ops.Levels:
        """The operation; raises IRError where there are none, or infinitely many."""
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise IRError(
                "a rounding without bounds: it has no number of levels",
                found=f"from {self.low:g} to {self.high:g}",
                allowed="round(clamp(x, 0, D)), or a clamp behind it",
                remedy="clamp it to the levels that it was trained with",
            )
        scale = 1 / self.factor
        return rounded_levels(int(self.low), int(self.high), scale, self.mode, zero=self.shift)


Step = Clamp | Rounded


def bounds_of(name: str, low: Form | None, high: Form | None) -> tuple[float, float] | None:
    """The bounds of a clamp by any name; None where they are no plain numbers."""
    if name in ("relu", "relu6"):
        return 0.0, 6.0 if name == "relu6" else math.inf
    ends = []
    for bound, default in ((low, -math.inf), (high, math.inf)):
        number = default if bound is None else _number(bound)
        if number is None:
            return None
        ends.append(number)
    return (ends[0], ends[1]) if ends[0] <= ends[1] else None


def clamped(value: Form, known: Step | None, low: float, high: float) -> Step:
    """A clamp of a value, which may be a clamp or a rounding itself."""
    if isinstance(known, Clamp):
        return Clamp(known.source, *(_within(x, low, high) for x in (known.low, known.high)))
    whole = all(math.isinf(x) or float(x).is_integer() for x in (low, high))
    if isinstance(known, Rounded) and whole:
        ends = (_within(x, low, high) for x in (known.low, known.high))
        return replace(known, low=next(ends), high=next(ends))
    return Clamp(value, low, high)


def rounded(value: Form, clamp: tuple[Real, Clamp] | None, mode: Rounding) -> Step | None:
    """A rounding of a value; None where its factors and shifts are no plain numbers.

    Args:
        value: What is rounded.
        clamp: The clamp in it, if there is one, as ``factor * clamp + shift``.
        mode: How.
    """
    outer, low, high = Fraction(1), -math.inf, math.inf
    shift = Fraction(0)
    inner = value
    if clamp is not None:
        own, known = clamp
        factor, offset = _number_of(value.of(own)), _number_of(value.of())
        if factor is None or offset is None or factor <= 0 or len(value.terms) > 1 + (offset != 0):
            return None
        outer, shift, inner = Fraction(factor), Fraction(offset), known.source
        low, high = known.low, known.high
    ends = [
        x if math.isinf(x) else _rounded(outer * Fraction(x) + shift, mode) for x in (low, high)
    ]
    offset = _number_of(inner.of())
    if offset is None:
        return None
    source = minus(inner, constant(inner.shape, offset))
    single = [m for m in source.terms if m != ONE]
    factor = _number_of(source.terms[single[0]]) if len(single) == 1 else 1.0
    shift += outer * Fraction(offset)
    if factor is not None and factor > 0:
        if len(single) == 1:
            source = form(source.shape, {single[0]: np.ones(())})
        return Rounded(source, outer * Fraction(factor), shift, mode, ends[0], ends[1])
    return Rounded(source, outer, shift, mode, ends[0], ends[1])


def _within(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _rounded(x: Fraction, mode: Rounding) -> int:
    if mode == "half even":
        return round(x)
    return math.floor(x) if mode == "floor" else math.ceil(x) if mode == "ceil" else math.trunc(x)


def _number(bound: Form) -> float | None:
    return _number_of(bound.of()) if bound.constant() else None


def _number_of(array: Array) -> float | None:
    return float(array) if array.ndim == 0 else None
