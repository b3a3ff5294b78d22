"""What an edge of a NIR file can carry: an interval, its granularity, and whether it was fired.

The compiler proves the same things with a class of its own (`purespike.compiler.ir.domain`). This
one is written anew, from the meaning of NIR's nodes, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Values:
    """All multiples of ``grid`` from ``lo`` to ``hi``.

    Attributes:
        lo: The least.
        hi: The greatest.
        grid: Every value is a whole multiple of it. 0: any real number; infinity: zero alone.
        fired: A neuron sent it, or it is declared as spikes: 0 and 1 by intent, not by the luck of
            weights that happen to be 0 and 1.
    """

    lo: float
    hi: float
    grid: float
    fired: bool = False

    @property
    def spikes(self) -> bool:
        """Nothing but 0 and 1, and meant so."""
        return self.fired and 0 <= self.lo and self.hi <= 1 and self.grid >= 1 and whole(self.grid)

    def __add__(self, other: Values) -> Values:
        return Values(self.lo + other.lo, self.hi + other.hi, _common(self.grid, other.grid))

    def __or__(self, other: Values) -> Values:
        """The least set of this kind that holds both; zero is as good as fired."""
        fired = (self.fired or self == ZERO) and (other.fired or other == ZERO)
        low, high = min(self.lo, other.lo), max(self.hi, other.hi)
        return Values(low, high, _common(self.grid, other.grid), fired)

    def __str__(self) -> str:
        if self.spikes:
            return "spikes"
        span = f"{self.lo:g} to {self.hi:g}"
        if self.grid == 0:
            return f"real numbers, {span}"
        if self.grid == 1:
            return f"whole numbers, {span}"
        return f"multiples of {self.grid:g}, {span}" if math.isfinite(self.grid) else "zero"


ZERO = Values(0.0, 0.0, math.inf, True)
SPIKES = Values(0.0, 1.0, 1.0, True)
ANYTHING = Values(-math.inf, math.inf, 0.0)


def total(terms: list[Values]) -> Values:
    """What a node receives where these edges meet: NIR adds them up."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def weighted(weight: NDArray[Any], bias: NDArray[Any] | None, x: Values) -> Values:
    """The sums of ``weight`` times values of ``x``, over all axes but the first, plus ``bias``.

    Each output is bounded on its own: positive weights reach up with the greatest input, negative
    ones with the least. The input may be zero everywhere (padding), so zero belongs to it.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    low, high = min(x.lo, 0.0), max(x.hi, 0.0)
    up = _sums(np.maximum(rows, 0), high) + _sums(np.minimum(rows, 0), low)
    down = _sums(np.maximum(rows, 0), low) + _sums(np.minimum(rows, 0), high)
    shift = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
    grid = _times(granularity(rows), x.grid)
    return Values(
        float((down + shift).min()), float((up + shift).max()), _common(grid, granularity(shift))
    )


def scaled(factor: NDArray[Any], x: Values) -> Values:
    """Elementwise products."""
    ends = [_times(float(f), b) for f in (factor.min(), factor.max()) for b in (x.lo, x.hi)]
    grid = _times(granularity(factor.astype(np.float64)), x.grid)
    return Values(min(ends), max(ends), grid)


def granularity(x: NDArray[np.float64]) -> float:
    """A number that divides all of ``x``: the greatest for whole numbers, else one that is easy."""
    used = np.abs(x[x != 0])
    if not used.size:
        return math.inf
    if bool((used == used[0]).all()):
        return float(used[0])
    if bool((np.rint(used) == used).all()) and used.max() < 2**53:
        return float(np.gcd.reduce(used.astype(np.int64)))
    return 0.0


def whole(x: float) -> bool:
    """A whole number, or the infinite step of what is always zero."""
    return math.isinf(x) or x == math.floor(x)


def _common(a: float, b: float) -> float:
    """A step that divides two others; 0 where only real numbers do."""
    if math.isinf(a) or math.isinf(b):
        return min(a, b)
    if not a or not b:
        return 0.0
    small, large = sorted((a, b))
    if large % small == 0:
        return small
    return float(math.gcd(int(a), int(b))) if whole(a) and whole(b) else 0.0


def _times(a: float, b: float) -> float:
    """The product; zero times infinity is zero: nothing is added where a weight is zero."""
    if math.isinf(a) and math.isinf(b):
        return a * b
    return 0.0 if not a or not b else a * b


def _sums(rows: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """Sums of ``rows * bound`` for rows of one sign; a zero stops even an infinite bound."""
    sums: NDArray[np.float64] = rows.sum(axis=1)
    return np.multiply(sums, bound, out=np.zeros(len(sums)), where=sums != 0)
