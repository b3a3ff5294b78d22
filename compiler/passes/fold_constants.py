"""Compute now what no input can change: layers in a row, side by side, or without weights.

Cases:
1. A factor of one on a current, and a bias of zeros: gone.
2. Two linear layers in a row with nothing between them that anything else reads: one layer.
3. Two layers of one geometry on the same input, in one sum: one layer with both weights.
4. A layer whose weights are all zero, in a sum with another layer: its bias goes there.
Case 4 where no other layer could take the bias stays: dropping it would change the network. What
only such a layer heard goes with it: a network that starts as an identity is full of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, Conv2d, Linear, Scale
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import (
    Match,
    is_current,
    only_reader,
    rewritten,
    source_of,
    without_term,
)


def fold_constants(graph: Graph) -> Graph:
    """The graph with every case above applied until none applies."""
    done = rewritten(graph, (_one, _zero_bias, in_a_row, _side_by_side, _no_weights))
    if done is graph:
        return graph
    idle = graph.ancestors(graph.outputs) - done.ancestors(done.outputs)
    kept = [n for n in done.nodes if n.name not in idle]
    return done if len(kept) == len(done.nodes) else done.rebuilt(kept)


def _one(graph: Graph, node: Node) -> Match | None:  # case 1
    if not isinstance(node.op, Scale) or not bool((node.op.factor == 1.0).all()):
        return None
    if not is_current(graph, node.inputs[0]):  # on spikes it is a synapse
        return None
    return {node.name: []}, {node.name: node.inputs[0]}


def _zero_bias(graph: Graph, node: Node) -> Match | None:  # case 1
    if not isinstance(node.op, Conv2d | Linear) or node.op.bias is None or np.any(node.op.bias):
        return None
    return {node.name: [replace(node, op=reweighted(node.op, lambda w: w, None))]}, {}


def in_a_row(graph: Graph, node: Node) -> Match | None:  # case 2
    """A linear layer right behind another one, and that one: one layer."""
    first = source_of(graph, node)
    if not isinstance(node.op, Linear) or first is None or not isinstance(first.op, Linear):
        return None
    both = linear_in_a_row(node.op, first.op)
    return {first.name: [], node.name: [replace(node, op=both, inputs=first.inputs)]}, {}


def linear_in_a_row(op: Linear, first: Linear) -> Linear:
    """The layer that does what ``first`` and then ``op`` do."""
    bias = op.bias
    if first.bias is not None:
        bias = op.weight @ first.bias + (0.0 if bias is None else bias)
    return Linear(op.weight @ first.weight, bias)


def _side_by_side(graph: Graph, node: Node) -> Match | None:  # case 3
    if not isinstance(node.op, Add):
        return None
    layers = [n for i in node.inputs if (n := _own_layer(graph, i, node)) is not None]
    for k, a in enumerate(layers):
        for b in layers[k + 1 :]:
            if a.inputs != b.inputs or a is b or not _same_geometry(a, b):
                continue
            assert isinstance(a.op, Conv2d | Linear) and isinstance(b.op, Conv2d | Linear)
            biases = [x for x in (a.op.bias, b.op.bias) if x is not None]
            bias = np.sum(biases, axis=0) if biases else None
            op = replace(a.op, weight=a.op.weight + b.op.weight, bias=bias)
            swaps, rename = without_term(graph, node, b.name)
            return swaps | {a.name: [replace(a, op=op)], b.name: []}, rename
    return None


def _own_layer(graph: Graph, name: str, add: Node) -> Node | None:
    """The layer behind one term of a sum, if nothing else reads it and it counts once."""
    node = graph.producer(name)
    once = add.inputs.count(name) == 1 and only_reader(graph, name) is add
    return node if once and node is not None and isinstance(node.op, Conv2d | Linear) else None


def _same_geometry(a: Node, b: Node) -> bool:
    if isinstance(a.op, Linear) and isinstance(b.op, Linear):
        return True
    if not (isinstance(a.op, Conv2d) and isinstance(b.op, Conv2d)):
        return False
    return a.op.weight.shape == b.op.weight.shape and all(
        getattr(a.op, name) == getattr(b.op, name)
        for name in ("stride", "padding", "dilation", "groups")
    )


def _no_weights(graph: Graph, node: Node) -> Match | None:  # case 4
    if not isinstance(node.op, Add):
        return None
    for name in node.inputs:
        part = _own_layer(graph, name, node)
        if part is None or np.any(getattr(part.op, "weight", 1.0)):
            continue
        match = drop_layer(graph, node, part)
        if match is not None:
            return match
    return None


def drop_layer(graph: Graph, add: Node, part: Node) -> Match | None:
    """A sum without a layer that only ever delivers its bias, which another layer takes."""
    bias = getattr(part.op, "bias", None)
    swaps, rename = without_term(graph, add, part.name)
    swaps[part.name] = []
    if bias is None or not np.any(bias):
        return swaps, rename
    for name in add.inputs:
        other = _own_layer(graph, name, add)
        if other is None or other is part or other.output.shape != part.output.shape:
            continue
        assert isinstance(other.op, Conv2d | Linear)
        both = bias if other.op.bias is None else other.op.bias + bias
        swaps[other.name] = [replace(other, op=reweighted(other.op, lambda w: w, both))]
        return swaps, rename
    return None
