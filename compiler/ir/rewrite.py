"""What the rewriting passes share: the neighbours of a node, and other nodes in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.synapse import reweighted

# A rewrite: the nodes that take the place of the matched ones, and edges to rename.
Match = tuple[dict[str, list[Node]], dict[str, str]]
Rule = Callable[[Graph, Node], Match | None]


def rewritten(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """The graph with the rules applied, the first that fits, until none does."""
    while True:
        for node in graph.nodes:
            match = next((m for rule in rules if (m := rule(graph, node))), None)
            if match:
                graph = applied(graph, match)
                break
        else:
            return graph


def applied(graph: Graph, match: Match) -> Graph:
    """The graph with one rewrite.

    What keeps its name keeps its declared type: a delay may read it before it is written.
    """
    swaps, rename = match
    known = {n.name: n.output for n in graph.nodes}
    swaps = {
        old: [replace(n, output=known.get(n.name, n.output)) for n in new]
        for old, new in swaps.items()
    }
    nodes = [new for n in graph.nodes for new in swaps.get(n.name, [n])]
    nodes = [replace(n, inputs=tuple(rename.get(i, i) for i in n.inputs)) for n in nodes]
    return graph.rebuilt(nodes, tuple(rename.get(o, o) for o in graph.outputs))


def only_reader(graph: Graph, name: str) -> Node | None:
    """The one node that reads the edge, if there is exactly one and it is not an output."""
    readers = graph.consumers(name)
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def source_of(graph: Graph, node: Node) -> Node | None:
    """The node behind the only input, if nothing else reads it."""
    source = graph.producer(node.inputs[0])
    return source if source and only_reader(graph, source.name) is node else None


def draft(node: Node, name: str, op: Op, inputs: tuple[str, ...]) -> Node:
    """A node in the place of ``node``: same role and origin; ``rebuilt`` gives it its type."""
    return replace(node, op=op, inputs=inputs, output=Edge(name, (), SPIKE))


def is_current(graph: Graph, name: str) -> bool:
    """Whether an edge carries what synapses deliver, not what a neuron or an input sends."""
    node = graph.producer(name)
    return node is not None and isinstance(node.op, (*SYNAPSES, Add))


def counts(graph: Graph, name: str) -> bool:
    """Whether an edge carries what level activations send, as it is, flattened, pooled or late."""
    node, seen = graph.producer(name), {name}
    through = (Flatten, Delay, AvgPool2d, MaxPool2d)
    while node is not None and isinstance(node.op, through) and node.inputs[0] not in seen:
        seen.add(node.inputs[0])
        node = graph.producer(node.inputs[0])
    if node is not None and isinstance(node.op, Add):
        return any(counts(graph, i) for i in node.inputs if i not in seen)
    return node is not None and isinstance(node.op, Levels)


def into_neurons_only(graph: Graph, name: str, *through: type[Op]) -> bool:
    """Whether neurons alone read the edge, behind sums (or ``through``); levels are neurons."""
    readers = graph.consumers(name)
    return (
        bool(readers)
        and name not in graph.outputs
        and all(
            isinstance(r.op, Neuron | Levels)
            or (isinstance(r.op, (Add, *through)) and into_neurons_only(graph, r.name, *through))
            for r in readers
        )
    )


def per_channel(values: Array, shape: Shape) -> Array | None:
    """The values as one number per channel (the first axis), or None if they vary within one."""
    full = np.broadcast_to(values, shape).reshape(shape[0], -1)
    return full[:, 0] if bool((full == full[:, :1]).all()) else None


def by_channel(values: Array, shape: Shape) -> Array:
    """One number per channel, shaped to broadcast over ``shape``."""
    return values.reshape(-1, *(1,) * (len(shape) - 1))


def scaled(op: Conv2d | Linear, factor: Array, shift: Array | None = None) -> Conv2d | Linear:
    """The layer with its results times ``factor`` plus ``shift``, a number an output channel."""
    bias = None if op.bias is None else op.bias * factor
    if shift is not None:
        bias = shift if bias is None else bias + shift
    bias = bias if bias is not None and np.any(bias) else None
    return reweighted(op, lambda w: w * factor.reshape(-1, *(1,) * (w.ndim - 1)), bias)


def absorb(graph: Graph, node: Node, factor: Array, shift: Array) -> Match | str:
    """Fold ``factor * x + shift``, which ``node`` makes of its input, into all layers that read it.

    Args:
        graph: The graph.
        node: Reads x, of the shape that ``factor`` and ``shift`` broadcast to.
        factor: What x is multiplied by.
        shift: What is added.

    Returns:
        The rewrite, or why there is none.
    """
    shape = graph.edge(node.inputs[0]).shape
    factor, shift = np.broadcast_to(factor, shape), np.broadcast_to(shift, shape)
    readers = list(graph.consumers(node.name))
    if node.name in graph.outputs or not readers:
        return "its result is an output of the network"
    swaps: dict[str, list[Node]] = {node.name: []}
    while readers:
        reader = readers.pop(0)
        if isinstance(reader.op, Flatten) and reader.name not in graph.outputs:
            readers += graph.consumers(reader.name)
            continue
        if isinstance(reader.op, Linear):
            op: Op | str = _absorbed(reader.op, factor.reshape(-1), shift.reshape(-1))
        elif isinstance(reader.op, Conv2d):
            op = _convolved(reader.op, per_channel(factor, shape), per_channel(shift, shape))
        else:
            op = f"{type(reader.op).__name__} reads it"
        if isinstance(op, str):
            return f"{op} ({graph.origin(reader.name)})"
        swaps[reader.name] = [replace(reader, op=op)]
    return swaps, {node.name: node.inputs[0]}


def _absorbed(op: Linear, factor: Array, shift: Array) -> Op:
    bias = op.weight @ shift + (0.0 if op.bias is None else op.bias)
    return Linear(op.weight * factor, bias if np.any(bias) else None)


def _convolved(op: Conv2d, factor: Array | None, shift: Array | None) -> Op | str:
    if factor is None or shift is None:
        return "a convolution needs one factor per channel"
    if any(op.padding) and bool(np.any(shift)):
        return "zero padding, which a shift in front of it would have to shift too"
    outputs = len(op.weight) // op.groups
    f, h = (np.repeat(a.reshape(op.groups, -1), outputs, axis=0) for a in (factor, shift))
    bias = (op.weight.sum(axis=(2, 3)) * h).sum(axis=1) + (0.0 if op.bias is None else op.bias)
    return replace(op, weight=op.weight * f[:, :, None, None], bias=bias if np.any(bias) else None)


def one_to_one(factor: Array, shape: Shape) -> Scale:
    """A one-to-one synapse with one weight per channel; a scalar where all are equal."""
    same = bool((factor == factor.flat[0]).all())
    return Scale(np.asarray(factor.flat[0]) if same else by_channel(factor, shape))


def without_term(graph: Graph, add: Node, name: str) -> Match:
    """A sum without one of its terms; a sum of one is that term itself."""
    rest = [i for i in add.inputs if i != name]
    if len(rest) == 1:
        return {add.name: []}, {add.name: rest[0]}
    return {add.name: [replace(add, inputs=tuple(rest))]}, {}
