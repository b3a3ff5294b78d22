"""One synapse of the graph as Lava's processes, held back by as many steps as the schedule says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import Conv2d, Linear, Scale
from purespike.targets.lava.lower.layout import EmitError, lava_order, to_lava_shape, weights
from purespike.targets.lava.lower.schedule import behind
from purespike.targets.lava.program.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Process,
    Reshape,
    Sparse,
)

MOST_GROUPS = 127  # Lava's Conv holds the number of groups in 8 bits
LARGEST = 127  # weight of a Sparse
LONGEST = 62  # steps that a DelaySparse adds to its one


def emit_synapse(
    graph: Graph, node: Node, name: str, delay: int
) -> tuple[list[Process], list[Connection]]:
    """The processes of a synapse called ``name``, its output last.

    Args:
        graph: The integer graph.
        node: The synapse.
        name: What its process is called.
        delay: Steps that it is held back; where delays differ by place, those of the shortest.

    Raises:
        EmitError: If a weight is not whole, or the delay longer than Lava has.
    """
    line = behind(graph, node.inputs[0])
    shape, op = graph.edge(line.source).shape, node.op
    delays: NDArray[np.int64] | int = delay
    if not isinstance(line.waits, int):  # by place, in Lava's order
        delays = delay - line.least + lava_order(line.waits).astype(np.int64)
    if int(np.max(delays)) > LONGEST:
        raise EmitError(
            "a delay is longer than Lava's synapses have",
            where=graph.origin(node.name),
            found=f"{int(np.max(delays))} steps added",
            allowed=f"{LONGEST}",
            remedy="delay in two parts, with a layer between",
        )
    wire = Connection(line.source, name, "flatten")
    if isinstance(op, Scale):
        return [_one_to_one(node, name, op, line.flattened, shape, delays)], [wire]
    if isinstance(op, Linear):
        weight = op.spread(weights(op.kept, node))
        if line.flattened:
            weight = weight[:, lava_order(np.arange(weight.shape[1]).reshape(shape))]
        if not isinstance(delays, int):
            rows, columns = (i.reshape(-1) for i in np.indices(weight.shape))
            size = (weight.shape[0], weight.shape[1])
            return [Sparse(name, weight.reshape(-1), delays[columns], rows, columns, size)], [wire]
        last: Process = Dense(name, weight)
    elif isinstance(op, Conv2d):
        if op.groups > MOST_GROUPS or not isinstance(delays, int):  # such as pooling many channels
            return [_sparse_conv(node, name, op, shape, delays)], [wire]
        last = _conv(node, name, op, shape)
    else:
        raise TypeError(f"%{node.name} is not a synapse")
    reshape: Reshape = "flatten" if isinstance(op, Linear) and line.flattened else ""
    if not delay:
        return [last], [Connection(line.source, name, reshape)]
    # Only one-to-one synapses have delays: a relay neuron passes the spikes on later.
    held, relay = f"{name}.delay", f"{name}.relay"
    return [
        Sparse(held, np.ones(int(np.prod(shape)), dtype=np.int64), delay - 1),
        Lif(relay, to_lava_shape(shape), vth=0, dv=4095),
        last,
    ], [
        Connection(line.source, held, "flatten"),
        Connection(held, relay, to_lava_shape(shape)),
        Connection(relay, name, reshape),
    ]


def emit_bias(node: Node, bias: NDArray[np.int64]) -> tuple[list[Process], list[Connection]]:
    """The bias of a neuron with a synaptic current, which has to go through that current.

    Lava adds its own bias behind the current. So neurons that fire at every step deliver this one,
    through as many synapses as it takes.

    Args:
        node: The node of the neuron.
        bias: Whole numbers that broadcast to its shape.
    """
    full = lava_order(np.broadcast_to(bias, node.output.shape))
    units = -(-int(np.abs(full).max()) // LARGEST)
    rest = np.maximum(np.abs(full)[:, None] - LARGEST * np.arange(units), 0)
    weight = np.sign(full)[:, None] * np.minimum(rest, LARGEST)
    rows, columns = (i.reshape(-1) for i in np.indices(weight.shape))
    always, name = f"{node.name}.always", f"{node.name}.bias"
    return [
        Lif(always, (units,), vth=0, bias=1),
        Sparse(name, weight.reshape(-1), 0, rows, columns, (full.size, units)),
    ], [
        Connection(always, name),
        Connection(name, node.name, to_lava_shape(node.output.shape)),
    ]


def _one_to_one(
    node: Node,
    name: str,
    op: Scale,
    flattened: bool,
    shape: Shape,
    delays: NDArray[np.int64] | int,
) -> Sparse:
    factor = weights(np.broadcast_to(op.factor, node.output.shape), node)
    if not flattened:
        return Sparse(name, lava_order(factor), delays)
    rows = lava_order(np.arange(factor.size).reshape(shape))  # ours, of each value of Lava's
    return Sparse(name, factor[rows], delays, rows, np.arange(factor.size), (factor.size,) * 2)


def _conv(node: Node, name: str, op: Conv2d, shape: Shape) -> Conv:
    flipped = op.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)  # (out, kW, kH, in / groups)
    return Conv(
        name,
        weights(flipped, node),
        to_lava_shape(shape),
        stride=(op.stride[1], op.stride[0]),
        padding=(op.padding[1], op.padding[0]),
        dilation=(op.dilation[1], op.dilation[0]),
        groups=op.groups,
    )


def _sparse_conv(
    node: Node, name: str, op: Conv2d, shape: Shape, delays: NDArray[np.int64] | int
) -> Sparse:
    """A convolution as its matrix, one synapse a weight and place, both sides in Lava's order."""
    channels, height, width = shape
    outputs, out_height, out_width = node.output.shape
    o, c, i, j, y, x = np.indices((*op.weight.shape, out_height, out_width), dtype=np.int64)
    c = c + o // (outputs // op.groups) * (channels // op.groups)
    weight = np.broadcast_to(op.weight[..., None, None], o.shape)
    at_y = y * op.stride[0] + i * op.dilation[0] - op.padding[0]
    at_x = x * op.stride[1] + j * op.dilation[1] - op.padding[1]
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    columns = ((at_x * height + at_y) * channels + c)[inside]
    return Sparse(
        name,
        weights(weight[inside], node),
        delays if isinstance(delays, int) else delays[columns],
        ((x * out_height + y) * outputs + o)[inside],
        columns,
        (outputs * out_height * out_width, channels * height * width),
    )
