"""What a target accepts, as a table, and the one function that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Add, Conv2d, FixedPoint, Linear, Neuron, Scale
from purespike.compiler.rules.finding import LEGALITY, Finding, verdict
from purespike.compiler.rules.graph_rules import chip_nodes, place
from purespike.compiler.wording import QUANTIZE

_EXPORT = (
    "the network is in integers already, which are not quantized again: export it once more, with "
    "weights in these ranges"
)


@dataclass(frozen=True)
class Spec:
    """The ranges of a chip's registers, in units of a weight where nothing else is said.

    Attributes:
        name: Of the target.
        one_sign: Largest magnitude of weights in a layer whose weights have one sign.
        mixed: Lowest and highest weight in a layer with both signs. In steps of 2 the mantissas
            reach that far; half of it in steps of 1, which an exponent of -1 gives.
        bias: Largest magnitude of a bias (mantissa 12 bits and sign, exponent 6).
        threshold: Lowest and highest threshold for ``>=``; the chip's own is one less.
        amount: Least and most that a soft reset subtracts; 0 is a neuron that is never reset.
        current_limit: Largest magnitude of the summed current of one step.
        fixed: How the membrane is held.
        source: Where the values come from.
    """

    name: str
    one_sign: int
    mixed: tuple[int, int]
    bias: int
    threshold: tuple[int, int]
    amount: tuple[int, int]
    current_limit: int
    fixed: FixedPoint
    source: str

    @property
    def weights(self) -> str:
        """Which weights a layer may have, in words."""
        low, high = self.mixed
        return (
            f"0 to {self.one_sign} or {-self.one_sign} to 0 in a layer of one sign; of both signs "
            f"{low // 2} to {high // 2}, or even ones of {low} to {high}"
        )

    def holds(self, weight: NDArray[Any]) -> bool:
        """Can the synapses of one layer have these whole weights exactly?"""
        low, high = float(weight.min(initial=0)), float(weight.max(initial=0))
        if low >= 0 or high <= 0:
            return max(-low, high) <= self.one_sign
        least, most = self.mixed
        if least // 2 <= low and high <= most // 2:
            return True
        return least <= low and high <= most and not bool(np.any(weight % 2))


LOIHI2 = Spec(
    name="loihi2",
    one_sign=255,
    mixed=(-256, 254),
    bias=4095,
    threshold=(1, 131072),
    amount=(0, 131071),
    current_limit=131071,  # beyond it lava's 24-bit current wraps around
    fixed=FixedPoint(),
    source="lava-nc 0.10.0, PyLifModelBitAcc and Dense (bit_accurate_loihi)",
)


def check(graph: Graph, spec: Spec) -> Iterator[Finding]:
    """PS008: every parameter on the chip against the table, kept and broken."""
    nodes = list(chip_nodes(graph))
    integers = all(n.op.fixed is not None for n in nodes if isinstance(n.op, Neuron))
    remedy = _EXPORT if integers else QUANTIZE
    for node in nodes:
        where = place(node)
        op = node.op
        if isinstance(op, Conv2d | Linear | Scale):
            stored = op.kept if isinstance(op, Linear) else None
            weight = op.factor if isinstance(op, Scale) else op.weight if stored is None else stored
            yield _weights(where, weight, spec, remedy)
            bias = None if isinstance(op, Scale) else op.bias
            if bias is not None:
                yield _range(where, "bias", bias, -spec.bias, spec.bias)
        elif isinstance(op, Neuron):
            yield verdict(
                LEGALITY,
                where,
                op.fixed == spec.fixed,
                f"membrane {op.fixed}",
                limit=f"{spec.fixed}",
                remedy=QUANTIZE,
            )
            if op.fires:
                # A leaky chip compares with a whole k on its finer grid: the threshold is k + 1/64.
                above = 2.0**-spec.fixed.fraction_bits - 1.0 if op.leaks else 0.0
                yield _range(where, "threshold", op.threshold, *spec.threshold, above=above)
            if op.reset == "subtract":
                yield _range(where, "reset amount", op.amount, *spec.amount)
            if op.initial:
                yield _range(where, "initial membrane", np.asarray(op.initial), 0, 0)
            meeting = list(_biases(graph, node.inputs[0]))
            if (
                len(meeting) > 1
            ):  # the chip has one bias per neuron: each may fit, and not their sum
                yield _range(where, "sum of biases", np.sum(meeting, axis=0), -spec.bias, spec.bias)


def _biases(graph: Graph, name: str) -> Iterator[Array]:
    """The biases of all synapses whose currents meet at an edge."""
    source = graph.producer(name)
    if source is not None and isinstance(source.op, Add):
        for part in source.inputs:
            yield from _biases(graph, part)
    elif source and isinstance(source.op, Conv2d | Linear) and source.op.bias is not None:
        yield source.op.bias


def _weights(where: str, weight: Array, spec: Spec, remedy: str) -> Finding:
    """Does a layer hold its weights? Its signs decide which."""
    low, high = float(weight.min()) + 0.0, float(weight.max()) + 0.0  # never "-0"
    whole = bool((np.rint(weight) == weight).all())
    found = f"weight {low:g} to {high:g}"
    if not whole:
        found += ", not whole"
    elif low < 0 < high:
        found += f", of both signs, in steps of {1 if np.any(weight % 2) else 2}"
    return verdict(
        LEGALITY,
        where,
        whole and spec.holds(weight),
        found,
        limit=f"whole, {spec.weights}",
        remedy=remedy if whole else QUANTIZE,
    )


def _range(
    where: str, what: str, values: Array, low: float, high: float, *, above: float = 0.0
) -> Finding:
    """Are the values whole numbers from ``low`` to ``high``, each moved by ``above``?"""
    register = values - above
    whole = bool((np.rint(register) == register).all())
    lo, hi = float(values.min()) + 0.0, float(values.max()) + 0.0  # never "-0"
    return verdict(
        LEGALITY,
        where,
        whole and low <= register.min() and register.max() <= high,
        f"{what} {lo:g} to {hi:g}" + ("" if whole else ", not whole"),
        limit=("k + 1/64 for whole k, " if above else "whole, ")
        + f"{low + above:g} to {high + above:g}",
        remedy=QUANTIZE,
    )
