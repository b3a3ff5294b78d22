"""The rules of `fold_scales` for layers that read currents: no chip keeps a current to weigh.

In a network of membrane shortcuts (MS-ResNet, Spike-driven Transformer) the running current is a
sum of what all layers before have sent; what is linear in it is linear in their spikes. A synapse
of a synapse is one synapse of the spikes: ``A (B s) = (A B) s``.

Cases:
1. A convolution, linear layer or average pool of a sum with a layer in it: of each part, added up.
2. A convolution (or one-to-one synapse), then a convolution: one, of the composed kernel; linear
   layers likewise. Where the second one pads, what the first would make off its map has to be 0:
   no bias there, and no window that reaches the map (RepConv: 1x1, padding, depthwise 3x3,
   pointwise).
3. A maximum of currents in front of neurons without memory (decay 0, or samples of one step):
   behind them, since a maximum reaches a threshold where one of the values does.
What is composed stays where something else reads it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import Match, counts, draft, only_reader, per_channel
from purespike.compiler.passes.fold_constants import linear_in_a_row


def layer_of_sum(graph: Graph, node: Node) -> Match | None:  # case 1
    """A layer of a sum: of each part."""
    op = node.op
    if not isinstance(op, Conv2d | Linear | AvgPool2d) or not _has_layer(graph, node.inputs[0]):
        return None
    add = graph.producer(node.inputs[0])
    if add is None or not isinstance(add.op, Add) or _on_host(graph, add.name):
        return None
    parts = []
    for k, name in enumerate(add.inputs):
        part: Op = op
        if k and isinstance(op, Conv2d | Linear) and op.bias is not None:
            part = reweighted(op, lambda w: w, None)
        parts.append(draft(node, f"{node.name}.of{k}", part, (name,)))
    total = draft(node, node.name, Add(), tuple(p.name for p in parts))
    gone: dict[str, list[Node]] = {add.name: []} if only_reader(graph, add.name) is node else {}
    return {**gone, node.name: [*parts, total]}, {}


def layer_of_layer(graph: Graph, node: Node) -> Match | None:  # case 2
    """A layer of a layer: one."""
    inner = graph.producer(node.inputs[0])
    if not isinstance(node.op, Conv2d | Linear) or inner is None or _on_host(graph, inner.name):
        return None
    alone = only_reader(graph, inner.name) is node
    both: Op | None = None
    if isinstance(node.op, Linear):
        if isinstance(inner.op, Linear) and not alone:  # else `fold_constants` does it
            both = linear_in_a_row(node.op, inner.op)
    else:
        first = _as_conv(graph, inner)
        size = graph.edge(inner.inputs[0]).shape
        if first is not None:
            both = composed(node.op, first, size[1:], inner.output.shape[1:])
    if both is None:
        return None
    gone: dict[str, list[Node]] = {inner.name: []} if alone else {}
    return {**gone, node.name: [replace(node, op=both, inputs=inner.inputs)]}, {}


def maximum_of_neurons(graph: Graph, node: Node) -> Match | None:  # case 3
    """A maximum in front of neurons that only compare: an OR behind them."""
    pool, source = node.op, node.inputs[0]
    if not isinstance(pool, MaxPool2d) or graph.edge(source).domain <= SPIKE:
        return None
    if counts(graph, source) or node.name in graph.outputs:
        return None
    readers = graph.consumers(node.name)
    if not readers or not all(_compares(graph, r) for r in readers):
        return None
    swaps: dict[str, list[Node]] = {node.name: []}
    for reader in readers:
        each = draft(reader, f"{reader.name}.each", _by_channel(reader), (source,))
        swaps[reader.name] = [each, replace(reader, op=pool, inputs=(each.name,))]
    return swaps, {}


def composed(outer: Conv2d, inner: Conv2d, full: tuple[int, ...], mid: tuple[int, ...]) -> (
    Conv2d | None
):  # fmt: skip
    """Both as one convolution; None where the padding of the second means something else.

    Args:
        outer: The second one.
        inner: The first one, without groups or as ``outer`` depthwise.
        full: (H, W) of what the first reads.
        mid: (H, W) of what it makes.
    """
    for axis in (0, 1):
        if not outer.padding[axis]:
            continue
        reach = inner.dilation[axis] * (inner.weight.shape[2 + axis] - 1)
        stride, pad = inner.stride[axis], inner.padding[axis]
        off = reach < stride + pad and stride * mid[axis] - pad >= full[axis]
        if not off or (inner.bias is not None and bool(inner.bias.any())):
            return None
    weight = _kernel(outer, inner)
    depthwise = weight is None
    if weight is None:  # dense, if not both go channel by channel
        weight = _kernel(_dense(outer), _dense(inner))
    assert weight is not None
    bias = outer.bias
    if inner.bias is not None:
        sums = _dense(outer).weight.sum(axis=(2, 3))
        bias = sums @ inner.bias + (0.0 if bias is None else bias)
    return Conv2d(
        weight,
        bias,
        (outer.stride[0] * inner.stride[0], outer.stride[1] * inner.stride[1]),
        (
            inner.stride[0] * outer.padding[0] + inner.padding[0],
            inner.stride[1] * outer.padding[1] + inner.padding[1],
        ),
        groups=outer.groups if not depthwise else 1,
    )


def _kernel(outer: Conv2d, inner: Conv2d) -> Array | None:
    """(out, in / groups, kH, kW) of both; None where their groups differ."""
    each = outer.groups == inner.groups == len(inner.weight) == len(outer.weight)
    if not each and (outer.groups, inner.groups) != (1, 1):
        return None
    taps = [(o.weight.shape[2:], o.dilation) for o in (outer, inner)]
    (outer_size, outer_apart), (inner_size, inner_apart) = taps
    apart = [s * d for s, d in zip(inner.stride, outer_apart, strict=True)]
    spans = [
        (k - 1) * a + (n - 1) * d + 1
        for k, a, n, d in zip(outer_size, apart, inner_size, inner_apart, strict=True)
    ]
    kernel = np.zeros((len(outer.weight), inner.weight.shape[1], *spans))
    for i in range(outer_size[0]):
        for j in range(outer_size[1]):
            at = outer.weight[:, :, i, j]
            product = at[:, :, None, None] * inner.weight if each else (
                np.tensordot(at, inner.weight, axes=1)
            )  # fmt: skip
            rows, columns = (
                slice(p * a, p * a + (n - 1) * d + 1, d)
                for p, a, n, d in zip((i, j), apart, inner_size, inner_apart, strict=True)
            )
            kernel[:, :, rows, columns] += product
    return kernel


def _dense(op: Conv2d) -> Conv2d:
    """The convolution without groups."""
    if op.groups == 1:
        return op
    outputs, inputs = len(op.weight), op.weight.shape[1]
    weight = np.zeros((outputs, inputs * op.groups, *op.weight.shape[2:]))
    for row in range(outputs):
        start = row // (outputs // op.groups) * inputs
        weight[row, start : start + inputs] = op.weight[row]
    return replace(op, weight=weight, groups=1)


def _as_conv(graph: Graph, node: Node) -> Conv2d | None:
    """A synapse that a convolution can take in."""
    if isinstance(node.op, Conv2d):
        return node.op
    shape = node.output.shape
    if not isinstance(node.op, Scale) or len(shape) != 3 or counts(graph, node.inputs[0]):
        return None
    factor = per_channel(node.op.factor, shape)
    if factor is None:
        return None
    return Conv2d(factor.reshape(-1, 1, 1, 1), groups=shape[0])


def _has_layer(graph: Graph, name: str) -> bool:
    """Does an edge carry a current in which a layer has a part?"""
    node = graph.producer(name)
    if node is not None and isinstance(node.op, Add):
        return any(_has_layer(graph, i) for i in node.inputs)
    return node is not None and isinstance(node.op, Conv2d | Linear)


def _on_host(graph: Graph, name: str) -> bool:
    """Is a current made of the input's real numbers alone? Then a host makes it."""
    node = graph.producer(name)
    if node is None:
        return not graph.edge(name).domain <= SPIKE
    if isinstance(node.op, Neuron | Levels):
        return False
    return all(_on_host(graph, i) for i in node.inputs)


def _compares(graph: Graph, node: Node) -> bool:
    """Does it compare with one threshold a channel, and remember nothing?"""
    op = node.op
    if node.role == "host" or not isinstance(op, Neuron | Levels):
        return False
    if isinstance(op, Levels):
        forgets = (graph.steps == 1 or not op.decay) and op.below is None
        return forgets and all(per_channel(t, node.output.shape) is not None for t in op.thresholds)
    forgets = graph.steps == 1 or not (op.decay or op.current_decay)
    plain = type(op) is Neuron and op.fires and op.fixed is None
    return plain and forgets and per_channel(op.threshold, node.output.shape) is not None


def _by_channel(node: Node) -> Neuron | Levels:
    """The activation on maps of another size."""
    op, shape = node.op, node.output.shape

    def one(array: Array) -> Array:
        channels = per_channel(array, shape)
        return array if not array.ndim or channels is None else channels.reshape(-1, 1, 1)

    if isinstance(op, Levels):
        return Levels(np.stack([one(t) for t in op.thresholds]), op.decay, one(op.amount))
    assert isinstance(op, Neuron)
    return replace(op, threshold=one(op.threshold), amount=one(op.amount))
