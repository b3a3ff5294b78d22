"""Where a monotone function of whole numbers reaches a level: in fractions, never in floats.

Between the sum of a layer and its quantizer stand a scale, a bias, a batch normalization, a ReLU:
each value by itself, none of them ever falling and rising. So every level is reached from one whole
number on. A float32 threshold at such a boundary may lie on the wrong side of it; these do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from purespike.compiler.errors import PurespikeError

Exact = NDArray[np.object_]  # of fractions
_PRECISIONS = (128, 1024, 8192)  # bits behind the point of a root; the first one nearly always does


class QuantizedError(PurespikeError):
    """A quantized network that has no exact form in integers."""


def exact(x: ArrayLike | Fraction) -> Exact:
    """Numbers as fractions, each of exactly the same value.

    Raises:
        QuantizedError: If one is infinite or not a number.
    """
    array = np.asarray(x)
    if array.dtype != object and not bool(np.isfinite(array).all()):
        raise QuantizedError("a parameter is not finite", remedy="the training diverged")
    flat = [Fraction(v) for v in array.ravel().tolist()]
    return _objects(flat, array.shape)


def _objects(values: Sequence[Any], shape: tuple[int, ...]) -> Exact:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made.reshape(shape)


@dataclass(frozen=True, eq=False)
class Affine:
    """``factor / sqrt(radicand) * x + shift``; the arrays broadcast to (C, ...)."""

    factor: Exact
    shift: Exact
    radicand: Exact | None = None

    @classmethod
    def of(cls, factor: ArrayLike | Fraction = 1, shift: ArrayLike | Fraction = 0) -> Affine:
        """Of any numbers."""
        return cls(exact(factor), exact(shift))


@dataclass(frozen=True)
class Clip:
    """``min(max(x, low), high)``; ReLU is a clip at 0."""

    low: Fraction | None = None
    high: Fraction | None = None


Step = Affine | Clip


@dataclass(frozen=True)
class Half:
    """All numbers at or above ``bound`` (below it, if not ``up``), or only beyond it."""

    bound: Fraction
    strict: bool
    up: bool = True


def signs(steps: Sequence[Step], channels: int) -> NDArray[np.int64]:
    """(C,) of 1 and -1: does the function fall in a channel?"""
    sign = np.ones(channels, np.int64)
    for step in steps:
        if isinstance(step, Affine):
            negative = np.array([f < 0 for f in step.factor.ravel()]).reshape(step.factor.shape)
            flat = negative.reshape(-1) if negative.size > 1 else np.full(channels, negative.item())
            sign[flat] *= -1
    return sign


def collapsed(steps: Sequence[Step]) -> tuple[Exact, Exact] | None:
    """(factor, shift) of steps that are one affine function of fractions; None if they are not."""
    factor, shift = exact(1), exact(0)
    for step in steps:
        if not isinstance(step, Affine) or step.radicand is not None:
            return None
        factor, shift = (
            _array(factor * step.factor),
            _array(shift * step.factor + step.shift),
        )
    return factor, shift


def _array(x: Any) -> Exact:
    return np.asarray(x, dtype=object)


def reached(
    steps: Sequence[Step],
    boundaries: Exact,
    strict: Sequence[bool],
    finish: Callable[[Fraction, bool], Any],
) -> NDArray[np.float64]:
    """For each level, from which x on the function is beyond its boundary.

    Args:
        steps: The function, first step first. Where it falls in a channel, -x is meant.
        boundaries: (D, ...) of what the steps make; the rest broadcasts to (C, ...).
        strict: (D,): must a boundary be passed, or is reaching it enough?
        finish: What to make of an exact bound of x, and whether it must be passed.

    Returns:
        (D, ...) of what ``finish`` makes, as floats; minus infinity where the level is always
        reached, infinity where it never is.
    """
    parameters = [_array(boundary) for boundary in boundaries]
    for step in steps:
        if isinstance(step, Affine):
            parameters += [step.factor, step.shift]
            parameters += [step.radicand] if step.radicand is not None else []
    which, alike = _alike(parameters)
    rows = []
    for entry in alike:
        here = list(_at(steps, iter(entry[len(boundaries) :])))
        bounds = zip(entry[: len(boundaries)], strict, strict=True)
        rows.append([_reached(here, Half(bound, above), finish) for bound, above in bounds])
    return np.moveaxis(np.array(rows, np.float64)[which], -1, 0)


def _alike(parameters: Sequence[Exact]) -> tuple[NDArray[np.intp], list[tuple[Fraction, ...]]]:
    """Which places have the same parameters, and those of each kind of place."""
    shape = np.broadcast_shapes(*(p.shape for p in parameters))
    which = np.zeros(shape, np.intp)
    for p in parameters:
        if p.size > 1:
            known: dict[Fraction, int] = {}
            own = [known.setdefault(v, len(known)) for v in p.ravel().tolist()]
            spread = np.broadcast_to(np.array(own, np.intp).reshape(p.shape), shape)
            _, which = np.unique(which * len(known) + spread, return_inverse=True)
            which = which.reshape(shape)
    _, first = np.unique(which, return_index=True)
    flat = [np.broadcast_to(p, shape).ravel()[first].tolist() for p in parameters]
    return which, list(zip(*flat, strict=True))


@dataclass(frozen=True)
class _Line:
    factor: Fraction
    shift: Fraction
    radicand: Fraction | None


def _at(steps: Sequence[Step], values: Iterator[Fraction]) -> Iterator[_Line | Clip]:
    """The steps at one place, their numbers taken from ``values`` in order."""
    for step in steps:
        if isinstance(step, Clip):
            yield step
        else:
            factor, shift = next(values), next(values)
            yield _Line(factor, shift, next(values) if step.radicand is not None else None)


def _reached(
    steps: Sequence[_Line | Clip], half: Half, finish: Callable[[Fraction, bool], Any]
) -> Any:
    count = sum(isinstance(s, _Line) and s.radicand is not None for s in steps)
    for bits in _PRECISIONS:
        # A bound is linear in each root: between the ends of all roots lie all its values.
        found = [_pulled(steps, half, bits, ends) for ends in product((0, 1), repeat=count)]
        if len({_finished(f, finish) for f in found}) == 1:
            return _finished(found[0], finish)
    raise QuantizedError("a threshold cannot be told from a whole number", found=f"{bits} bits")


def _finished(found: Half | bool, finish: Callable[[Fraction, bool], Any]) -> Any:
    if isinstance(found, bool):
        return -math.inf if found else math.inf
    return finish(found.bound if found.up else -found.bound, found.strict)


def _pulled(
    steps: Sequence[_Line | Clip], half: Half, bits: int, ends: Sequence[int]
) -> Half | bool:
    """The numbers that the steps lead into ``half``; True for all, False for none."""
    left = list(ends)
    for step in reversed(steps):
        if isinstance(step, Clip):
            held = _unclipped(step, half)
        else:
            root = Fraction(1)
            if step.radicand is not None:
                root = _root(step.radicand, bits) + (Fraction(left.pop(), 1 << bits))
                root = _exact_root(step.radicand) or root
            held = _unscaled(step, half, root)
        if isinstance(held, bool):
            return held
        half = held
    return half


def _unclipped(step: Clip, half: Half) -> Half | bool:
    if step.low is not None and _holds(half, step.low) == half.up:
        return half.up  # all numbers are at least that, or none below it is asked for
    if step.high is not None and _holds(half, step.high) != half.up:
        return not half.up
    return half


def _holds(half: Half, x: Fraction) -> bool:
    if x == half.bound:
        return not half.strict
    return (x > half.bound) == half.up


def _unscaled(step: _Line, half: Half, root: Fraction) -> Half | bool:
    if step.factor == 0:
        return _holds(half, step.shift)
    bound = (half.bound - step.shift) * root / step.factor
    return Half(bound, half.strict, half.up == (step.factor > 0))


def _root(x: Fraction, bits: int) -> Fraction:
    """The square root, rounded down to ``bits`` behind the point."""
    return Fraction(math.isqrt((x.numerator << 2 * bits) // x.denominator), 1 << bits)


def _exact_root(x: Fraction) -> Fraction | None:
    n, d = math.isqrt(x.numerator), math.isqrt(x.denominator)
    return Fraction(n, d) if n * n == x.numerator and d * d == x.denominator else None


def least_whole(bound: Fraction, strict: bool) -> int:
    """The least whole number at ``bound`` or above it, or only above it."""
    return math.floor(bound) + 1 if strict else math.ceil(bound)


def common_unit(x: Exact, most: int) -> tuple[Fraction, NDArray[np.int64]] | None:
    """(unit, whole numbers) of which ``x`` is the product; None if one is beyond ``most``."""
    values = x.ravel().tolist()
    unit = Fraction(0)
    for v in dict.fromkeys(values):
        unit = Fraction(
            math.gcd(unit.numerator * v.denominator, v.numerator * unit.denominator),
            unit.denominator * v.denominator,
        )
    if unit == 0:
        return Fraction(1), np.zeros(x.shape, np.int64)
    whole = [int(v / unit) for v in values]
    if max(map(abs, whole)) > most:
        return None
    return unit, np.array(whole, np.int64).reshape(x.shape)


def few(x: Exact) -> str:
    """Some of the numbers, in words."""
    values = [f"{float(v):.6g}" for v in dict.fromkeys(x.ravel().tolist())]
    return ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
