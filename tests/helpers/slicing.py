"""A graph with fewer channels, or on a smaller image: every parameter is cut to what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op, Shape
from purespike.compiler.ir.ops import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)

Index = tuple[NDArray[np.intp], ...]  # what is left along each axis of an edge


def families(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Edges that must have the same channels, by one of them: whatever is value by value."""
    parent = {e.name: e.name for e in graph.edges()}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if not isinstance(node.op, Conv2d | Linear | Flatten):
            for read in node.inputs:
                parent[root(read)] = root(node.name)
    found: dict[str, list[str]] = {}
    for name in parent:
        found.setdefault(root(name), []).append(name)
    return {name: tuple(members) for name, members in found.items()}


def sliced(
    graph: Graph, x: Array, channels: Mapping[str, NDArray[np.intp]], places: Index = ()
) -> tuple[Graph, Array]:
    """The graph with some channels of some edges, and a part of the image.

    Args:
        graph: With one input.
        x: Its input (T, B, *shape).
        channels: Those that are left, for all edges of a family (`families`).
        places: Rows and columns that are left of the input; what comes later in the network has
            as many as follow from that.

    Raises:
        IRError, ValueError, IndexError: If what is left is not a network.
    """
    source = graph.inputs[0]
    whole = [np.arange(n) for n in source.shape]
    whole[0] = channels.get(source.name, whole[0])
    whole[1:] = places or whole[1:]
    left: dict[str, Index] = {source.name: tuple(whole)}
    for _ in graph.nodes:  # a loop is known when what it starts from is
        for node in graph.nodes:
            known = [left[i] for i in node.inputs if i in left]
            if node.name not in left and known:
                left[node.name] = _left(graph, node, known[0], channels.get(node.name))
    nodes = []
    for node in graph.nodes:
        shape = tuple(len(i) for i in left[node.name])
        op = _cut(graph, node, left[node.inputs[0]], left[node.name])
        nodes.append(replace(node, op=op, output=replace(node.output, shape=shape)))
    shape = tuple(len(i) for i in left[source.name])
    smaller = replace(graph, inputs=(replace(source, shape=shape),))
    return smaller.rebuilt(nodes), x[
        np.ix_(*(np.arange(n) for n in x.shape[:2]), *left[source.name])
    ]


def _left(graph: Graph, node: Node, read: Index, kept: NDArray[np.intp] | None) -> Index:
    op, shape = node.op, graph.edge(node.inputs[0]).shape
    own = np.arange(node.output.shape[0]) if kept is None else kept
    if isinstance(op, Flatten):
        return (np.ravel_multi_index(np.ix_(*read), shape).ravel(),)
    if isinstance(op, Linear):
        return (own,)
    if isinstance(op, Conv2d):
        each = len(op.weight) // op.groups
        groups = _groups(op, read[0])
        outs = (groups[:, None] * each + np.arange(each)).ravel()
        channels = np.intersect1d(outs, own) if op.groups == 1 else outs
        return (channels, *_places(op, op.weight.shape[2:], op.dilation, read))
    if isinstance(op, MaxPool2d | AvgPool2d):
        return (read[0], *_places(op, op.kernel, (1, 1), read))
    return read


def _groups(op: Conv2d, read: NDArray[np.intp]) -> NDArray[np.intp]:
    """The groups whose inputs are all left; one that is left in part is no network."""
    per = op.weight.shape[1]
    if op.groups == 1:
        return np.zeros(1, np.intp)
    groups = np.unique(read // per)
    if len(groups) * per != len(read):
        raise ValueError("a part of a group")
    return groups


def _places(op: Any, kernel: Shape, dilation: Shape, read: Index) -> Index:
    rooms = [
        len(i) + 2 * p - d * (k - 1) - 1
        for i, p, d, k in zip(read[1:], op.padding, dilation, kernel, strict=True)
    ]
    return tuple(np.arange(r // s + 1) for r, s in zip(rooms, op.stride, strict=True))


def _cut(graph: Graph, node: Node, read: Index, own: Index) -> Op:
    op = node.op

    def broadcast(a: Array) -> Array:
        """Of a parameter that broadcasts to the edge."""
        for axis, index in enumerate(own[len(own) - a.ndim :]):
            a = a if a.shape[axis] == 1 else np.take(a, index, axis)
        return a

    if isinstance(op, Linear):
        bias = None if op.bias is None else op.bias[own[0]]
        return Linear(op.weight[np.ix_(own[0], read[0])], bias)
    if isinstance(op, Conv2d):
        bias = None if op.bias is None else op.bias[own[0]]
        weight = op.weight[own[0]]
        if op.groups == 1:
            return replace(op, weight=weight[:, read[0]], bias=bias)
        return replace(op, weight=weight, bias=bias, groups=len(_groups(op, read[0])))
    if isinstance(op, BatchNorm):
        return replace(op, **{n: a[own[0]] for n, a in op.arrays().items()})
    if isinstance(op, Neuron):
        return replace(op, threshold=broadcast(op.threshold), amount=broadcast(op.amount))
    if isinstance(op, Scale):
        return Scale(broadcast(op.factor))
    if isinstance(op, Delay) and not isinstance(op.steps, int):
        return Delay(broadcast(op.steps))
    if isinstance(op, Levels):
        stacks = {"thresholds": op.thresholds} | ({} if op.below is None else {"below": op.below})
        cut = {n: np.stack([broadcast(t) for t in a]) for n, a in stacks.items()}
        return replace(op, amount=broadcast(op.amount), **cut)
    return op
