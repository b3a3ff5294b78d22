"""An activation with several levels: quantized, or a neuron that fires several times per step.

Training that counts spikes (I-LIF: Luo et al., ECCV 2024, arXiv 2407.20708) and quantized networks
both have it. No chip of ours does: `unroll_levels` makes spikes of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from purespike.compiler.ir.domain import Array, Domain
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape, frozen
from purespike.compiler.ir.ops.synapse import broadcasts

Rounding = Literal[
    "half even", "half up", "half down", "half away", "half to zero", "floor", "ceil", "up", "down"
]
_ROUNDINGS: tuple[Rounding, ...] = Rounding.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Levels(Op):
    """``m <- decay * (m - amount * s) + x``; ``s`` is how many thresholds m reached.

    ``s`` is a whole number from 0 to D: how many of ``thresholds`` m is at or above. Where there
    are ``below``, as many as ``-m`` reaches of those count as minus one each (ternary spikes:
    one of either). A scale of the output is a `Scale` behind it, a lowest level other than 0 a part
    of the biases of what reads it.

    Attributes:
        thresholds: (D, ...), ascending along the first axis; the rest broadcasts to the input's
            shape, such as (D,), (D, C, 1, 1). ``m > t`` is ``m >= next_value(t, strict=True)``.
        decay: Factor of the membrane a step; 0 is an activation without memory, 1 never leaks.
        amount: What each spike takes off the membrane: a scalar, or broadcasts to the input.
        below: (E, ...) as ``thresholds``, of -m, or None.
    """

    thresholds: Array
    decay: float = 0.0
    amount: Array = None  # type: ignore[assignment]  # None is 1
    below: Array | None = None

    def __post_init__(self) -> None:
        amount = np.ones(()) if self.amount is None else self.amount
        object.__setattr__(self, "amount", frozen(amount))
        object.__setattr__(self, "thresholds", _ascending(self.thresholds))
        if self.below is not None:
            object.__setattr__(self, "below", _ascending(self.below))
        if not 0 <= self.decay <= 1:
            raise IRError(
                "the decay of a level activation is a factor",
                found=f"{self.decay:g}",
                allowed="0 to 1",
            )

    @property
    def levels(self) -> int:
        """D + E: how many spikes say what it sends."""
        return len(self.thresholds) + (0 if self.below is None else len(self.below))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; whole numbers from -E to D."""
        (x,) = inputs
        below = () if self.below is None else self.below
        for parameter in (*self.thresholds, *below, self.amount):
            broadcasts(parameter, x)
        return x.shape, Domain(-len(below), len(self.thresholds), 1)

    def start(self, batch: int, shape: Shape) -> Array | None:
        """The membrane at rest (B, *shape); nothing where none is kept."""
        return np.zeros((batch, *shape)) if self.decay else None

    def step(self, state: Array | None, *inputs: Array) -> tuple[Array | None, Array]:
        """One step; the state holds the membrane after the reset."""
        m = inputs[0] if state is None else self.decay * state + inputs[0]
        s = np.zeros(m.shape)
        for threshold in self.thresholds:
            s += m >= threshold
        for threshold in () if self.below is None else self.below:
            s -= -m >= threshold
        return None if state is None else m - s * self.amount, s

    def arrays(self) -> dict[str, Array]:
        """Thresholds, and amount where it matters."""
        found = {"thresholds": self.thresholds}
        found |= {"amount": self.amount} if self.decay else {}
        return found | ({} if self.below is None else {"below": self.below})

    def details(self) -> str:
        """How many levels, where, decay."""
        text = _count(self.thresholds)
        text += "" if self.below is None else f", below zero {_count(self.below)}"
        if not self.decay:
            return f"{text}, decay 0"
        each = f"{self.amount:g}" if self.amount.ndim == 0 else f"{self.amount.shape}"
        return f"{text}, decay {self.decay:g}, subtracts {each} a spike"


def _ascending(thresholds: ArrayLike) -> Array:
    array = frozen(thresholds)
    if not array.ndim or not array.size:
        raise IRError(
            "a level activation has no level",
            found=f"thresholds of shape {array.shape}",
            allowed="(D, ...) with D >= 1",
        )
    if bool((np.diff(array, axis=0) < 0).any()):
        raise IRError(
            "the thresholds of a level activation do not ascend",
            found=", ".join(f"{t:g}" for t in array.reshape(len(array), -1)[:8, 0]),
            allowed="each at or above the one before",
        )
    return array


def _count(thresholds: Array) -> str:
    n = len(thresholds)
    words = "1 level" if n == 1 else f"{n} levels"
    if thresholds.size > n:
        return f"{words} {thresholds.shape}"
    ends = (thresholds.flat[0], thresholds.flat[-1])
    return f"{words} at {ends[0]:g}" + (f" to {ends[1]:g}" if n > 1 else "")


