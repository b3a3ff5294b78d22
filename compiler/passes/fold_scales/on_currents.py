"""A 1x1 convolution of a current: into the layers that make the current.

Membrane shortcuts carry currents past blocks, and change their width by such a convolution
(MS-ResNet). No chip weighs a current, but ``W (A s + B t) = (W A) s + (W B) t``: each layer in the
sum becomes one with both weights, exact at borders too, since a kernel of one pixel has none. Where
something else reads the current as well, the layers stay for it, and these are copies of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import SYNAPSES, Add, Conv2d, Scale
from purespike.compiler.ir.rewrite import Match, counts, draft, only_reader, per_channel


def pointwise_on_current(graph: Graph, node: Node) -> Match | None:
    """A 1x1 convolution of a layer, or of a sum of them."""
    op, source = node.op, graph.producer(node.inputs[0])
    if not isinstance(op, Conv2d) or source is None or not delivered(graph, source.name):
        return None
    if op.weight.shape[2:] != (1, 1) or any(op.padding) or op.groups != 1:
        return None
    alone = only_reader(graph, source.name) is not None
    gone: dict[str, list[Node]] = {source.name: []} if alone else {}
    if isinstance(source.op, Add):
        parts = []
        for k, name in enumerate(source.inputs):
            part = op if k == 0 else replace(op, bias=None)
            parts.append(draft(node, f"{node.name}.in{k}", part, (name,)))
        total = replace(node, op=Add(), inputs=tuple(p.name for p in parts))
        return {**gone, node.name: [*parts, total]}, {}
    both = _composed(op, source, graph)
    if both is None:
        return None
    return {**gone, node.name: [replace(node, op=both, inputs=source.inputs)]}, {}


def delivered(graph: Graph, name: str) -> bool:
    """Is this what synapses deliver, and no sum of spikes or counts alone (SEW's ADD)?"""
    node = graph.producer(name)
    if node is None or not isinstance(node.op, Add):
        return node is not None and isinstance(node.op, SYNAPSES)
    return not counts(graph, name) and any(delivered(graph, i) for i in node.inputs)


def _composed(op: Conv2d, source: Node, graph: Graph) -> Conv2d | None:
    outer = op.weight[:, :, 0, 0]
    if isinstance(source.op, Scale):
        factor = per_channel(source.op.factor, source.output.shape)
        return None if factor is None else replace(op, weight=op.weight * factor[:, None, None])
    if not isinstance(source.op, Conv2d):
        return None
    inner = source.op
    bias = op.bias
    if inner.bias is not None:
        bias = outer @ inner.bias + (0.0 if bias is None else bias)
    stride = (inner.stride[0] * op.stride[0], inner.stride[1] * op.stride[1])
    weight = np.asarray(np.tensordot(outer, _whole(inner), axes=1), dtype=np.float64)
    return replace(inner, weight=weight, bias=bias, stride=stride, groups=1)


def _whole(op: Conv2d) -> Array:
    """The weights of a grouped convolution with the zeros between groups."""
    if op.groups == 1:
        return op.weight
    out, each, *kernel = op.weight.shape
    weight = np.zeros((out, each * op.groups, *kernel))
    for g, rows in enumerate(np.split(np.arange(out), op.groups)):
        weight[rows, g * each : (g + 1) * each] = op.weight[rows]
    return weight
