"""The set of values that an edge may carry at one time step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_PART = 1 << 16  # values at a time: what is made of them stays in the processor's cache


def _whole(x: float) -> bool:
    return math.isfinite(x) and abs(x - round(x)) <= 1e-9 * max(1.0, abs(x))


@dataclass(frozen=True)
class Domain:
    """All values ``lo + k * step`` up to ``hi``; ``step == 0`` means every real number between.

    With an infinite ``lo`` the grid goes through zero; ``hi`` is lowered to the grid's last value.
    ``a <= b`` asks whether every value of ``a`` is a value of ``b``; it is the only legality test
    of the compiler.

    >>> SPIKE <= TERNARY <= integer(8) <= ANALOG
    True
    >>> integer(8) <= SPIKE
    False
    >>> str(SPIKE), str(integer(4)), str(Domain(0, 2, 1)), str(ANALOG)
    ('spike', 'int[-8, 7]', 'int[0, 2]', 'analog')
    """

    lo: float
    hi: float
    step: float

    def __post_init__(self) -> None:
        if not (self.lo <= self.hi and self.step >= 0):
            raise ValueError(f"a domain needs lo <= hi and step >= 0, got {self!r}")
        for name in ("lo", "hi", "step"):  # no negative zero in what people read
            object.__setattr__(self, name, float(getattr(self, name)) + 0.0)
        if self.step and math.isfinite(self.hi):
            k = (self.hi - self.anchor) / self.step
            if not _whole(k):
                object.__setattr__(self, "hi", self.anchor + math.floor(k) * self.step)

    @property
    def anchor(self) -> float:
        """A value that the grid goes through."""
        return self.lo if math.isfinite(self.lo) else 0.0

    def __le__(self, other: Domain) -> bool:
        """Is every value of this domain also a value of ``other``?"""
        if self.lo < other.lo or self.hi > other.hi:
            return False
        if other.step == 0:
            return True
        if self.lo == self.hi:
            return _whole((self.lo - other.anchor) / other.step)
        if self.step == 0:
            return False
        return _whole((self.anchor - other.anchor) / other.step) and _whole(self.step / other.step)

    def holds(self, x: Array) -> bool:
        """Does every entry of ``x`` lie in the domain?

        Integer grids are compared exactly. Where real numbers are involved (an interval, or an
        average over 3 x 3 spikes that moves in steps of 1/9) a float may miss by rounding: 1e-9.
        Infinity and NaN are not values of any domain.
        """
        # Executors ask this of every edge at every step: as few passes over x as can be.
        if self == SPIKE:
            return bool(((x == 0) | (x == 1)).all())
        if not x.size:
            return True
        least, most = float(x.min()), float(x.max())  # NaN is the least and the most of all
        exact = bool(self.step) and self._integral
        slack = 0.0 if exact else 1e-9
        # With slack < 1 the other values lie within where the outermost two do.
        if not (math.isfinite(least) and math.isfinite(most)):
            return False
        if least < self.lo - slack * max(1.0, abs(least)):
            return False
        if most > self.hi + slack * max(1.0, abs(most)):
            return False
        if self.step == 0 or self.lo == self.hi:
            return True
        k = x if (self.anchor, self.step) == (0.0, 1.0) else (x - self.anchor) / self.step
        if exact:
            return bool((k == np.rint(k)).all())
        return bool((np.abs(k - np.rint(k)) <= slack * np.maximum(1.0, np.abs(k))).all())

    @property
    def _integral(self) -> bool:
        return float(self.step).is_integer() and float(self.anchor).is_integer()

    @property
    def bits(self) -> int | None:
        """Bits that tell the values apart; None where they cannot be counted."""
        if self.step == 0 or math.isinf(self.hi - self.lo):
            return None
        return max(1, round((self.hi - self.lo) / self.step).bit_length())

    def __str__(self) -> str:
        if self == SPIKE:
            return "spike"
        if self == TERNARY:
            return "ternary"
        if self.step == 0:
            return "analog" if self == ANALOG else f"analog[{self.lo:g}, {self.hi:g}]"
        name = (
            "int" if float(self.step).is_integer() and float(self.anchor).is_integer() else "grid"
        )
        by = "" if self.step == 1 else f" by {self.step:g}"
        return f"{name}[{self.lo:g}, {self.hi:g}]{by}"


SPIKE = Domain(0, 1, 1)
TERNARY = Domain(-1, 1, 1)
ANALOG = Domain(-math.inf, math.inf, 0)
INTEGER = Domain(-math.inf, math.inf, 1)


def integer(bits: int, signed: bool = True) -> Domain:
    """The two's complement (or unsigned) integers of ``bits`` bits."""
    if signed:
        return Domain(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 1)
    return Domain(0, 2**bits - 1, 1)


