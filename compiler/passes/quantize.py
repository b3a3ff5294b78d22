"""Integers for everything on the chip: weights, biases, thresholds, decay.

A neuron compares a sum of currents with a threshold, so all synapses that reach it, their biases,
its threshold and its reset amount share one scale; nothing else changes. Synapses that serve two
neurons tie those neurons' scales together.

Cases:
1. Everything of a group is whole already and in range (gates): scale 1, nothing moves.
2. Else the scale maps the largest weight to ``2**(bits - 1) - 1``; symmetric, since -128 is not
   exact in every sign mode of Loihi. A bias or threshold that would leave its range lowers it,
   and so does an integrator that could reach the highest threshold, at which it would fire.
3. A scale is lowered a little further so that a layer's one threshold is whole: then an identity
   synapse of exactly the threshold (SN residual) still fires its neuron alone. Weights round to
   the nearest; thresholds that differ by neuron round up, since sums are whole numbers and the
   first sum to reach the real threshold is the first to reach the rounded one.
4. A leaky membrane moves on the chip's finer grid and the chip fires strictly above a whole
   threshold k, that is from ``k + 2**-fraction_bits`` on: the nearest such value is taken.
5. The decay rounds to the chip's grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from purespike.compiler.domain import Array
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node, Op
from purespike.compiler.ops import (
    SYNAPSES,
    Add,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Linear,
    Neuron,
    Scale,
)
from purespike.compiler.ranges import current_interval


class QuantizeError(PurespikeError):
    """A graph that has no integer form."""


@dataclass(frozen=True)
class Grid:
    """The integers a chip offers; the defaults are Loihi's (see ``targets/spec.py``)."""

    weight_bits: int = 8
    bias_limit: int = 4095
    threshold_limit: int = 131071
    fixed: FixedPoint = field(default_factory=FixedPoint)

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise QuantizeError(
                "unsupported weight width", found=f"{self.weight_bits} bits", allowed="2 to 8 bits"
            )


def quantize(
    graph: Graph, grid: Grid | None = None, scales: Mapping[str, float] | None = None
) -> Graph:
    """The graph in integers: float64 arrays that hold whole numbers.

    Args:
        graph: What the passes before left.
        grid: The integers of the chip.
        scales: By synapse and neuron, as `calibrate` chooses them; None takes `choose_scales`.

    Raises:
        QuantizeError: If a layer feeds no neuron, or something else than a synapse, a sum or a
            neuron is left on the chip.
    """
    grid = grid or Grid()
    scales = choose_scales(graph, grid) if scales is None else scales
    nodes = []
    for node in graph.nodes:
        scale = scales.get(node.name)
        if node.role == "host" or isinstance(node.op, Add | Flatten | Delay):
            nodes.append(node)
        elif scale is None:
            raise QuantizeError(
                "this operation has no integer form",
                where=graph.origin(node.name),
                found=f"{type(node.op).__name__}({node.op.details()})",
                allowed="synapses, sums into neurons, neurons, flatten and delay",
                remedy="run fold_scales and lower_gates first, or replace the operation",
            )
        else:
            nodes.append(replace(node, op=quantized(node.op, scale, grid)))
    return graph.rebuilt(nodes)


def quantized(op: Op, scale: float, grid: Grid) -> Op:
    """A synapse or neuron in integers; a weight beyond the grid's range is clipped."""
    return _neuron(op, scale, grid) if isinstance(op, Neuron) else _synapse(op, scale, grid)


def choose_scales(graph: Graph, grid: Grid | None = None) -> dict[str, float]:
    """The scale of each synapse and neuron of the chip: integer = scale * real number."""
    grid = grid or Grid()
    group = scale_groups(graph)
    members: dict[str, list[Node]] = {}
    for name, leader in group.items():
        node = graph.producer(name)
        assert node is not None
        members.setdefault(leader, []).append(node)
    chosen = {leader: _scale(graph, nodes, grid) for leader, nodes in members.items()}
    return {name: chosen[leader] for name, leader in group.items()}


