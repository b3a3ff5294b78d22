"""Lower a scheduled integer graph to Lava processes.

Layout: our (C, H, W) is Lava's (W, H, C). Lava convolves where torch correlates, so kernels are
flipped. Neurons fire on ``>=`` here and on strict ``>`` there; both compare whole numbers (or
64ths), so the threshold moves by one unit and nothing else changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.domain import SPIKE, Array
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node, Shape
from purespike.compiler.ops import Conv2d, Flatten, Linear, Neuron, Scale
from purespike.compiler.ranges import Bounds, bound_neurons
from purespike.targets.lava.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    SoftIf,
    Source,
    Sparse,
)
from purespike.targets.lava.schedule import Schedule, incoming
from purespike.targets.spec import LOIHI2

MOST_GROUPS = 127  # Lava's Conv holds the number of groups in 8 bits
NEVER = 131071  # the highest threshold: an integrator below it never fires


class EmitError(PurespikeError):
    """A graph that Lava's processes cannot say exactly."""


def emit(graph: Graph, plan: Schedule, frames: NDArray[Any], *, conv: str = "fast") -> Program:
    """The Lava program of a graph for a batch of samples, back to back.

    Args:
        graph: An integer graph with one spike input.
        plan: Its schedule.
        frames: Input spikes (T, B, *shape).
        conv: ``fast`` or ``stock``: which model computes convolutions.

    Returns:
        A program that records the spikes of every firing layer and the membranes of integrators.

    Raises:
        EmitError: If something has no exact form in Lava; the message names the layer.
    """
    if len(graph.inputs) != 1 or not graph.inputs[0].domain <= SPIKE:
        raise EmitError(
            "the chip must receive exactly one input of spikes",
            found=", ".join(map(str, graph.inputs)),
            remedy="run the host encoder first",
        )
    source = graph.inputs[0]
    if frames.shape != (graph.steps, *frames.shape[1:2], *source.shape) or not frames.size:
        raise EmitError(
            "the input has the wrong shape",
            where=source.name,
            found=str(frames.shape),
            allowed=f"(T, B, ...) = ({graph.steps}, B, {', '.join(map(str, source.shape))})",
        )
    if not source.domain.holds(frames):
        raise EmitError(
            "the input is no spike train",
            where=source.name,
            found=f"values {frames.min():g} to {frames.max():g}",
            allowed="0 and 1",
        )
    bounds = bound_neurons(graph, current_limit=LOIHI2.current_limit)
    processes: list[Process] = [Source(source.name, to_lava_shape(source.shape), _frames(frames))]
    wires: list[Connection] = []
    uses: dict[str, int] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        synapses = incoming(graph, node)
        biases = [b for s in synapses if (b := getattr(s.op, "bias", None)) is not None]
        bias = _to_int(sum(biases, start=np.zeros(1)), node)
        processes.append(
            _neuron(graph, node, node.op, bias, plan.depth[node.name], bounds[node.name])
        )
        for synapse in synapses:
            # A process has one delay and one place: each further use of a synapse is a copy of it.
            copy = uses[synapse.name] = uses.get(synapse.name, 0) + 1
            name = synapse.name if copy == 1 else f"{synapse.name}.copy{copy}"
            added = _synapse(graph, synapse, name, plan.delays[node.name, synapse.name])
            processes += added[0]
            wires += added[1]
            last = added[0][-1]
            shape = to_lava_shape(node.output.shape)
            wires.append(
                Connection(last.name, node.name, shape if isinstance(last, Sparse) else "")
            )
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    return Program(
        processes=tuple(processes),
        connections=tuple(wires),
        steps=frames.shape[0] * frames.shape[1] + plan.latency,
        record=tuple(n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires),
        record_v=tuple(n.name for n in neurons if isinstance(n.op, Neuron) and not n.op.fires),
        conv="stock" if conv == "stock" else "fast",
    )


def to_lava_shape(shape: Shape) -> Shape:
    """(C, H, W) -> (W, H, C); flat stays flat."""
    return tuple(reversed(shape))


