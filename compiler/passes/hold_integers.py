"""Give a quantized network the form that a chip's registers hold, without rounding anything.

Cases:
1. Weights beyond the chip's: several synapses between the same neurons, which are added up.
2. A bias beyond the chip's: what is left of it comes from neurons that fire in every step, through
   synapses of as much as a weight holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.ops import Add, Conv2d, Linear, Neuron
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.passes.quantize.grid import Grid


def hold_integers(graph: Graph, grid: Grid | None = None) -> Graph:
    """The graph with both cases applied to every layer of the chip that needs one.

    Args:
        graph: Of whole weights and biases, all of it spikes.
        grid: The integers of the chip.
    """
    grid = grid or Grid()
    nodes = [new for node in graph.nodes for new in _held(node, grid)]
    return graph if len(nodes) == len(graph.nodes) else graph.rebuilt(nodes)


def split(weight: Array, limit: int) -> list[Array]:
    """Arrays of whole numbers up to ``limit`` whose sum is ``weight``, as even as can be."""
    count = max(1, math.ceil(float(np.abs(weight).max(initial=0.0)) / limit))
    parts = []
    for left in range(count, 0, -1):
        parts.append(np.trunc(weight / left))
        weight = weight - parts[-1]
    return parts


def _held(node: Node, grid: Grid) -> Iterator[Node]:
    op, (source,) = node.op, (*node.inputs, "")[:1]
    if node.role == "host" or not isinstance(op, Conv2d | Linear):
        yield node
        return
    kept = op.kept if isinstance(op, Linear) else op.weight
    shares = split(kept, grid.weight_limit)
    bias = np.zeros(len(kept)) if op.bias is None else op.bias
    held = np.clip(bias, -grid.bias_limit, grid.bias_limit)
    if len(shares) == 1 and np.array_equal(held, bias):
        yield node
        return
    names = []
    for k, share in enumerate(shares):

        def take(w: Array, share: Array = share) -> Array:
            return share

        layer = reweighted(op, take, held if op.bias is not None and k == 0 else None)
        names.append(f"{node.name}.part{k + 1}")
        yield _draft(node, names[-1], layer, source)
    rest = bias - held
    if rest.any():
        yield from _always(node, op, rest, source, grid)
        names.append(f"{node.name}.bias")
    yield replace(node, op=Add(), inputs=tuple(names))


def _always(
    node: Node, op: Conv2d | Linear, rest: Array, source: str, grid: Grid
) -> Iterator[Node]:  # case 2
    shares = np.stack(split(rest, grid.weight_limit), axis=1)  # (out, neurons)
    size = shares.shape[1]
    if isinstance(op, Linear):
        silent: Op = Linear(np.zeros((size, op.shape[1])), np.ones(size))
        deliver: Op = Linear(shares)
    else:
        inputs = op.weight.shape[1] * op.groups
        zeros = np.zeros((size, inputs, *op.weight.shape[2:]))
        silent = replace(op, weight=zeros, bias=np.ones(size), groups=1)
        deliver = Conv2d(shares[:, :, None, None])
    one, always = f"{node.name}.one", f"{node.name}.always"
    yield _draft(node, one, silent, source)
    yield _draft(node, always, Neuron(np.ones(()), decay=0.0), one)
    yield _draft(node, f"{node.name}.bias", deliver, always)


def _draft(node: Node, name: str, op: Op, source: str) -> Node:
    return replace(node, op=op, inputs=(source,), output=Edge(name, (), SPIKE))
