"""Thresholds of levels: whole and in reach on the chip, as the tool's own floats on the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Shape
from purespike.compiler.ir.ops.levels import next_value
from purespike.compiler.quantized.exact import Affine, Exact
from purespike.compiler.quantized.value import Whole


def least_real(bound: Fraction, strict: bool) -> float:
    """The least float64 at ``bound`` or above it, or only above it."""
    return next_value(bound, strict=strict)


@dataclass(frozen=True)
class Counter:
    """A quantizer: how many of its boundaries a value passes, and what the count is worth.

    Attributes:
        boundaries: (D, ...), ascending; the rest broadcasts to (C, 1, ...).
        strict: (D,): is a boundary passed only above it?
        worth: Of the count.
        computed: Counts in the floats of the tool that trained the network; its argument broadcasts
            to (..., C, 1, ...). Between layers floats depend on the order of a sum; on the input
            they do not, so that is quantized as the tool does it, its rounding included.
    """

    boundaries: Exact
    strict: tuple[bool, ...]
    worth: Affine
    computed: Callable[[Array], Array] | None = None


def as_computed(counter: Counter) -> Array:
    """The least float64 that a quantizer counts at each level, found by asking it."""
    assert counter.computed is not None
    shape = counter.boundaries.shape
    level = np.arange(1, shape[0] + 1).reshape(-1, *(1,) * (len(shape) - 1))
    # Of floats and of whole numbers that stand for them in their order: half of the rest a time.
    most = np.finfo(np.float32).max
    low, high = (np.full(shape, _rank(np.float64(x))) for x in (-most, most))
    while bool((low < high).any()):  # all take equally long, within a step
        middle = (low >> 1) + (high >> 1) + (low & high & 1)  # their sum would not fit
        passed = counter.computed(_ranked(middle)) >= level
        low, high = (
            np.where(passed, low, middle + 1),
            np.where(passed, middle, high),
        )
    return _ranked(low)


def _rank(x: np.float64) -> int:
    bits = int(np.abs(x).view(np.int64))
    return -bits if x < 0 else bits


def _ranked(rank: Whole) -> Array:
    found: Array = np.where(rank < 0, -1.0, 1.0) * np.abs(rank).view(np.float64)
    return found


def within(found: Array, low: Whole, high: Whole) -> tuple[Whole, Whole]:
    """Whole thresholds above ``low``, ``high + 1`` at most, and how many every input passes."""
    floor, ceiling = low[None].astype(np.float64), high[None].astype(np.float64) + 1
    values = np.clip(found, floor, ceiling)
    passed = (values <= floor).sum(axis=0)
    always = passed.reshape(len(passed), -1).min(axis=1) if passed.ndim else passed
    always = np.asarray(always).reshape(passed.shape[:1] + (1,) * (passed.ndim - 1))
    if always.any():
        count = len(values)
        index = np.arange(count).reshape(-1, *(1,) * passed.ndim) + always[None]
        padded = np.concatenate([values, np.broadcast_to(ceiling, values.shape)])
        values = np.take_along_axis(padded, np.broadcast_to(index, values.shape), axis=0)
    return values.astype(np.int64), always.astype(np.int64)


def narrow(thresholds: Array) -> Array:
    """Without axes along which all are equal."""
    flat = thresholds.reshape(len(thresholds), -1)
    if bool((flat == flat[:, :1]).all()):
        return flat[:, 0].astype(np.float64)
    rows = thresholds.reshape(*thresholds.shape[:2], -1)
    if bool((rows == rows[:, :, :1]).all()):
        narrow = rows[:, :, 0].reshape(*rows.shape[:2], *(1,) * (thresholds.ndim - 2))
        return narrow.astype(np.float64)
    return thresholds.astype(np.float64)


def padded(shape: Shape, full: Shape) -> Shape:
    """A shape that broadcasts, with all axes."""
    return (1,) * (len(full) - len(shape)) + tuple(shape)
