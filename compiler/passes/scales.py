"""One scale for all that meets in a neuron: which nodes share it, and how large it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from purespike.compiler.domain import Array
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node
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
from purespike.compiler.passes.move_delays import why_delayed
from purespike.compiler.passes.readout import readout_limit

Scaling = float | Array  # one a layer, or one a channel: (C, 1, 1) or (C,)


class QuantizeError(PurespikeError):
    """A graph that has no integer form."""


@dataclass(frozen=True)
class Grid:
    """The integers a chip offers; the defaults are Loihi's (see ``targets/spec.py``).

    ``per_channel`` allows thresholds that differ by channel. Loihi 1 holds 8 different ones a core;
    for Loihi 2 no number is published, so that it takes a decision: see `targets.resources`.
    ``fit_membranes`` lowers scales until no membrane can saturate, for any input (`fit_scales`).
    """

    weight_bits: int = 8
    bias_limit: int = 4095
    threshold_limit: int = 131071
    fixed: FixedPoint = field(default_factory=FixedPoint)
    per_channel: bool = False
    fit_membranes: bool = False

    @property
    def weight_limit(self) -> int:
        """The largest weight; symmetric, since -128 is not exact in every sign mode of Loihi."""
        return (1 << (self.weight_bits - 1)) - 1

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise QuantizeError(
                "unsupported weight width", found=f"{self.weight_bits} bits", allowed="2 to 8 bits"
            )


def choose_scales(graph: Graph, grid: Grid | None = None) -> dict[str, Scaling]:
    """The scale of each synapse and neuron of the chip: integer = scale * real number."""
    grid = grid or Grid()
    chosen: dict[str, Scaling] = {}
    for nodes in group_members(graph).values():
        chosen |= dict.fromkeys((n.name for n in nodes), _scale(graph, nodes, grid))
    return chosen


def require_integer_form(graph: Graph) -> None:
    """Raise QuantizeError for an operation of the chip that no integers can express."""
    for node in graph.nodes:
        known = isinstance(node.op, (*SYNAPSES, Neuron, Add, Flatten, Delay))
        if node.role != "host" and not known:
            raise QuantizeError(
                "this operation has no integer form",
                where=graph.origin(node.name),
                found=f"{type(node.op).__name__}({node.op.details()})",
                allowed="synapses, sums into neurons, neurons, flatten and delay",
                remedy="run fold_scales and lower_gates first, or replace the operation",
            )


def group_members(graph: Graph) -> dict[str, list[Node]]:
    """The synapses and neurons of each group that shares a scale, by its leader."""
    members: dict[str, list[Node]] = {}
    for name, leader in scale_groups(graph).items():
        node = graph.producer(name)
        assert node is not None
        members.setdefault(leader, []).append(node)
    return members


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
            late = graph.producer(source)
            if late is not None and isinstance(late.op, Delay):
                why, remedy = why_delayed(graph, late)
                raise QuantizeError(
                    f"a delay feeds a neuron: {why}",
                    where=graph.origin(node.name),
                    found=_named(graph, source),
                    allowed="a delay of spikes, then Conv2d, Linear or a one-to-one synapse",
                    remedy=remedy,
                )
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


def weights_of(op: object) -> list[Array]:
    """The weights of a synapse; of a neuron none."""
    if isinstance(op, Conv2d | Linear):
        return [op.weight]
    return [op.factor] if isinstance(op, Scale) else []


def _values_of(op: object) -> list[Array]:
    """The weights of a synapse by rows, each that inputs share at least once."""
    return [op.kept] if isinstance(op, Linear) else weights_of(op)


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


def is_whole(graph: Graph, nodes: list[Node], grid: Grid) -> bool:
    """Whether a group is in integers and in range already (case 1)."""
    arrays = [a for n in nodes for a in (*_values_of(n.op), *_thresholds(n.op))]
    meeting = [_biases(graph, n.inputs[0]) for n in nodes if isinstance(n.op, Neuron)]
    whole = all(bool((a == np.rint(a)).all()) for a in (*arrays, *(b for m in meeting for b in m)))
    return whole and 1.0 <= scale_limit(graph, nodes, grid) and 1.0 <= _weight_scale(nodes, grid)


def channels_of(nodes: list[Node], grid: Grid) -> tuple[int, ...] | None:
    """The shape of one scale a channel, or None where the group takes one scale (case 6)."""
    neurons = [n for n in nodes if isinstance(n.op, Neuron)]
    if not grid.per_channel or len(neurons) != 1:
        return None
    (neuron,) = neurons
    assert isinstance(neuron.op, Neuron)
    if not neuron.op.fires or neuron.op.initial or neuron.op.decay == 0.0:
        return None
    shape = neuron.output.shape
    return (shape[0], *(1,) * (len(shape) - 1))


def _scale(graph: Graph, nodes: list[Node], grid: Grid) -> Scaling:
    if is_whole(graph, nodes, grid):
        return 1.0  # case 1
    peaks = peaks_of(nodes, grid)
    largest = np.divide(grid.weight_limit, peaks, out=np.full(peaks.shape, np.inf), where=peaks > 0)
    return legal_scale(graph, nodes, largest, grid)


def peaks_of(nodes: list[Node], grid: Grid) -> Array:
    """The largest weight of a group, or of each of its channels."""
    shape = channels_of(nodes, grid)
    if shape is None:
        return np.asarray(max((_peak(a) for n in nodes for a in _values_of(n.op)), default=0.0))
    rows = [np.abs(rows_of(n, a)).max(axis=1) for n in nodes for a in _values_of(n.op)]
    return np.asarray(np.max(rows, axis=0)).reshape(shape)


def rows_of(node: Node, weight: Array) -> Array:
    """The weights of a synapse, one row a channel of its output."""
    channels = node.output.shape[0]
    if isinstance(node.op, Scale):
        weight = np.broadcast_to(weight, node.output.shape)
    return weight.reshape(channels, -1)


def _weight_scale(nodes: list[Node], grid: Grid) -> float:
    peak = max((_peak(a) for n in nodes for a in _values_of(n.op)), default=0.0)
    return grid.weight_limit / peak if peak > 0 else math.inf


def scale_limit(graph: Graph, nodes: list[Node], grid: Grid) -> float:
    """The scale up to which biases, thresholds and integrators of a group stay in range."""
    peaks = [(_peak(a), grid.threshold_limit) for n in nodes for a in _thresholds(n.op)]
    meeting = [_biases(graph, n.inputs[0]) for n in nodes if isinstance(n.op, Neuron)]
    # Each of n biases rounds by half a unit at most, and a single one not past the limit.
    peaks += [(_peak(sum(map(np.abs, b))), grid.bias_limit - len(b) // 2) for b in meeting if b]
    limits = [limit / peak for peak, limit in peaks if peak > 0]
    return min([math.inf, *limits, *(readout_limit(graph, n, nodes, grid) for n in nodes)])


def legal_scale(graph: Graph, nodes: list[Node], wanted: Array, grid: Grid) -> Scaling:
    """The scale, lowered until everything but the weights is in range and one threshold is whole.

    Args:
        graph: The graph.
        nodes: A group.
        wanted: A number, or one a channel.
        grid: The integers of the chip.
    """
    limit = scale_limit(graph, nodes, grid)  # of the worst channel: simple, and rarely binding
    scale = np.minimum(wanted, limit)  # case 2
    scale = np.where(np.isfinite(scale), scale, 1.0)
    levels = {float(x) for n in nodes for a in _thresholds(n.op) for x in a.flat}
    level = levels.pop() if len(levels) == 1 else 0.0
    if level > 0.0:  # the target refuses any other
        units = np.floor(scale * level * (1 + 1e-12))  # rounding must not cost a whole unit
        scale = np.where(units >= 1, units / level, scale)  # case 3
    return float(scale) if scale.ndim == 0 else scale


def resolves(nodes: list[Node], scale: Scaling) -> bool:
    """Whether at this scale thresholds and the largest weight are one unit or more."""
    least = float(np.min(scale))
    levels = [float(a[a > 0].min()) for n in nodes for a in _thresholds(n.op) if (a > 0).any()]
    peaks = [_peak(a) for n in nodes for a in _values_of(n.op)]
    return all(least * x >= 1 - 1e-9 for x in (*levels, max(peaks, default=np.inf)))


def _peak(x: Array) -> float:
    return float(np.abs(x).max())