def scale_groups(graph: Graph) -> dict[str, str]:
    """Synapses and neurons by the leader of the group that must share a scale."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if node.role == "host":
            continue
        if isinstance(node.op, (*SYNAPSES, Neuron, Add)):
            leader[node.name] = node.name
    for node in graph.nodes:
        if node.name not in leader or isinstance(node.op, SYNAPSES):
            continue
        for source in node.inputs:
            if source not in leader or isinstance(_op(graph, source), Neuron):
                raise QuantizeError(
                    "something that is no synapse feeds a neuron",
                    where=graph.origin(node.name),
                    found=_named(graph, source),
                    allowed="Conv2d, Linear, one-to-one synapses and their sums",
                    remedy="run fold_scales and lower_gates first, or replace the operation",
                )
            leader[find(source)] = find(node.name)
    groups = {name: find(name) for name in leader}
    with_neuron = {groups[n] for n in groups if isinstance(_op(graph, n), Neuron)}
    for name, head in groups.items():
        if head not in with_neuron:
            raise QuantizeError(
                "this layer's current reaches no neuron, so it has no integer meaning",
                where=graph.origin(name),
                remedy="end the network in spikes, or average a linear readout over time",
            )
    return {n: g for n, g in groups.items() if not isinstance(_op(graph, n), Add)}


def _op(graph: Graph, name: str) -> object:
    node = graph.producer(name)
    return node.op if node else None


def _named(graph: Graph, name: str) -> str:
    op = _op(graph, name)
    return f"{graph.origin(name)} ({type(op).__name__})" if op else f"the input {name}"


def _weights(op: object) -> list[Array]:
    if isinstance(op, Conv2d | Linear):
        return [op.weight]
    return [op.factor] if isinstance(op, Scale) else []


def _thresholds(op: object) -> list[Array]:
    if not isinstance(op, Neuron) or not op.fires:
        return []
    return [op.threshold] + ([op.amount] if op.reset == "subtract" else [])


def _biases(graph: Graph, name: str) -> list[Array]:
    """The biases of all synapses whose currents meet at an edge; the chip adds them up."""
    node = graph.producer(name)
    if node is not None and isinstance(node.op, Add):
        return [bias for source in node.inputs for bias in _biases(graph, source)]
    bias = node.op.bias if node is not None and isinstance(node.op, Conv2d | Linear) else None
    return [] if bias is None else [bias]


def _scale(graph: Graph, nodes: list[Node], grid: Grid) -> float:
    weights = [a for n in nodes for a in _weights(n.op)]
    thresholds = [a for n in nodes for a in _thresholds(n.op)]
    meeting = [_biases(graph, n.inputs[0]) for n in nodes if isinstance(n.op, Neuron)]
    peaks = [(_peak(a), 2 ** (grid.weight_bits - 1) - 1) for a in weights]
    peaks += [(_peak(a), grid.threshold_limit) for a in thresholds]
    # Each of n biases rounds by half a unit at most, and a single one not past the limit.
    peaks += [(_peak(sum(map(np.abs, b))), grid.bias_limit - len(b) // 2) for b in meeting if b]
    arrays = weights + thresholds + [a for biases in meeting for a in biases]
    whole = all(bool((a == np.rint(a)).all()) for a in arrays)
    if whole and all(peak <= limit for peak, limit in peaks):
        return 1.0  # case 1
    scale = min((limit / peak for peak, limit in peaks if peak > 0), default=1.0)  # case 2
    scale = min([scale, *(readout_limit(graph, n, grid) for n in nodes)])
    levels = {float(x) for a in thresholds for x in a.flat}
    if len(levels) == 1:
        level = levels.pop()
        units = np.floor(scale * level * (1 + 1e-12))  # rounding must not cost a whole unit
        scale = units / level if units >= 1 else scale  # case 3
    return scale


def readout_limit(graph: Graph, node: Node, grid: Grid) -> float:
    """The scale up to which an integrator cannot reach the chip's highest threshold, ever.

    Its membrane is bounded by T steps of the largest current; rounding adds half a unit a weight.
    """
    if not isinstance(node.op, Neuron) or node.op.fires:
        return math.inf
    interval = current_interval(graph, node.inputs[0])
    if interval is None:
        return math.inf
    reach = graph.steps * max(float(np.abs(end).max()) for end in interval)
    reach += abs(node.op.initial)
    rounding = 0.5 * graph.steps * (_fan_in(graph, node.inputs[0]) + 1)
    room = grid.threshold_limit - rounding
    return room / reach if reach > 0 and room > 0 else math.inf


def _fan_in(graph: Graph, name: str) -> float:
    node = graph.producer(name)
    if node is None:
        return 0.0
    if isinstance(node.op, Add):
        return sum(_fan_in(graph, i) for i in node.inputs)
    return float(sum(a[0].size for a in _weights(node.op) if a.ndim)) or 1.0


def _peak(x: Array) -> float:
    return float(np.abs(x).max())


def _synapse(op: Op, scale: float, grid: Grid) -> Op:
    limit = 2 ** (grid.weight_bits - 1) - 1
    if isinstance(op, Scale):
        return Scale(np.clip(np.rint(op.factor * scale), -limit, limit))
    assert isinstance(op, Conv2d | Linear)
    bias = None if op.bias is None else np.rint(op.bias * scale)
    return replace(op, weight=np.clip(np.rint(op.weight * scale), -limit, limit), bias=bias)


def _neuron(op: Neuron, scale: float, grid: Grid) -> Neuron:
    steps = 2**grid.fixed.decay_bits
    decay = round(op.decay * steps) / steps  # case 5
    initial = float(np.rint(op.initial * scale))
    if not op.fires:
        return replace(op, decay=decay, initial=initial, fixed=grid.fixed)
    real = op.threshold * scale
    if decay in (0.0, 1.0):
        threshold = np.ceil(real - 1e-9 * np.maximum(1.0, np.abs(real)))  # case 3
    else:
        unit = 2.0**-grid.fixed.fraction_bits
        threshold = np.maximum(np.rint(real - unit), 0.0) + unit  # case 4
    # What a reset subtracts is whole; where the threshold is too, equal ones stay equal.
    whole = decay in (0.0, 1.0) and np.array_equal(op.amount, op.threshold)
    amount = threshold if whole else np.rint(op.amount * scale)
    return replace(
        op, threshold=threshold, amount=amount, decay=decay, initial=initial, fixed=grid.fixed
    )