@dataclass(frozen=True, eq=False)
class Reach:
    """How far each output of a weight matrix goes: all that `image` asks of the weights.

    Attributes:
        positive: Sum of the positive weights of each output (out,).
        negative: Sum of the negative ones.
        whole: Whether every weight is a whole number.
    """

    positive: Array
    negative: Array
    whole: bool

    @classmethod
    def of(cls, weight: Array) -> Reach:
        """Of a matrix (out, in)."""
        rows = max(1, _PART // max(1, weight.shape[1]))
        if not weight.flags.c_contiguous:  # whose sums numpy takes in another order
            rows = max(1, len(weight))
        parts = [weight[k : k + rows] for k in range(0, len(weight), rows)]
        positive = [np.zeros(0), *(np.maximum(p, 0.0).sum(axis=1) for p in parts)]
        negative = [np.zeros(0), *(np.minimum(p, 0.0).sum(axis=1) for p in parts)]
        return cls(np.concatenate(positive), np.concatenate(negative), on_grid(weight, 1.0))


def image(weight: Array | Reach, bias: Array | None, x: Domain) -> Domain:
    """The values of ``weight @ v + bias`` for ``v`` in ``x``: bounds exact, grid if there is one.

    Args:
        weight: (out, in), the real weights; or what `Reach` keeps of them.
        bias: (out,) or None.
        x: Domain of every input.

    Returns:
        The smallest domain over all outputs. Its bounds are reached; its grid is that of ``x``
        when weights and bias are whole multiples of it, else the domain is an interval.
    """
    reach = weight if isinstance(weight, Reach) else Reach.of(weight)
    lo = times(reach.positive, x.lo) + times(reach.negative, x.hi)
    hi = times(reach.positive, x.hi) + times(reach.negative, x.lo)
    shift = np.zeros(len(lo)) if bias is None else bias
    step = 0.0
    if x.step and reach.whole and on_grid(shift, x.step) and _whole(x.anchor / x.step):
        step = x.step
    return Domain(float((lo + shift).min()), float((hi + shift).max()), step)


def total(domains: tuple[Domain, ...]) -> Domain:
    """The values of a sum with one term from each domain."""
    lo, hi = sum(d.lo for d in domains), sum(d.hi for d in domains)
    step = min(d.step for d in domains)
    if all(d.step.is_integer() for d in domains):
        step = float(math.gcd(*(int(d.step) for d in domains))) if step else 0.0
    shared = step > 0 and all(_whole(d.step / step) and _whole(d.anchor / step) for d in domains)
    return Domain(lo, hi, step if shared else 0.0)


def join(a: Domain, b: Domain) -> Domain:
    """The values of either: the least domain above both, up to the size of a common step.

    A common step is found where the coarser one is a multiple of the finer one or both are whole;
    else the join is an interval, which is larger than it need be, never smaller.
    """
    lo, hi = min(a.lo, b.lo), max(a.hi, b.hi)
    if (a.lo < a.hi and not a.step) or (b.lo < b.hi and not b.step):
        return Domain(lo, hi, 0.0)
    # One value alone lies on every grid that goes through it: its own step does not count.
    gaps = [d.step for d in (a, b) if d.lo < d.hi]
    gaps += [gap for gap in (abs(a.anchor - b.anchor),) if gap]
    joined = Domain(lo, hi, _common(gaps) if gaps else max(a.step, b.step))
    return joined if joined.hi >= hi else Domain(lo, hi, 0.0)  # rounding lost the last value


def widen(old: Domain, new: Domain) -> Domain:
    """A domain above both that is reached after finitely many steps, whatever ``new`` does.

    An end that moved goes to infinity, a grid that got finer becomes an interval. So a chain of
    widenings changes a domain four times at most, and the search for a fixed point ends.
    """
    above = join(old, new)
    lo = above.lo if above.lo >= old.lo else -math.inf
    hi = above.hi if above.hi <= old.hi else math.inf
    step = above.step if above.step == old.step or old.lo == old.hi else 0.0
    if step and math.isinf(lo) and not _whole(above.anchor / step):
        step = 0.0  # a grid without a lowest value goes through zero; this one does not
    return Domain(lo, hi, step)


def _common(steps: list[float]) -> float:
    """A step of which all are whole multiples; 0 if none is found."""
    least = min(steps)
    if all(_whole(s / least) for s in steps):
        return least
    if all(s.is_integer() for s in steps):
        return float(math.gcd(*map(int, steps)))
    return 0.0


def with_zero(x: Domain) -> Domain:
    """The domain ``x`` and the zero that padding adds, or that a delay starts with."""
    if Domain(0, 0, 0) <= x:
        return x
    step = x.step if x.step and _whole(x.anchor / x.step) else 0.0
    return Domain(min(x.lo, 0.0), max(x.hi, 0.0), step)


def times(weight: Array, bound: float) -> Array:
    """``weight * bound`` where a zero weight stops even an infinite bound."""
    product: Array = np.multiply(weight, bound, out=np.zeros(weight.shape), where=weight != 0)
    return product


def on_grid(x: Array, step: float) -> bool:
    """Is every value a whole multiple? A part at a time: real numbers mostly show it soon."""
    flat = x.reshape(-1)
    parts = (flat[k : k + _PART] for k in range(0, flat.size, _PART))
    return all(bool((np.rint(p / step) * step == p).all()) for p in parts)
