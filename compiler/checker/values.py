"""What an edge of a NIR file can carry: an interval, its granularity, and whether it was fired.

The compiler proves the same things with a class of its own (`purespike.compiler.ir.domain`). This
one is written anew, from the meaning of NIR's nodes, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PART = 1 << 16


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
    rows = weight.reshape(len(weight), -1)
    gains, losses = _ends(rows)
    low, high = min(x.lo, 0.0), max(x.hi, 0.0)
    up = _reach(gains, high) + _reach(losses, low)
    down = _reach(gains, low) + _reach(losses, high)
    shift = np.zeros(len(rows)) if bias is None else bias.astype(np.float64)
    grid = _times(granularity(rows), x.grid)
    return Values(
        float((down + shift).min()), float((up + shift).max()), _common(grid, granularity(shift))
    )


def scaled(factor: NDArray[Any], x: Values) -> Values:
    """Elementwise products."""
    ends = [_times(float(f), b) for f in (factor.min(), factor.max()) for b in (x.lo, x.hi)]
    grid = _times(granularity(factor), x.grid)
    return Values(min(ends), max(ends), grid)


def granularity(x: NDArray[Any]) -> float:
    """A number that divides all of ``x``: the greatest for whole numbers, else one that is easy."""
    top = float(np.max([np.abs(p).max() for p in _parts(x)], initial=0.0))
    if top == 0:
        return math.inf
    if all(bool(((p == 0) | (np.abs(p) == top)).all()) for p in _parts(x)):
        return top
    if not (top < 2**53 and all(bool((np.rint(p) == p).all()) for p in _parts(x))):
        return 0.0
    found = 0
    for part in _parts(x):
        found = math.gcd(found, int(np.gcd.reduce(part.astype(np.int64))))
        if found == 1:
            break
    return float(found)


def _parts(x: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """All numbers, so many at a time that what is made of them stays in the cache."""
    flat = x.reshape(-1)
    return (flat[k : k + _PART].astype(np.float64) for k in range(0, flat.size, _PART))


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


def _ends(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sums of the positive numbers of each row, and of the negative ones."""
    some = max(1, _PART // max(1, rows.shape[1]))
    gains, losses = np.zeros(len(rows)), np.zeros(len(rows))
    for k in range(0, len(rows), some):
        wide = rows[k : k + some].astype(np.float64)
        gains[k : k + some] = np.maximum(wide, 0).sum(axis=1)
        losses[k : k + some] = np.minimum(wide, 0).sum(axis=1)
    return gains, losses


def _reach(sums: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    """``sums * bound`` for sums of one sign; a zero stops even an infinite bound."""
    return np.multiply(sums, bound, out=np.zeros(len(sums)), where=sums != 0)
