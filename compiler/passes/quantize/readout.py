"""The scale at which a readout can never reach the chip's highest threshold and fire.

Its membrane is bounded by T steps of the largest current. Rounding adds half a unit a weight at
most: that bound holds at any scale. Where it alone exceeds the chip, which takes 65,000 inputs over
four steps, the weights are rounded at one scale after the other, and what they add up to counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import Add, Conv2d, Linear, Neuron, Scale
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import values_of
from purespike.compiler.proofs.ranges import current_interval

STEP = 0.98  # from one scale to the next that is tried
TRIES = 100
SPARE = 8  # units a step that are left for biases: they are rounded later


def readout_limit(graph: Graph, node: Node, nodes: Sequence[Node], grid: Grid) -> float:
    """The scale up to which an integrator cannot reach the highest threshold, ever.

    Args:
        graph: The graph.
        node: Any node of it; what is not an integrator has no limit.
        nodes: Those that share its scale.
        grid: The integers of the chip.

    Returns:
        A scale, infinite where nothing is known or none fits: Lava and netx then refuse the readout
        by its bounds. With more inputs than half a unit each leaves room for, it is one that was
        tried, at which weights are left; smaller ones may round worse.
    """
    if not isinstance(node.op, Neuron) or node.op.fires:
        return math.inf
    lasting = _lasting(graph, node.op)
    current = _largest(graph, node, {})
    reach = lasting * current + abs(node.op.initial)
    if not 0 < reach < math.inf:
        return math.inf
    rounding = 0.5 * lasting * (_fan_in(graph, node.inputs[0]) + 1)
    if rounding < grid.threshold_limit:
        scale = (grid.threshold_limit - rounding) / reach
        if _left({n.name: _rounded(n.op, scale) for n in nodes}):
            return scale
    scale = grid.threshold_limit / reach
    for _ in range(TRIES):
        ops = {n.name: _rounded(n.op, scale) for n in nodes}
        if not _left(ops):
            return math.inf  # no readout at all: the rules shall say that none fits
        reach = lasting * (_largest(graph, node, ops) + SPARE) + abs(node.op.initial) * scale
        if reach <= grid.threshold_limit:
            return scale
        scale *= STEP
    return math.inf


def _left(ops: Mapping[str, Op]) -> bool:
    """Whether any weight is not zero."""
    return any(np.any(a) for op in ops.values() for a in values_of(op))


def readout_notes(graph: Graph, after: Graph, grid: Grid) -> Iterator[str]:
    """What that limit costs: the layers of integrators whose weights lost a bit or more to it."""
    for node in graph.nodes:
        if not isinstance(node.op, Neuron) or node.op.fires:
            continue
        synapse = after.producer(node.inputs[0])
        if synapse is None or not isinstance(synapse.op, Linear):
            continue
        largest = float(np.abs(synapse.op.kept).max(initial=0.0))
        reach = _lasting(graph, node.op) * _largest(after, node, {})
        if 0 < largest <= grid.weight_limit / 2 and 2 * reach > grid.threshold_limit:
            yield (
                f"weights of {graph.origin(synapse.name)} take {math.log2(largest) + 1:.1f} of "
                f"{grid.weight_bits} bits: with larger ones {graph.origin(node.name)} could reach "
                "the chip's highest threshold, and fire"
            )


def _lasting(graph: Graph, op: Neuron) -> float:
    """Steps times what of a current is left in the end: one that fades adds ``sum(decay**k)``."""
    return graph.steps * sum(op.current_decay**k for k in range(graph.steps))


def _largest(graph: Graph, node: Node, ops: Mapping[str, Op]) -> float:
    interval = current_interval(graph, node.inputs[0], ops=ops)
    return math.inf if interval is None else max(float(np.abs(end).max()) for end in interval)


def _rounded(op: Op, scale: float) -> Op:
    def whole(weight: Array) -> Array:
        return np.rint(weight * scale)

    if isinstance(op, Scale):
        return replace(op, factor=whole(op.factor))
    if isinstance(op, Conv2d | Linear):
        return reweighted(op, whole, None if op.bias is None else whole(op.bias))
    return op


def _fan_in(graph: Graph, name: str) -> float:
    node = graph.producer(name)
    if node is None:
        return 0.0
    if isinstance(node.op, Add):
        return sum(_fan_in(graph, i) for i in node.inputs)
    if isinstance(node.op, Linear):
        return float(node.op.shape[1])
    if isinstance(node.op, Conv2d):
        return float(node.op.weight[0].size)
    return 1.0
