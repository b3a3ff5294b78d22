"""Can a membrane equal its threshold? Then "above" and "at or above" are two networks.

A neuron adds up multiples of its weights, biases and reset amounts, so that its membrane stays on a
grid: the multiples of their greatest common divisor, which is exact, since every float is a whole
number times a power of two. A threshold between two points of the grid is never met, nor is one
that no membrane reaches. "No" is a proof, also for float32 with its rounding, in any order of
additions; "yes" says that it is not excluded:

- IF, with either reset, and Threshold: the threshold, or with reset by subtraction the threshold
  and up to T amounts more, lies on the grid or within what T steps may be rounded by.
- A leak by a factor of p / 2**b makes the grid finer by 2**b in each step. Where that needs more
  bits than float32 has, rounding decides, and a threshold that can be reached can be met.
- Real-numbered inputs have no grid: the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Neuron,
    Scale,
)

_BITS = 24  # of float32, in which the frameworks compute
_AT_ONCE = 1 << 20
_TRIES = 100_000  # thresholds times steps; beyond, a tie is not excluded
_ROUNDS = 4  # over the nodes; currents that go round loops further are taken for real numbers


@dataclass(frozen=True)
class _Grid:
    """What an edge carries: multiples of ``step``, none larger than ``top``.

    ``unit``, a power of two, divides all that is added up on the way; ``terms`` counts how often an
    addition may round. ``step`` 0 is real numbers, ``unit`` 0 that float32 does not hold them.
    """

    step: Fraction
    unit: Fraction
    top: Fraction
    terms: int = 0


_REAL = _Grid(Fraction(0), Fraction(0), Fraction(2) ** 1100)


def can_tie(graph: Graph) -> str:
    """The first neuron whose membrane may equal its threshold, and why; empty if none can.

    Args:
        graph: With the thresholds of the file.
    """
    grids = {e.name: g for e in graph.edges() if (g := _declared(e.domain))}
    for _ in range(_ROUNDS):
        unknown = [n for n in graph.nodes if n.name not in grids]
        for node in unknown:
            if all(i in grids for i in node.inputs):
                grids[node.name] = _sent(graph, node, [grids[i] for i in node.inputs])
        if not unknown:
            break
    for node in graph.nodes:
        if isinstance(node.op, Neuron) and node.op.fires:
            x = grids.get(node.inputs[0], _REAL)
            if found := _meets(node.op, x, graph.steps):
                return f"{node.name!r} ({found})"
    return ""


def _declared(d: Domain) -> _Grid | None:
    """Whole numbers in a range, such as spikes; the rest is computed, or anything."""
    if not d.step or not d.step.is_integer() or not d.lo.is_integer() or not math.isfinite(d.hi):
        return None
    step, unit = _divisor(np.array([d.lo, d.step]))
    return _Grid(step, unit, Fraction(max(abs(d.lo), abs(d.hi))))


def _sent(graph: Graph, node: Node, xs: list[_Grid]) -> _Grid:
    op, x = node.op, xs[0]
    if isinstance(op, Add):
        return _Grid(
            _gcd(*(x.step for x in xs)),
            min(x.unit for x in xs),
            sum((x.top for x in xs), Fraction(0)),
            sum(x.terms + 1 for x in xs),
        )
    if isinstance(op, Flatten | Delay):
        return x
    if isinstance(op, AvgPool2d):
        size = math.prod(op.kernel)
        unit = x.unit / size if size & (size - 1) == 0 else Fraction(0)
        return _Grid(x.step / size, unit, x.top, x.terms + size)
    if isinstance(op, Scale):
        return _weighed(x, op.factor, np.abs(op.factor), None, 1)
    if isinstance(op, Linear | Conv2d):
        rows = np.abs(op.weight).reshape(len(op.weight), -1)
        return _weighed(x, op.weight, rows.sum(1), op.bias, rows.shape[1])
    if isinstance(op, Neuron) and not op.fires:
        return _held(op, x, graph.steps)
    return _REAL


def _weighed(
    x: _Grid, weight: NDArray[Any], sums: NDArray[Any], bias: NDArray[Any] | None, terms: int
) -> _Grid:
    step, unit = _divisor(weight)
    step, unit, top = step * x.step, unit * x.unit, x.top * Fraction(float(sums.max()))
    if bias is not None and bool(bias.any()):
        more, part = _divisor(bias)
        # Real numbers stay real numbers, whatever is added.
        step, unit = (_gcd(step, more) if step else step), min(unit, part)
        top += Fraction(float(np.abs(bias).max()))
    # The sums above are rounded themselves; a little more than they say does no harm.
    return _Grid(step, unit, top * Fraction(1001, 1000), x.terms + terms + 1)


def _held(op: Neuron, x: _Grid, steps: int) -> _Grid:
    """The membrane that a neuron adds up, without its resets."""
    finer, times = Fraction(1), 1
    for decay in (op.decay, op.current_decay):
        if decay:
            finer /= Fraction(decay).denominator ** min(steps - 1, 2 * _BITS)
            times *= steps
    return _Grid(x.step * finer, x.unit * finer, x.top * times, x.terms + 3 * steps)


def _meets(op: Neuron, x: _Grid, steps: int) -> str:
    v = _held(op, x, steps)
    one = np.zeros(1) if op.reset == "zero" else op.amount
    shape = np.broadcast_shapes(op.threshold.shape, one.shape)
    pairs = np.stack([np.broadcast_to(a, shape).ravel() for a in (op.threshold, one)])
    levels = np.unique(pairs, axis=1).T
    step, unit, reach = v.step, v.unit, v.top
    amounts = op.reset == "subtract" and op.decay > 0
    if amounts:
        more, part = _divisor(one)
        reach += steps * Fraction(float(np.abs(one).max()))
        if op.leaks:  # what was taken off fades, as what came in does
            finer = Fraction(op.decay).denominator ** min(steps, 2 * _BITS)
            step, unit = (_gcd(step, more / finer) if step else step), min(unit, part / finer)
        else:
            unit = min(unit, part)
    exact = unit > 0 and reach <= unit * 2**_BITS
    if op.leaks and not exact:
        step = Fraction(0)
    slack = Fraction(0) if exact else (v.terms + 8) * reach / 2**_BITS
    times = range(steps if amounts and not op.leaks else 1)
    if len(levels) * len(times) > _TRIES:
        return f"{len(levels)} thresholds"
    for threshold, amount in levels.tolist():
        level = Fraction(threshold)
        if abs(level) > reach + slack:
            continue
        if not step:
            return f"threshold {threshold:g}, a membrane of any value"
        for n in times:
            off = (level + n * Fraction(amount)) % step
            if min(off, step - off) <= slack:
                return f"threshold {threshold:g}, a membrane in steps of {float(step):g}"
    return ""


def _divisor(values: NDArray[Any]) -> tuple[Fraction, Fraction]:
    """(greatest common divisor, greatest power of two that divides all); (0, 1) of zeros alone."""
    flat = np.asarray(values, np.float64).reshape(-1)
    odd, power = 0, 0
    for i in range(0, flat.size, _AT_ONCE):
        part = np.abs(flat[i : i + _AT_ONCE])
        mantissa, exponent = np.frexp(part[part > 0])
        if not mantissa.size:
            continue
        whole = (mantissa * 2.0**53).astype(np.int64)
        low = whole & -whole  # its last bit
        lowest = int((np.frexp(low.astype(np.float64))[1] + exponent).min()) - 54
        power = min(power, lowest) if odd else lowest
        odd = math.gcd(odd, int(np.gcd.reduce(whole // low)))
    unit = Fraction(2) ** power if odd else Fraction(1)
    return odd * unit, unit


def _gcd(*values: Fraction) -> Fraction:
    """Of multiples: the greatest number that divides all; 0 divides by anything."""
    total = Fraction(0)
    for x in values:
        a, b = total.numerator * x.denominator, x.numerator * total.denominator
        total = Fraction(math.gcd(a, b), total.denominator * x.denominator)
    return total
