"""The rules of `fold_scales` for pools: averages become weights, the maximum of spikes an OR.

NIR's SumPool2d is a depthwise convolution of ones in the graph, and folds as an average does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.synapse import Pair
from purespike.compiler.ir.rewrite import (
    Match,
    counts,
    draft,
    into_neurons_only,
    is_current,
    only_reader,
    source_of,
)
from purespike.compiler.passes.fold_scales.on_currents import delivered


@dataclass(frozen=True)
class _Windows:
    """Sums over windows, each times ``factor`` and over ``divisor``: two numbers lose no bit."""

    pool: AvgPool2d
    factor: float
    divisor: float

    def share(self, weight: Array) -> Array:
        """The weight of each value in a window whose sum has ``weight``."""
        return weight * self.factor / self.divisor


def _windows(op: Op) -> _Windows | None:
    """An average, or a depthwise convolution of equal weights (sum pooling), as what it sums."""
    if isinstance(op, AvgPool2d):
        return _Windows(op, 1.0, op.kernel[0] * op.kernel[1])
    if not isinstance(op, Conv2d) or op.bias is not None or op.dilation != (1, 1):
        return None
    channels, inputs, kh, kw = op.weight.shape
    value = op.weight.flat[0]
    if channels != op.groups or inputs != 1 or not bool((op.weight == value).all()):
        return None
    return _Windows(AvgPool2d((kh, kw), op.stride, op.padding), float(value), 1.0)


def pool_into_linear(graph: Graph, node: Node) -> Match | None:
    """Average or sum pooling, flatten, linear layer: one linear layer."""
    windows = _windows(node.op)
    if windows is None:
        return None
    flat = only_reader(graph, node.name)
    if flat is None or not isinstance(flat.op, Flatten):
        return None
    linear = only_reader(graph, flat.name)
    if linear is None or not isinstance(linear.op, Linear):
        return None
    pool, full = windows.pool, graph.edge(node.inputs[0]).shape
    share = windows.share(linear.op.weight)
    if pool.kernel == full[1:] and not any(pool.padding):  # global: all places are alike
        op = Linear.shared(share, linear.op.bias, full[1] * full[2])
    else:
        op = Linear(_unpool(pool, share, node.output.shape, full), linear.op.bias)
    merged = replace(linear, op=op)
    flat = replace(flat, inputs=node.inputs)
    return {node.name: [], flat.name: [flat], linear.name: [merged]}, {}


def _unpool(
    pool: AvgPool2d, weight: Array, pooled: tuple[int, ...], full: tuple[int, ...]
) -> Array:
    """Weights on the pooled map -> on the full map: those of all windows that a value is in."""
    (kh, kw), (sh, sw), (ph, pw) = pool.kernel, pool.stride, pool.padding
    channels, height, width = full
    out = len(weight)
    spread = np.zeros((out, channels, height + 2 * ph, width + 2 * pw))
    share = weight.reshape(out, *pooled)
    for i in range(pooled[1]):
        for j in range(pooled[2]):
            window = (..., slice(i * sh, i * sh + kh), slice(j * sw, j * sw + kw))
            spread[window] += share[:, :, i, j, None, None]
    spread.setflags(write=False)  # the largest array of all: no copy of it is made
    return spread[:, :, ph : ph + height, pw : pw + width].reshape(out, -1)


def pool_into_conv(graph: Graph, node: Node) -> Match | None:
    """Average or sum pooling, convolution: one convolution, where padding means the same."""
    windows, reader = _windows(node.op), only_reader(graph, node.name)
    if windows is None or reader is None or not isinstance(reader.op, Conv2d):
        return None
    pool, conv = windows.pool, reader.op
    full, pooled = graph.edge(node.inputs[0]).shape[1:], node.output.shape[1:]
    axes = [
        _joint_padding(pool, conv, axis, full[axis], pooled[axis], reader.output.shape[1 + axis])
        for axis in (0, 1)
    ]
    if any(isinstance(found, str) for found in axes):
        return None
    padding = (int(axes[0]), int(axes[1]))
    weight = _composed(conv.weight, pool.kernel, _times(pool.stride, conv.dilation))
    merged = replace(
        conv,
        weight=windows.share(weight),
        stride=_times(pool.stride, conv.stride),
        padding=padding,
        dilation=(1, 1),
    )
    return {node.name: [], reader.name: [replace(reader, op=merged, inputs=node.inputs)]}, {}


def _joint_padding(
    pool: AvgPool2d, conv: Conv2d, axis: int, full: int, pooled: int, outputs: int
) -> int | str:
    """The padding of both as one layer along an axis, or why there is none.

    Place q of the pooled map is the window that begins at q * stride of the full map. Where q is
    padding and the convolution reads it, that window has to lie off the map: in front of it, it
    ends before 0 unless windows overlap; behind it, it begins behind the last row unless the
    windows left some out.
    """
    window, stride, padded = pool.kernel[axis], pool.stride[axis], pool.padding[axis]
    if not conv.padding[axis]:
        return padded
    if padded:
        return "pads"
    taps = conv.dilation[axis] * np.arange(conv.weight.shape[2 + axis])
    places = np.add.outer(conv.stride[axis] * np.arange(outputs), taps) - conv.padding[axis]
    front = (places < 0) & (places * stride + window > 0)
    behind = (places >= pooled) & (places * stride < full)
    if front.any() or behind.any():
        return "overlaps" if window > stride else "leaves out"
    return stride * conv.padding[axis]


def conv_into_pool(graph: Graph, node: Node) -> Match | None:
    """Convolution, average or sum pooling without padding: one convolution."""
    windows, conv = _windows(node.op), graph.producer(node.inputs[0])
    if windows is None or conv is None or not isinstance(conv.op, Conv2d):
        return None
    pool, op = windows.pool, conv.op
    if any(pool.padding):
        return None
    # y[i] = mean over u of (W x)[i * pool.stride + u]: the window slides by the layer's stride.
    weight = _composed(op.weight, pool.kernel, op.dilation, op.stride)
    bias = None if op.bias is None else windows.share(op.bias * (pool.kernel[0] * pool.kernel[1]))
    merged = replace(
        op,
        weight=windows.share(weight),
        bias=bias,
        stride=_times(op.stride, pool.stride),
        dilation=(1, 1),
    )
    pooled = {node.name: [draft(conv, node.name, merged, conv.inputs)]}
    return {**_gone(graph, conv), **pooled}, {}


def _gone(graph: Graph, node: Node) -> dict[str, list[Node]]:
    """Nothing in its place, unless something besides what takes it in reads it."""
    return {} if only_reader(graph, node.name) is None else {node.name: []}


def _composed(weight: Array, window: Pair, apart: Pair, by: Pair = (1, 1)) -> Array:
    """The kernel whose taps stand ``apart``, summed over a window whose values stand ``by``."""
    *outer, kh, kw = weight.shape
    spans = [
        (k - 1) * a + (n - 1) * s + 1
        for k, a, n, s in zip((kh, kw), apart, window, by, strict=True)
    ]
    kernel = np.zeros((*outer, *spans))
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * apart[0], i * apart[0] + (window[0] - 1) * by[0] + 1, by[0])
            columns = slice(j * apart[1], j * apart[1] + (window[1] - 1) * by[1] + 1, by[1])
            kernel[..., rows, columns] += weight[..., i, j, None, None]
    return kernel


def _times(a: Pair, b: Pair) -> Pair:
    return a[0] * b[0], a[1] * b[1]


def sum_into_pool(graph: Graph, node: Node) -> Match | None:
    """A sum of convolutions and spikes, average pooling: each is pooled by itself."""
    add = graph.producer(node.inputs[0])
    if not isinstance(node.op, AvgPool2d) or add is None or not isinstance(add.op, Add):
        return None
    if counts(graph, add.name) and not any(is_current(graph, i) for i in add.inputs):
        return None  # the layer behind the pool takes it, before there are more
    if only_reader(graph, add.name) is None and not delivered(graph, add.name):
        return None
    pools = []
    for k, name in enumerate(add.inputs):
        part = graph.producer(name)
        layer = part is not None and isinstance(part.op, Conv2d | Add) and delivered(graph, name)
        if is_current(graph, name) and not layer:
            return None
        pools.append(draft(node, f"{node.name}.in{k}", node.op, (name,)))
    if len(set(add.inputs)) < len(add.inputs) or any(node.op.padding):
        return None
    total = draft(add, node.name, add.op, tuple(p.name for p in pools))
    return {**_gone(graph, add), node.name: [*pools, total]}, {}


def pool_into_neurons(graph: Graph, node: Node) -> Match | None:
    """Average pooling of spikes that feeds neurons only: a synapse of constant weight."""
    if not isinstance(node.op, AvgPool2d) or not into_neurons_only(graph, node.name, Scale):
        return None
    source = graph.producer(node.inputs[0])
    pooled = source is not None and isinstance(source.op, AvgPool2d)  # its turn comes next
    spikes = graph.edge(node.inputs[0]).domain <= SPIKE and not is_current(graph, node.inputs[0])
    if not (pooled or spikes):
        return None
    weight = 1 / (node.op.kernel[0] * node.op.kernel[1])
    return {node.name: [_depthwise(graph, node, node.op, node.name, weight)]}, {}


def max_pool(graph: Graph, node: Node) -> Match | None:
    """Max pooling of spikes: synapses of weight 1 and a memoryless neuron."""
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
    return draft(node, name, op, node.inputs)


def conv_into_flatten(graph: Graph, node: Node) -> Match | None:
    """A convolution to one place, then flatten: flatten, then a linear layer."""
    conv = source_of(graph, node)
    if not isinstance(node.op, Flatten) or conv is None or not isinstance(conv.op, Conv2d):
        return None
    op, (channels, *size) = conv.op, graph.edge(conv.inputs[0]).shape
    outputs = len(op.weight)
    if conv.output.shape[1:] != (1, 1) or any(op.padding) or op.dilation != (1, 1):
        return None
    weight = np.zeros((outputs, op.groups, channels // op.groups, *size))
    group = np.arange(outputs) // (outputs // op.groups)
    kh, kw = op.weight.shape[2:]
    weight[np.arange(outputs), group, :, :kh, :kw] = op.weight
    flat = draft(node, f"{node.name}.input", Flatten(), conv.inputs)
    layer = draft(conv, node.name, Linear(weight.reshape(outputs, -1), op.bias), (flat.name,))
    return {conv.name: [], node.name: [flat, layer]}, {}


def why_pooled(graph: Graph, node: Node) -> str:
    """Why a pool that `fold_scales` left has no form as weights."""
    source = graph.edge(node.inputs[0])
    if isinstance(node.op, MaxPool2d):
        return (
            f"the maximum of {source.domain} values is not an OR: pool the spikes behind the neuron"
        )
    assert isinstance(node.op, AvgPool2d)
    add = source_of(graph, node)
    if is_current(graph, source.name) or (add is not None and isinstance(add.op, Add)):
        if any(node.op.padding):
            return "it pads what a layer makes, bias included: pool without padding"
        return "what it averages is not made by convolutions alone"
    if not source.domain <= SPIKE:
        return f"it averages {source.domain} values, not spikes"
    if node.name in graph.outputs:
        return "the average itself is an output: end in spikes or in a linear readout"
    readers = graph.consumers(node.name)
    if len(readers) > 1:
        return "several layers read it: give each its own pool"
    for reader in readers:
        if isinstance(reader.op, Conv2d):
            return _conflict(graph, node, reader)[0] or "it has not been folded yet"
    return f"{', '.join(type(r.op).__name__ for r in readers) or 'nothing'} reads it"


def pool_remedy(graph: Graph, node: Node) -> str:
    """What to do about an average pool that no convolution takes; nothing if one does."""
    readers = graph.consumers(node.name)
    spikes = graph.edge(node.inputs[0]).domain <= SPIKE
    if spikes and len(readers) == 1 and isinstance(readers[0].op, Conv2d):
        return _conflict(graph, node, readers[0])[1]
    return ""


def _conflict(graph: Graph, node: Node, reader: Node) -> tuple[str, str]:
    """(why an average pool and the convolution behind it are not one layer, what to do)."""
    pool, conv = node.op, reader.op
    assert isinstance(pool, AvgPool2d) and isinstance(conv, Conv2d)
    full, pooled = graph.edge(node.inputs[0]).shape[1:], node.output.shape[1:]
    behind = "the convolution after it pads the pooled map, which is not padding of the full map:"
    other = "or take MaxPool2d, which is an OR of the spikes and needs no weights to be joined"
    for axis, name in ((0, "row"), (1, "column")):
        size, window, stride = full[axis], pool.kernel[axis], pool.stride[axis]
        found = _joint_padding(pool, conv, axis, size, pooled[axis], reader.output.shape[1 + axis])
        if found == "pads":
            return f"{behind} the pool is padded, too", (
                f"take padding 0 in the convolution, {other}"
            )
        if found == "overlaps":
            return f"{behind} windows of {window} that move by {stride} overlap", (
                f"take windows of {stride} (kernel_size = stride), or padding 0 in the "
                f"convolution, {other}"
            )
        if found == "leaves out":
            rest = size - stride * pooled[axis]
            lower, upper = stride * pooled[axis], stride * (pooled[axis] + 1)
            few = f"the last {name}" if rest == 1 else f"the last {rest} {name}s"
            return f"{behind} its {pooled[axis]} windows leave out {few} of {size}", (
                f"give the pool a map of {lower} or {upper} {name}s, such as by the padding of a "
                f"layer before it, or take padding 0 in the convolution, {other}"
            )
    return "", ""
