"""One scale for all that meets in a neuron: how large it may be, and where nothing needs one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, Conv2d, Linear, Neuron, Scale
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import group_members, values_of
from purespike.compiler.passes.quantize.readout import readout_limit

_SAME = 1e-9  # numbers that differ by less, relatively, round as one
_FINEST = 2.0**20
Scaling = float | Array  # one per layer, or one per channel: (C, 1, 1) or (C,)


def choose_scales(graph: Graph, grid: Grid | None = None) -> dict[str, Scaling]:
    """The scale of each synapse and neuron of the chip: integer = scale * real number."""
    grid = grid or Grid()
    chosen: dict[str, Scaling] = {}
    for nodes in group_members(graph).values():
        chosen |= dict.fromkeys((n.name for n in nodes), _scale(graph, nodes, grid))
    return chosen


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


def exact_scale(graph: Graph, nodes: list[Node], grid: Grid) -> float | None:
    """The scale at which a group is whole and in range, so that nothing moves (case 1).

    That is 1 where it is whole already, thresholds too; else the least power of two at which
    weights, biases, reset amounts and initial membranes are, if no neuron leaks: sums are whole
    then, and a threshold between two of them may round up. Else None.
    """
    meeting = [_biases(graph, n.inputs[0]) for n in nodes if isinstance(n.op, Neuron)]
    rest = [a for n in nodes for a in values_of(n.op)] + [b for m in meeting for b in m]
    neurons = [n.op for n in nodes if isinstance(n.op, Neuron)]
    rest += [np.asarray(op.initial) for op in neurons]
    whole = _whole([*rest, *(a for n in nodes for a in _thresholds(n.op))], 1.0)
    steady = all(op.decay in (0.0, 1.0) and not op.current_decay for op in neurons)
    rest += [op.amount for op in neurons if op.fires and op.reset == "subtract"]
    whole = whole and not parts_of_threshold(graph, nodes)[0]
    if not whole and not (steady and _whole(rest, _FINEST)):
        return None
    limit = min(scale_limit(graph, nodes, grid), _weight_scale(nodes, grid))  # takes a while
    if whole or limit < 1.0:
        return 1.0 if limit >= 1.0 else None
    scale = 2.0 ** math.floor(math.log2(min(limit, _FINEST)))
    if not _whole(rest, scale):  # then it is not at a smaller one either
        return None
    while scale > 1.0 and _whole(rest, scale / 2):
        scale /= 2
    return scale


def _whole(arrays: Sequence[Array], scale: float) -> bool:
    """Whether all numbers are whole at a scale; a few of each are looked at first."""
    if any((few != np.rint(few)).any() for few in (a.flat[:64] * scale for a in arrays)):
        return False
    return all(bool((b == np.rint(b)).all()) for b in (a * scale for a in arrays))


def channels_of(nodes: list[Node], grid: Grid) -> tuple[int, ...] | None:
    """The shape of one scale per channel, or None where the group takes one scale (case 6)."""
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
    if (exact := exact_scale(graph, nodes, grid)) is not None:
        return exact  # case 1
    peaks = peaks_of(nodes, grid)
    largest = np.divide(grid.weight_limit, peaks, out=np.full(peaks.shape, np.inf), where=peaks > 0)
    return legal_scale(graph, nodes, largest, grid)


def peaks_of(nodes: list[Node], grid: Grid) -> Array:
    """The largest weight of a group, or of each of its channels."""
    shape = channels_of(nodes, grid)
    if shape is None:
        return np.asarray(max((_peak(a) for n in nodes for a in values_of(n.op)), default=0.0))
    rows = [np.abs(rows_of(n, a)).max(axis=1) for n in nodes for a in values_of(n.op)]
    return np.asarray(np.max(rows, axis=0)).reshape(shape)


def rows_of(node: Node, weight: Array) -> Array:
    """The weights of a synapse, one row a channel of its output."""
    channels = node.output.shape[0]
    if isinstance(node.op, Scale):
        weight = np.broadcast_to(weight, node.output.shape)
    return weight.reshape(channels, -1)


def _weight_scale(nodes: list[Node], grid: Grid) -> float:
    peak = max((_peak(a) for n in nodes for a in values_of(n.op)), default=0.0)
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
        wanted: A number, or one per channel.
        grid: The integers of the chip.
    """
    limit = scale_limit(graph, nodes, grid)  # of the worst channel: simple, and rarely binding
    scale = np.minimum(wanted, limit)  # case 2
    scale = np.where(np.isfinite(scale), scale, 1.0)
    levels = {float(x) for n in nodes for a in _thresholds(n.op) for x in a.flat}
    level = min(levels, default=0.0)
    if 0.0 < level and max(levels) <= level * (1 + _SAME):  # the target refuses any other
        units = np.floor(scale * level * (1 + 1e-12))  # rounding must not cost a whole unit
        parts, above = parts_of_threshold(graph, nodes)
        units -= above & (units >= grid.threshold_limit)
        tied = (parts > 0) & (units >= max(2, parts))
        units = np.where(tied, units - units % max(1, parts), units)
        aside = 2 * _SAME * (1.0 if above else -1.0 * tied)
        scale = np.where(units >= 1, units / level * (1 + aside), scale)  # case 3
    return float(scale) if scale.ndim == 0 else scale


