"""Fold averages and constant factors into weights and thresholds; max pooling becomes OR.

What is left are synapses on spikes, sums, and neurons.

Cases:
1. A constant factor after a convolution or linear layer: into its weights and bias.
2. A positive constant factor in front of a neuron (1 / tau): into threshold, reset amount and
   initial membrane, since dividing all of them leaves every comparison as it was.
3. Average pooling, then flatten, then a linear layer: one linear layer.
4. Average pooling, then a convolution: one convolution, where zero padding means the same to both.
5. Average pooling that feeds neurons only: it is a synapse of constant weight.
6. The mean over time before or after a linear layer: weights / T into an integrator that never
   fires, whose last value is the mean's.
7. Max pooling of spikes: one-to-many synapses of weight 1 and a memoryless neuron (OR).
Whatever fits no case stays, and the compliance check names it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from purespike.compiler.domain import SPIKE, Array
from purespike.compiler.ir import Edge, Graph, Node, Op
from purespike.compiler.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)

# A rewrite: the nodes that take the place of the matched ones, and edges to rename.
Match = tuple[dict[str, list[Node]], dict[str, str]]


def fold_scales(graph: Graph) -> Graph:
    """The graph with every case above applied until none applies."""
    rules = (_scale_after, _scale_before, _mean, _pool_linear, _pool_conv, _pool_neuron, _max_pool)
    while True:
        for node in graph.nodes:
            match = next((m for rule in rules if (m := rule(graph, node))), None)
            if match:
                graph = _apply(graph, *match)
                break
        else:
            return graph


def _apply(graph: Graph, swaps: dict[str, list[Node]], rename: dict[str, str]) -> Graph:
    nodes = [new for n in graph.nodes for new in swaps.get(n.name, [n])]
    nodes = [replace(n, inputs=tuple(rename.get(i, i) for i in n.inputs)) for n in nodes]
    return graph.rebuilt(nodes, tuple(rename.get(o, o) for o in graph.outputs))


def _only_reader(graph: Graph, name: str) -> Node | None:
    """The one node that reads the edge, if there is exactly one and it is no output."""
    readers = graph.consumers(name)
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def _source(graph: Graph, node: Node) -> Node | None:
    """The node behind the only input, if nothing else reads it."""
    source = graph.producer(node.inputs[0])
    return source if source and _only_reader(graph, source.name) is node else None


def _scale_after(graph: Graph, node: Node) -> Match | None:  # case 1
    if not isinstance(node.op, Scale):
        return None
    layer = _source(graph, node)
    if layer is None or not isinstance(layer.op, Conv2d | Linear):
        return None
    channels = _per_channel(node.op.factor, layer.output.shape)
    if channels is None:
        return None
    weight = layer.op.weight * channels.reshape(-1, *(1,) * (layer.op.weight.ndim - 1))
    bias = None if layer.op.bias is None else layer.op.bias * channels
    merged = replace(layer, op=replace(layer.op, weight=weight, bias=bias))
    return {layer.name: [merged], node.name: []}, {node.name: layer.name}


def _per_channel(factor: Array, shape: tuple[int, ...]) -> Array | None:
    """The factor as one number a channel, or None if it varies within a channel."""
    full = np.broadcast_to(factor, shape).reshape(shape[0], -1)
    return full[:, 0] if bool((full == full[:, :1]).all()) else None


def _scale_before(graph: Graph, node: Node) -> Match | None:  # case 2
    if not isinstance(node.op, Neuron) or not node.op.fires:
        return None
    scale = _source(graph, node)
    if scale is None or not isinstance(scale.op, Scale) or scale.op.factor.ndim:
        return None
    source = graph.edge(scale.inputs[0])
    factor = float(scale.op.factor)
    if factor <= 0 or source.domain <= SPIKE:  # on spikes it is a synapse already
        return None
    op = replace(
        node.op,
        threshold=node.op.threshold / factor,
        amount=node.op.amount / factor,
        initial=node.op.initial / factor,
    )
    return {scale.name: [], node.name: [replace(node, op=op, inputs=scale.inputs)]}, {}


def _mean(graph: Graph, node: Node) -> Match | None:  # case 6
    if not isinstance(node.op, TimeMean):
        return None
    steps = node.op.steps
    reader, layer = _only_reader(graph, node.name), _source(graph, node)
    if reader is not None and isinstance(reader.op, Linear):
        current = _named(reader, f"{reader.name}.current", _divided(reader.op, steps), node.inputs)
        return {node.name: [], reader.name: [current, _integrator(reader, current.name)]}, {}
    if layer is not None and isinstance(layer.op, Linear):
        current = replace(layer, op=_divided(layer.op, steps))
        return {layer.name: [current], node.name: [_integrator(node, current.name)]}, {}
    if reader is not None and isinstance(reader.op, Flatten | AvgPool2d):
        # The mean commutes with what follows: let the reader go first.
        first = _named(reader, f"{reader.name}.step", reader.op, node.inputs)
        mean = _named(reader, reader.name, node.op, (first.name,))
        return {node.name: [], reader.name: [first, mean]}, {}
    return None


def _divided(op: Linear, steps: int) -> Linear:
    return Linear(op.weight / steps, None if op.bias is None else op.bias / steps)


def _integrator(node: Node, source: str) -> Node:
    return replace(node, op=Neuron(np.asarray(np.inf), reset="none"), inputs=(source,))


def _pool_linear(graph: Graph, node: Node) -> Match | None:  # case 3
    if not isinstance(node.op, AvgPool2d):
        return None
    flat = _only_reader(graph, node.name)
    if flat is None or not isinstance(flat.op, Flatten):
        return None
    linear = _only_reader(graph, flat.name)
    if linear is None or not isinstance(linear.op, Linear):
        return None
    weight = _unpool(node.op, linear.op.weight, node.output.shape, graph.edge(node.inputs[0]).shape)
    merged = replace(linear, op=Linear(weight, linear.op.bias))
    return {
        node.name: [],
        flat.name: [replace(flat, inputs=node.inputs)],
        linear.name: [merged],
    }, {}


def _unpool(
    pool: AvgPool2d, weight: Array, pooled: tuple[int, ...], full: tuple[int, ...]
) -> Array:
    """Weights on the pooled map -> equal weights on the full map: each window shares its weight."""
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.padding
    channels, height, width = full
    out = len(weight)
    spread = np.zeros((out, channels, height + 2 * ph, width + 2 * pw))
    share = weight.reshape(out, *pooled) / (kh * kw)
    for i in range(pooled[1]):
        for j in range(pooled[2]):
            window = (..., slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw))
            spread[window] += share[:, :, i, j, None, None]
    return spread[:, :, ph : ph + height, pw : pw + width].reshape(out, -1)


def _pool_conv(graph: Graph, node: Node) -> Match | None:  # case 4
    if not isinstance(node.op, AvgPool2d):
        return None
    reader = _only_reader(graph, node.name)
    if reader is None or not isinstance(reader.op, Conv2d):
        return None
    pool, conv = node.op, reader.op
    size = graph.edge(node.inputs[0]).shape[1:]
    tiles = pool.kernel == pool.stride and all(
        n % k == 0 for n, k in zip(size, pool.kernel, strict=True)
    )
    if pool.padding != (0, 0) or not (tiles or conv.padding == (0, 0)):
        return None  # padding of the pooled map is not padding of the full map
    weight = _composed(pool, conv)
    double = partial(_times, pool.stride)
    merged = replace(
        conv,
        weight=weight,
        stride=double(conv.stride),
        padding=double(conv.padding),
        dilation=(1, 1),
    )
    return {node.name: [], reader.name: [replace(reader, op=merged, inputs=node.inputs)]}, {}


def _times(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] * b[0], a[1] * b[1]


def _composed(pool: AvgPool2d, conv: Conv2d) -> Array:
    """The kernel of "average, then convolve" as one convolution."""
    out, channels, kh, kw = conv.weight.shape
    (ph, pw), (sh, sw) = pool.kernel, _times(pool.stride, conv.dilation)
    kernel = np.zeros((out, channels, (kh - 1) * sh + ph, (kw - 1) * sw + pw))
    for i in range(kh):
        for j in range(kw):
            window = (..., slice(i * sh, i * sh + ph), slice(j * sw, j * sw + pw))
            kernel[window] += conv.weight[:, :, i, j, None, None] / (ph * pw)
    return kernel


def _pool_neuron(graph: Graph, node: Node) -> Match | None:  # case 5
    if not isinstance(node.op, AvgPool2d) or not _reaches_neurons_only(graph, node.name):
        return None
    size = node.op.kernel[0] * node.op.kernel[1]
    return {node.name: [_depthwise(graph, node, node.op, node.name, 1 / size)]}, {}


def _max_pool(graph: Graph, node: Node) -> Match | None:  # case 7
    if not isinstance(node.op, MaxPool2d) or not graph.edge(node.inputs[0]).domain <= SPIKE:
        return None
    count = _depthwise(graph, node, node.op, f"{node.name}.count", 1.0)
    fires = replace(node, op=Neuron(np.asarray(1.0), decay=0.0), inputs=(count.name,))
    return {node.name: [count, fires]}, {}


def _depthwise(
    graph: Graph, node: Node, pool: AvgPool2d | MaxPool2d, name: str, weight: float
) -> Node:
    channels = graph.edge(node.inputs[0]).shape[0]
    kernel = np.full((channels, 1, *pool.kernel), weight)
    op = Conv2d(kernel, None, pool.stride, pool.padding, groups=channels)
    return _named(node, name, op, node.inputs)


def _reaches_neurons_only(graph: Graph, name: str) -> bool:
    readers = graph.consumers(name)
    return (
        bool(readers)
        and name not in graph.outputs
        and all(
            isinstance(r.op, Neuron)
            or (isinstance(r.op, Add) and _reaches_neurons_only(graph, r.name))
            for r in readers
        )
    )


def _named(node: Node, name: str, op: Op, inputs: tuple[str, ...]) -> Node:
    return replace(node, op=op, inputs=inputs, output=Edge(name, (), SPIKE))
