"""Fuse batch normalisation (also tdBN) into the convolution or linear layer before it.

``W' = g W`` and ``b' = g (b - mean) + beta`` with ``g = gamma / sqrt(variance + eps)`` per output
channel (full-spike AAP paper, Eq. 16 and 17). Padding needs no care: it comes before the
weights, and the shift comes after them.

Cases:
1. Convolution or linear layer, then batch norm, nothing else reading between them: one layer.
2. Several batch norms in a row: each in turn.
3. Another node reads the layer before its batch norm: refused.
4. No convolution or linear layer before it: refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node
from purespike.compiler.ops import BatchNorm, Conv2d, Linear


class BatchNormError(PurespikeError):
    """A batch norm that cannot be fused exactly."""


def fuse_batchnorm(graph: Graph) -> Graph:
    """The graph without batch norms.

    Raises:
        BatchNormError: Cases 3 and 4.
    """
    while True:
        norm = next((n for n in graph.nodes if isinstance(n.op, BatchNorm)), None)
        if norm is None:
            return graph
        graph = _fuse(graph, norm)


def _fuse(graph: Graph, norm: Node) -> Graph:
    layer = graph.producer(norm.inputs[0])
    if layer is None or not isinstance(layer.op, Conv2d | Linear):  # case 4
        raise BatchNormError(
            "this batch norm has no convolution or linear layer before it",
            where=graph.origin(norm.name),
            found=f"its input comes from {_kind(layer)} {graph.origin(norm.inputs[0])}",
            allowed="Conv2d or Linear directly before it",
            remedy="normalise the current (after the layer, before the neuron), not the spikes",
        )
    if len(graph.consumers(layer.name)) > 1 or layer.name in graph.outputs:  # case 3
        others = [graph.origin(n.name) for n in graph.consumers(layer.name) if n is not norm]
        raise BatchNormError(
            "another node reads this layer before its batch norm",
            where=graph.origin(layer.name),
            found=f"also read by {', '.join(others) or 'an output'}",
            remedy="give each reader a layer of its own",
        )
    assert isinstance(norm.op, BatchNorm)
    factor, shift = norm.op.affine()
    weight = layer.op.weight * factor.reshape(-1, *(1,) * (layer.op.weight.ndim - 1))
    bias = shift if layer.op.bias is None else layer.op.bias * factor + shift
    fused = replace(layer, op=replace(layer.op, weight=weight, bias=bias if np.any(bias) else None))
    nodes = [fused if n is layer else n for n in graph.nodes if n is not norm]
    rename = {norm.name: layer.name}
    nodes = [replace(n, inputs=tuple(rename.get(i, i) for i in n.inputs)) for n in nodes]
    return graph.rebuilt(nodes, tuple(rename.get(o, o) for o in graph.outputs))


def _kind(node: Node | None) -> str:
    return "the input" if node is None else type(node.op).__name__
