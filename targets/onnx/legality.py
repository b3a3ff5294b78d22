"""What the ONNX target can say exactly. Everything else is refused before a node is written."""

from __future__ import annotations

import math

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array, Domain, integer
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.verify import verify
from purespike.targets.onnx.body import OnnxError, whole
from purespike.targets.onnx.weights import ALLOWED, stored

KNOWN: tuple[type[Op], ...] = (
    Conv2d,
    Linear,
    Scale,
    Add,
    Neuron,
    Gate,
    Flatten,
    Delay,
    MaxPool2d,
)
BYTE = integer(8, signed=False)
_INT32 = integer(32)


def check(graph: Graph) -> None:
    """Raise unless the golden model can compute this graph exactly in integers.

    Args:
        graph: A quantized graph.

    Raises:
        OnnxError: At the first node that it cannot, with its module path and the remedy.
        IRError: If the graph breaks a rule of the graph language.
    """
    verify(graph)
    for edge in graph.inputs:
        if not edge.domain <= BYTE:
            raise OnnxError(
                "an input of the golden model carries spikes or unsigned bytes",
                where=f"%{edge.name}",
                found=str(edge.domain),
                allowed="spike, or integers from 0 to 255",
                remedy="encode the input as spikes on the host (pass split_host)",
            )
    for name in graph.outputs:
        if graph.producer(name) is None:
            raise OnnxError("an output is an input of the graph itself", where=f"%{name}")
    for node in graph.nodes:
        _check_node(graph, node)


def place(graph: Graph, node: Node) -> str:
    """Where an error lies: the node and the module behind it."""
    return f"%{node.name} (module {graph.origin(node.name)})"


def _check_node(graph: Graph, node: Node) -> None:
    where = place(graph, node)
    if node.role != "main":
        raise OnnxError(
            f"a node of role {node.role} is not part of the chip",
            where=where,
            found=type(node.op).__name__,
            remedy="emit what strip_auxiliary and split_host leave for the chip",
        )
    if not isinstance(node.op, KNOWN):
        raise OnnxError(
            f"the ONNX target has no exact integer form of {type(node.op).__name__}",
            where=where,
            allowed=", ".join(k.__name__ for k in KNOWN),
            remedy="run the passes first: fuse_batchnorm, fold_scales, lower_gates, quantize",
        )
    for name in node.inputs:
        producer = graph.producer(name)
        if producer and isinstance(producer.op, Neuron) and not producer.op.fires:
            raise OnnxError(
                "an integrator is a readout: nothing on the chip may read its membrane",
                where=where,
                found=f"reads %{name}, which integrates",
                remedy="make the integrator an output, or give it a threshold",
            )
    domains = [graph.edge(name).domain for name in node.inputs]
    match node.op:
        case Conv2d() | Linear():
            _check_synapse(node, node.op, domains[0], where)
        case Scale():
            if not domains[0] <= SPIKE:
                raise OnnxError(
                    "a one-to-one synapse takes spikes: on other values it would multiply",
                    where=where,
                    found=str(domains[0]),
                    remedy="run fold_scales, which moves the factor into weights and thresholds",
                )
            _integers(node.op.factor, "a factor", _INT32, where)
        case Add():
            lows, highs = (min(d.lo, 0.0) for d in domains), (max(d.hi, 0.0) for d in domains)
            _fits(sum(lows), sum(highs), "a sum", where)  # every partial sum too
        case MaxPool2d():
            if not domains[0] <= BYTE:
                raise OnnxError(
                    "max pooling takes spikes or unsigned bytes",
                    where=where,
                    found=str(domains[0]),
                    remedy="pool after the neuron",
                )
            if any(p >= k for p, k in zip(node.op.padding, node.op.kernel, strict=True)):
                raise OnnxError(
                    "the border of the pool is as wide as its window: onnxruntime refuses that",
                    where=where,
                    found=f"padding {node.op.padding}, window {node.op.kernel}",
                    remedy="use a padding of at most half the window, as torch does",
                )
        case Neuron():
            _check_neuron(node.op, domains[0], graph.steps, where)