def from_lava(x: NDArray[Any], steps: int, samples: int, depth: int) -> Array:
    """A recording (steps, *Lava shape) as (T, B, *shape) in logical time."""
    window = x[depth : depth + steps * samples]
    split = window.reshape(samples, steps, *x.shape[1:]).swapaxes(0, 1)
    axes = (0, 1, *range(split.ndim - 1, 1, -1))
    return split.transpose(axes).astype(np.float64)


def _frames(x: NDArray[Any]) -> NDArray[np.uint8]:
    """(T, B, C, H, W) -> (B * T, W, H, C)."""
    axes = (1, 0, *range(x.ndim - 1, 1, -1))
    moved = x.transpose(axes)
    return np.ascontiguousarray(moved.reshape(-1, *moved.shape[2:]), dtype=np.uint8)


def _synapse(
    graph: Graph, node: Node, name: str, delay: int
) -> tuple[list[Process], list[Connection]]:
    """The processes of a synapse called ``name``, delayed by ``delay`` steps, its output last."""
    source, permuted = _spikes_behind(graph, node.inputs[0])
    shape = graph.edge(source).shape
    op = node.op
    if isinstance(op, Scale):
        wire = Connection(source, name, "flatten")
        factor = _integers(np.broadcast_to(op.factor, node.output.shape), node)
        if not permuted:
            return [Sparse(name, _lava_order(factor), delay)], [wire]
        rows = _lava_order(np.arange(factor.size).reshape(shape))  # ours, of each value of Lava's
        square = (factor.size, factor.size)
        sparse = Sparse(name, factor[rows], delay, rows, np.arange(factor.size), square)
        return [sparse], [wire]
    if isinstance(op, Conv2d) and op.groups > MOST_GROUPS:  # such as pooling of many channels
        return [_sparse_conv(node, name, op, shape, delay)], [Connection(source, name, "flatten")]
    processes: list[Process] = []
    wires: list[Connection] = []
    if delay:  # only one-to-one synapses have delays: a relay neuron passes the spikes on later
        size = int(np.prod(shape))
        line, relay = f"{name}.delay", f"{name}.relay"
        processes += [
            Sparse(line, np.ones(size, dtype=np.int64), delay - 1),
            Lif(relay, to_lava_shape(shape), vth=0, dv=4095),
        ]
        wires += [
            Connection(source, line, "flatten"),
            Connection(line, relay, to_lava_shape(shape)),
        ]
        source = relay
    if isinstance(op, Conv2d):
        processes.append(_conv(node, name, op, shape))
        wires.append(Connection(source, name))
    elif isinstance(op, Linear):
        columns = _lava_order(np.arange(np.prod(shape)).reshape(shape)) if permuted else slice(None)
        weight = _integers(op.weight[:, columns], node)
        processes.append(Dense(name, weight))
        wires.append(Connection(source, name, "flatten" if permuted else ""))
    return processes, wires


def _spikes_behind(graph: Graph, name: str) -> tuple[str, bool]:
    """The edge before any flatten, and whether there was one."""
    flattened = False
    node = graph.producer(name)
    while node is not None and isinstance(node.op, Flatten):
        name, flattened = node.inputs[0], True
        node = graph.producer(name)
    return name, flattened


def _lava_order(x: NDArray[Any]) -> NDArray[Any]:
    """The values of (C, H, W) in the order in which Lava flattens (W, H, C)."""
    return x.transpose(*range(x.ndim - 1, -1, -1)).reshape(-1)


def _conv(node: Node, name: str, op: Conv2d, shape: Shape) -> Conv:
    flipped = op.weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)  # (out, kW, kH, in / groups)
    return Conv(
        name,
        _integers(flipped, node),
        to_lava_shape(shape),
        stride=(op.stride[1], op.stride[0]),
        padding=(op.padding[1], op.padding[0]),
        dilation=(op.dilation[1], op.dilation[0]),
        groups=op.groups,
    )