def parts_of_threshold(graph: Graph, nodes: list[Node]) -> tuple[int, bool]:
    """(equal parts of the threshold of leaky neurons that weights add up to it in, fires above it).

    1 is a weight of exactly the threshold; parts are numbers of few bits, written by hand. 0: no
    weights add up to it, or there are several thresholds.
    """
    neurons = [n.op for n in nodes if isinstance(n.op, Neuron)]
    levels = {float(x) for op in neurons for a in _thresholds(op) for x in a.flat}
    level, above = min(levels, default=0.0), _fires_above(nodes)
    leaks = any(op.fires and op.leaks for op in neurons)
    if not leaks or level <= 0 or max(levels) > level * (1 + _SAME):
        return 0, above
    values = [a for n in nodes for a in values_of(n.op)]
    values += [b for n in nodes if isinstance(n.op, Neuron) for b in _biases(graph, n.inputs[0])]
    threshold = round(level * _FINEST)  # without what puts it just above
    few = max(level, *map(_peak, values)) <= _FINEST and _whole(values, _FINEST)
    if not few or abs(level * _FINEST - threshold) > _SAME * threshold:
        return int(any(bool((a == level).any()) for a in values)), above
    found = [np.abs(a * _FINEST).astype(np.int64).ravel() for a in values]
    parts = threshold // int(np.gcd.reduce(np.concatenate([*found, [threshold]])))
    return parts, above or any(x * _FINEST > threshold for x in levels)


def fires_at(level: Array) -> NDArray[np.bool_]:
    """Whether a scale has put thresholds just below a whole number, at which neurons shall fire."""
    off = np.rint(level) - level
    return np.asarray((off > _SAME * level) & (off < 4 * _SAME * level))


def _fires_above(nodes: list[Node]) -> bool:
    """Whether a neuron's threshold is just above what a reset or an identity synapse is worth.

    So "greater than" is written: the next number above the level, at which nothing fires.
    """
    neurons = [n.op for n in nodes if isinstance(n.op, Neuron) and n.op.fires]
    tops = {float(x) for op in neurons for x in op.threshold.flat}
    levels = [op.amount for op in neurons if op.reset == "subtract"]
    levels += [n.op.factor for n in nodes if isinstance(n.op, Scale)]
    values = {float(x) for a in levels for x in a.flat}
    return any(v < top <= v * (1 + _SAME) for v in values for top in tops)


def resolves(nodes: list[Node], scale: Scaling) -> bool:
    """Whether at this scale thresholds and the largest weight are one unit or more."""
    least = float(np.min(scale))
    levels = [float(a[a > 0].min()) for n in nodes for a in _thresholds(n.op) if (a > 0).any()]
    peaks = [_peak(a) for n in nodes for a in values_of(n.op)]
    return all(least * x >= 1 - 4 * _SAME for x in (*levels, max(peaks, default=np.inf)))


def _peak(x: Array) -> float:
    return float(np.abs(x).max())
