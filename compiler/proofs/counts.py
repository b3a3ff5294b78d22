"""The census: every operation that runs, as AC, MAC, MUL, ADD or CMP; nothing is left out.

AC (accumulate): a spike reaches a synapse, so its weight is added to a current. MAC: a number
that is not a spike reaches a synapse, so weight times number is added. Counts follow the graph's
proven domains, never one batch of values. The fan-out is exact: a spike at the border of a padded
convolution meets fewer weights. A current that k layers of neurons read is made k times, weights
and biases, since that is how often its synapses stand on the chip (`currents.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AttentionMix,
    AttentionScores,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.compiler.proofs.currents import Currents, find_currents

_VALUES = 1 << 20  # of spikes that are made numbers at a time


@dataclass(frozen=True)
class Counts:
    """Operations. ``unknown`` counts values made by an operation that the census cannot name."""

    ac: float = 0
    mac: float = 0
    mul: float = 0
    add: float = 0
    cmp: float = 0
    logic: float = 0
    unknown: float = 0

    def __add__(self, other: Counts) -> Counts:
        names = [f.name for f in fields(self)]
        return Counts(**{n: getattr(self, n) + getattr(other, n) for n in names})

    def times(self, factor: float) -> Counts:
        """Every count multiplied by ``factor``."""
        return Counts(**{f.name: getattr(self, f.name) * factor for f in fields(self)})


def total_counts(counts: Iterable[Counts]) -> Counts:
    """The sum."""
    return sum(counts, start=Counts())


def fan_out(node: Node, shape: Shape) -> Array:
    """How many weights each input value meets; an array that broadcasts to ``shape``."""
    op = node.op
    if isinstance(op, Linear):
        return np.full(shape, float(len(op.kept)))
    if isinstance(op, Scale):
        return np.ones(shape)
    assert isinstance(op, Conv2d)
    axes = [
        _reach(n, out, k, s, p, d)
        for n, out, k, s, p, d in zip(
            shape[1:],
            node.output.shape[1:],
            op.weight.shape[2:],
            op.stride,
            op.padding,
            op.dilation,
            strict=True,
        )
    ]
    reach: Array = np.multiply.outer(*axes) * (len(op.weight) // op.groups)
    return reach


def _reach(size: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int) -> Array:
    """Along one axis: how many (output, tap) pairs read each input position."""
    reads = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation - padding
    inside = reads[(reads >= 0) & (reads < size)]
    return np.bincount(inside, minlength=size).astype(np.float64)


def connections(graph: Graph, node: Node) -> int:
    """Synapses of one array that carry something: the operations of a step if all inputs fire."""
    shape = graph.edge(node.inputs[0]).shape
    return int(np.broadcast_to(fan_out(node, shape), shape).sum())


def dense_counts(graph: Graph, node: Node, found: Currents | None = None) -> Counts:
    """One sample, one time step, every spike present: the upper bound that a graph alone gives.

    Args:
        graph: Any graph.
        node: One of its nodes.
        found: Its currents, if they are known already.
    """
    found = found or find_currents(graph)
    size = float(np.prod(node.output.shape))
    op = node.op
    if isinstance(op, SYNAPSES):
        return _one_array(graph, node).times(found.arrays[node.name])
    if isinstance(op, Neuron):
        # v += current is the addition of the state; a decay that is not a power of 0 multiplies.
        return Counts(
            ac=size * found.bare(node.name).total(),
            add=size * (1 + (op.reset == "subtract") + (op.current_decay > 0)),
            mul=size * sum(d not in (0.0, 1.0) for d in (op.decay, op.current_decay)),
            cmp=size if op.fires else 0,
        )
    if isinstance(op, Levels):  # before `unroll_levels`: a count is no spike
        kept = size if op.decay else 0.0
        return Counts(
            add=2 * kept,
            mul=kept * ((op.decay != 1) + bool((op.amount != 1).any())),
            cmp=size * op.levels,
        )
    if isinstance(op, Add):
        if node.name not in found.numbers:
            return Counts()  # the neurons' own accumulators, counted at the synapses
        return Counts(add=size * (len(node.inputs) - 1))
    if isinstance(op, Gate):
        return Counts(logic=size * (len(node.inputs) - 1))
    if isinstance(op, AvgPool2d):
        return Counts(add=size * (op.kernel[0] * op.kernel[1] - 1), mul=size)
    if isinstance(op, MaxPool2d):
        return Counts(cmp=size * (op.kernel[0] * op.kernel[1] - 1))
    if isinstance(op, BatchNorm):
        return Counts(mul=size, add=size)
    if isinstance(op, TimeMean):
        return Counts(add=size, mul=size)
    if isinstance(op, Relu):
        return Counts(cmp=size)
    if isinstance(op, AttentionScores | AttentionMix):
        # One product for each pair of tokens and channel: a spike that meets a spike, or a number.
        shape = graph.edge(node.inputs[1]).shape
        work = float(np.prod(shape[1:])) ** 2 * shape[0]
        spikes = graph.edge(node.inputs[0]).domain <= SPIKE
        return Counts(ac=work if spikes else 0, mac=0 if spikes else work)
    if isinstance(op, Flatten | Delay):
        return Counts()
    return Counts(unknown=size)


def _one_array(graph: Graph, node: Node) -> Counts:
    op, size = node.op, float(np.prod(node.output.shape))
    work = float(connections(graph, node))
    spikes = graph.edge(node.inputs[0]).domain <= SPIKE
    bias = getattr(op, "bias", None)
    adds = size if bias is not None and bool(np.any(bias)) else 0.0
    if isinstance(op, Scale) and not spikes:
        return Counts(mul=work)
    return Counts(ac=work if spikes else 0, mac=0 if spikes else work, add=adds)


def dense_census(graph: Graph) -> dict[str, Counts]:
    """`dense_counts` of every node, by name."""
    found = find_currents(graph)
    return {n.name: dense_counts(graph, n, found) for n in graph.nodes}


def measured_counts(
    graph: Graph,
    node: Node,
    trace: Trace,
    found: Currents | None = None,
    events: Array | None = None,
) -> Counts:
    """Operations of the whole run on ``trace`` (all samples, all steps).

    ``trace`` must hold the edges that the node's spikes come from; ``events`` are those of
    `synaptic_events`, if they are known already.
    """
    found = found or find_currents(graph)
    steps, samples = next(iter(trace.values.values())).shape[:2]
    dense = dense_counts(graph, node, found).times(steps * samples)
    if events is None:
        events = synaptic_events(graph, node, trace, found)
    return dense if events is None else replace(dense, ac=float(events.sum()))


def synaptic_events(graph: Graph, node: Node, trace: Trace, found: Currents) -> Array | None:
    """The accumulations of a node (T, B), in all its arrays; None where no spikes arrive."""
    parts = [
        times * met(trace.values[name], reach) for name, reach, times in inlets(graph, node, found)
    ]
    return sum(parts[1:], start=parts[0]) if parts else None


def inlets(graph: Graph, node: Node, found: Currents) -> Iterator[tuple[str, Array, int]]:
    """(edge of the spikes, weights that each of them meets, how often) of a node."""
    if isinstance(node.op, Neuron):  # spikes without a synapse: one addition each
        for name, times in found.bare(node.name).items():
            yield name, np.ones(graph.edge(name).shape), times
    elif isinstance(node.op, SYNAPSES) and graph.edge(node.inputs[0]).domain <= SPIKE:
        shape = graph.edge(node.inputs[0]).shape
        yield node.inputs[0], fan_out(node, shape), found.arrays[node.name]


def met(spikes: NDArray[Any], reach: Array) -> Array:
    """Spikes (T, B, *shape) times the weights that each of them meets, by step and sample.

    One product of a matrix and a vector, a part at a time: it is exact, since all are whole.
    """
    steps, samples = spikes.shape[:2]
    flat = spikes.reshape(steps * samples, -1)
    weight = np.broadcast_to(reach, spikes.shape[2:]).reshape(-1)
    kind = np.float32 if weight.sum() < 1 << 24 and spikes.dtype.itemsize == 1 else np.float64
    each: NDArray[Any] = weight.astype(kind)
    total = np.empty(len(flat))
    rows = max(1, _VALUES // max(1, flat.shape[1]))
    for k in range(0, len(flat), rows):
        part: NDArray[Any] = flat[k : k + rows].astype(kind)
        total[k : k + rows] = part @ each
    return total.reshape(steps, samples)


def spikes_by_step(fired: NDArray[Any]) -> Array:
    """Spikes of all neurons and samples (T, B, *shape) at each step (T,)."""
    if fired.dtype.itemsize > 1:
        total: Array = met(fired, np.ones(())).sum(axis=1)
        return total
    return np.array([np.count_nonzero(now.view(np.bool_)) for now in fired], np.float64)