def _fits(lo: float, hi: float, what: str, where: str) -> None:
    """Only bounds are asked: what integer parameters make of integers are integers."""
    if not _INT32.lo <= lo <= hi <= _INT32.hi:
        raise OnnxError(
            f"{what} may leave 32 bits",
            where=where,
            found=f"{lo:.0f} to {hi:.0f}",
            allowed=f"{_INT32.lo:.0f} to {_INT32.hi:.0f}",
            remedy="split the layer or narrow its weights",
        )


def _integers(x: Array, what: str, allowed: Domain, where: str) -> None:
    if not whole(x):
        raise OnnxError(
            f"{what} is not an integer",
            where=where,
            found=f"{x[np.unravel_index(np.argmax(np.rint(x) != x), x.shape)]:g}",
            remedy="the graph is not quantized: run the pass quantize first",
        )
    if x.size and not (allowed.lo <= x.min() and x.max() <= allowed.hi):
        raise OnnxError(
            f"{what} is too wide",
            where=where,
            found=f"{x.min():g} to {x.max():g}",
            allowed=str(allowed),
            remedy="run quantize with a smaller scale for this layer",
        )


def _check_synapse(node: Node, op: Conv2d | Linear, x: Domain, where: str) -> None:
    if not x <= BYTE:
        raise OnnxError(
            "a synapse of the golden model takes spikes or unsigned bytes",
            where=where,
            found=str(x),
            allowed=f"spike, or {BYTE}",
            remedy="put a spiking neuron before it",
        )
    weight, run = (op.kept, op.run) if isinstance(op, Linear) else (op.weight, 1)
    _integers(weight, "a weight", _INT32, where)
    if stored(weight) is None:
        raise OnnxError(
            "a weight is too wide",
            where=where,
            found=f"{weight.min():g} to {weight.max():g}",
            allowed=ALLOWED,
            remedy="run quantize with a smaller scale for this layer",
        )
    if op.bias is not None:
        _integers(op.bias, "a bias", _INT32, where)
    # Bounds of every partial sum, the one before the bias included.
    sums = weight.reshape(len(weight), -1) * max(x.hi, 1.0) * run
    reach = float(np.abs(sums).sum(axis=1).max(initial=0.0))
    reach += 0.0 if op.bias is None else float(np.abs(op.bias).max(initial=0.0))
    _fits(-reach, reach, "an accumulator", where)


def _check_neuron(op: Neuron, x: Domain, steps: int, where: str) -> None:
    if op.fixed is None:
        raise OnnxError(
            "the neuron computes in real numbers",
            where=where,
            allowed="a neuron with fixed-point arithmetic",
            remedy="the graph is not quantized: run the pass quantize first",
        )
    _fits(x.lo, x.hi, "the current of a neuron", where)
    unit, limit = 2**op.fixed.fraction_bits, op.fixed.limit
    parameters = {"the initial membrane": np.array(op.initial)}
    if op.fires:
        parameters["a threshold"] = op.threshold
    if op.reset == "subtract":
        parameters["the amount of a soft reset"] = op.amount
    for what, value in parameters.items():
        _integers(value * unit, f"{what} (in units of 1/{unit})", _INT32, where)
    drop = float(np.abs(op.amount).max()) if op.reset == "subtract" else abs(op.initial)
    # A current adds up what arrives, less its decay, so it stays within a geometric series.
    held = min(float(steps), 1 / (1 - op.current_decay)) * max(abs(x.lo), abs(x.hi))
    reach = limit + unit * (held + drop)
    if not reach < 2**31 or math.log2(limit) + op.fixed.decay_bits > 62:
        raise OnnxError(
            "the neuron's arithmetic leaves 32 bits",
            where=where,
            found=f"membrane of {op.fixed.width} bits, current up to {held:.0f}",
            allowed=f"|membrane| + |current| * {unit} below 2**31",
            remedy="narrow the weights or split the layer",
        )