def thresholds_of_rounding(
    levels: int,
    scale: Fraction | ArrayLike = 1.0,
    mode: Rounding = "half even",
    *,
    low: int = 0,
    zero: float | Fraction = 0,
    grid: Fraction | None = None,
) -> Array:
    """Where ``round(x / scale + zero)`` reaches the whole numbers above ``low``.

    Computed in fractions, so that a value at a boundary falls on the side that the rounding says:
    of ``round`` half to even, 1/2 is still level 0, and 3/2 is level 2.

    Args:
        levels: D; the whole numbers are ``low + 1`` to ``low + D``.
        scale: What one level is worth: above 0, a number or an array such as (C, 1, 1), of floats
            or (dtype object) of fractions.
        mode: How the quantizer rounds: ``half even`` as torch, numpy, ONNX; ``half up`` towards
            plus infinity, ``half away`` from zero as C; ``up`` away from zero, ``down`` to zero.
        low: The least level, which needs no threshold.
        zero: Zero point, added before rounding.
        grid: x is a whole multiple of it (integer weights): thresholds are then, too.

    Returns:
        (levels, *scale.shape): the least float64 (or multiple) of each level.

    Raises:
        IRError: For a scale that is not above 0, an unknown mode, or D < 1.
    """
    if mode not in _ROUNDINGS:
        raise IRError("unknown rounding", found=repr(mode), allowed=", ".join(_ROUNDINGS))
    if levels < 1:
        raise IRError("a level activation has no level", found=str(levels), allowed="1 or more")
    each = np.asarray(scale, dtype=object)
    parts = [s if isinstance(s, Fraction) else float(s) for s in each.flat]
    if any(not (math.isfinite(s) and s > 0) for s in parts):
        raise IRError(
            "the scale of a level activation is not a number above 0",
            found=", ".join(f"{float(s):g}" for s in parts[:4]),
        )
    found = np.empty((levels, len(parts)))
    for k in range(levels):
        bound, strict = boundary(low + 1 + k, mode)
        for j, part in enumerate(parts):
            at = (bound - Fraction(zero)) * Fraction(part)
            found[k, j] = next_value(at, strict=strict, grid=grid)
    return found.reshape(levels, *each.shape)


def boundary(level: int, mode: Rounding) -> tuple[Fraction, bool]:
    """From where on a number rounds to ``level`` or more, and whether only above that."""
    half, positive = Fraction(1, 2), level > 0
    whole = mode == "floor" or (mode == "down" and positive) or (mode == "up" and not positive)
    if whole:
        return Fraction(level), False
    if not mode.startswith("half"):
        return Fraction(level - 1), True
    stays = {
        "half even": level % 2 == 1,
        "half up": False,
        "half down": True,
        "half away": not positive,
        "half to zero": positive,
    }
    return level - half, stays[mode]


def next_value(bound: Fraction, *, strict: bool, grid: Fraction | None = None) -> float:
    """The least float64 at ``bound`` or above it, or only above it if ``strict``.

    Args:
        bound: Exact.
        strict: ``x > bound`` is ``x >= next_value(bound, strict=True)`` for every float64 x.
        grid: Look among its whole multiples instead, at least one of which must be a float64.
    """
    if grid is not None:
        steps = bound / grid
        whole = math.floor(steps) + 1 if strict else math.ceil(steps)
        exact = whole * grid
        if Fraction(float(exact)) != exact:
            raise IRError("a threshold on this grid is not a float64", found=str(exact))
        return float(exact)
    near = float(bound)  # rounds correctly
    there = Fraction(near)
    return math.nextafter(near, math.inf) if there < bound or (strict and there == bound) else near


def rounded_levels(
    low: int,
    high: int,
    scale: ArrayLike | Fraction = 1.0,
    mode: Rounding = "half even",
    *,
    zero: float | Fraction = 0,
    grid: Fraction | None = None,
) -> Levels:
    """``clamp(round(x / scale + zero), low, high)`` as levels, those below zero as ``below``.

    Args:
        low: The least level, 0 or less.
        high: The highest level, 1 or more.
        scale: As `thresholds_of_rounding` has it.
        mode: The same.
        zero: The same.
        grid: The same.

    Raises:
        IRError: If the levels do not go from 0 or below to 1 or above.
    """
    if not low <= 0 < high:
        raise IRError(
            "the levels of a rounding do not begin at 0 or below and end above",
            found=f"{low} to {high}",
            allowed="from 0 or less to 1 or more",
        )
    found = thresholds_of_rounding(high - low, scale, mode, low=low, zero=zero, grid=grid)
    above, reached = found[-low:], found[:-low][::-1] if low else None
    if reached is None:
        return Levels(above)
    # x < t is -x > -t: the next value above -t.
    step = np.nextafter if grid is None else lambda t, _: t + float(grid)
    return Levels(above, below=step(-reached, np.inf))