def _sparse_conv(node: Node, name: str, op: Conv2d, shape: Shape, delay: int) -> Sparse:
    """A convolution as its matrix, one synapse a weight and place, both sides in Lava's order."""
    channels, height, width = shape
    outputs, out_height, out_width = node.output.shape
    o, c, i, j, y, x = np.indices((*op.weight.shape, out_height, out_width), dtype=np.int64)
    c = c + o // (outputs // op.groups) * (channels // op.groups)
    weight = np.broadcast_to(op.weight[..., None, None], o.shape)
    at_y = y * op.stride[0] + i * op.dilation[0] - op.padding[0]
    at_x = x * op.stride[1] + j * op.dilation[1] - op.padding[1]
    inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
    return Sparse(
        name,
        _integers(weight[inside], node),
        delay,
        ((x * out_height + y) * outputs + o)[inside],
        ((at_x * height + at_y) * channels + c)[inside],
        (outputs * out_height * out_width, channels * height * width),
    )


def _neuron(
    graph: Graph, node: Node, op: Neuron, bias: NDArray[np.int64], depth: int, bounds: Bounds
) -> Lif | SoftIf:
    if op.initial:
        raise EmitError(
            "Lava resets the membrane to zero between samples",
            where=graph.origin(node.name),
            found=f"initial membrane {op.initial:g}",
            remedy="fold the initial membrane into the threshold, or train without one",
        )
    shape = to_lava_shape(node.output.shape)
    common: dict[str, Any] = {"bias": _spread(bias, node)}
    if op.decay == 0.0:
        if max(abs(bounds.membrane[0]), abs(bounds.membrane[1])) >= 64:
            # dv = 4095 keeps 1/4096 of the membrane: nothing, below 4096 / 64 weights.
            raise EmitError(
                "a memoryless neuron of this size would remember in Lava",
                where=graph.origin(node.name),
                found=f"membrane {bounds.membrane[0]:g} to {bounds.membrane[1]:g} weights",
                allowed="below 64",
            )
        common["dv"] = 4095
    else:
        common["dv"] = round((1.0 - op.decay) * 4096)
        common |= {"reset_interval": graph.steps, "reset_offset": 1 + depth}
    if not op.fires:
        if bounds.membrane[1] > NEVER:
            raise EmitError(
                "the readout could fire",
                where=graph.origin(node.name),
                found=f"membrane up to {bounds.membrane[1]:g} weights",
                allowed=f"{NEVER}",
                remedy="use fewer time steps or a smaller readout",
            )
        return Lif(node.name, shape, vth=NEVER, **common)
    vth = _spread(_strict(graph, node, op), node)
    if op.reset == "subtract" and op.decay:  # a memoryless neuron forgets what any reset leaves
        amount = _spread(_to_int(op.amount, node), node)
        return SoftIf(node.name, shape, vth=vth, amount=amount, **common)
    return Lif(node.name, shape, vth=vth, **common)


def _strict(graph: Graph, node: Node, op: Neuron) -> NDArray[np.int64]:
    """The whole vth for which ``v > vth`` is ``v >= threshold`` on the values v can take."""
    units = op.threshold * 64
    if op.decay in (0.0, 1.0):  # v is a multiple of 64 units
        return (np.ceil(units / 64) - 1).astype(np.int64)
    vth = (units - 1) / 64
    if not bool((vth == np.rint(vth)).all()):
        raise EmitError(
            "Lava cannot compare with this threshold",
            where=graph.origin(node.name),
            found=f"{op.threshold}",
            allowed="k + 1/64 for whole k, in a leaky neuron",
            remedy="run the quantize pass",
        )
    return vth.astype(np.int64)


def _spread(x: NDArray[Any], node: Node) -> Any:
    """One number where all are equal, else the full array in Lava's layout."""
    if x.size == 1 or bool((x == x.flat[0]).all()):
        return int(x.flat[0])
    full = np.broadcast_to(x, node.output.shape)
    return np.ascontiguousarray(full.transpose(*range(full.ndim - 1, -1, -1)))


def _to_int(x: Array, node: Node) -> NDArray[np.int64]:
    """Whole numbers that broadcast to the layer: a bias (C,) of a convolution becomes (C, 1, 1)."""
    if x.ndim == 1 and x.size > 1 and len(node.output.shape) == 3:
        x = x.reshape(-1, 1, 1)
    return _integers(x, node)


def _integers(x: Array, node: Node) -> NDArray[np.int64]:
    whole = np.rint(x).astype(np.int64)
    if not bool((whole == x).all()):
        raise EmitError(
            "Lava takes whole numbers only",
            where=node.origin or node.name,
            remedy="run the quantize pass",
        )
    return whole
