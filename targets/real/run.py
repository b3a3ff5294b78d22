"""Runs a network in real numbers, bit for bit as the interpreter does and many times faster.

Layer by layer over all steps. Where the kernel adds in another order than the interpreter, a bound
of the difference goes along with every membrane; as long as no membrane comes that close to its
threshold, the spikes are the interpreter's, whatever the order. A layer where one does, or that has
no form in the kernel, and whatever is not a spike, the interpreter runs by itself on the same
spikes.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Gate, MaxPool2d, Neuron
from purespike.compiler.ir.part import run_part
from purespike.compiler.native import library
from purespike.targets.real.memory import Memory
from purespike.targets.real.sums import Arm, Sum, is_exact, sum_at

_SOURCE = Path(__file__).with_name("kernel.cpp")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared")
_INT, _DOUBLE, _POINTER = ctypes.c_int32, ctypes.c_double, ctypes.c_void_p
Bytes = NDArray[np.uint8]


def _of(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class _Arm(ctypes.Structure):
    _fields_ = [
        *_of(_INT, "diagonal channels height width kh kw sy sx py px dy dx groups run"),
        *_of(_POINTER, "spikes weights"),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *_of(_INT, "arms steps samples channels height width reset exact"),
        *_of(_DOUBLE, "decay initial"),
        *_of(_POINTER, "arm bias threshold amount delta out"),
    ]


def kernel() -> ctypes.CDLL | str:
    """The kernel library, or why there is none."""
    return library(_SOURCE, _FLAGS, "the kernel for networks in real numbers")


def run_real(
    graph: Graph, x: NDArray[Any], record: Collection[str], memory: Memory | None = None
) -> Trace | None:
    """As `interpret.run` with ``lean``: the same values, spikes in a byte each, no membranes.

    Args:
        graph: A verified graph with one input of spikes, none of its neurons in fixed point.
        x: Input (T, B, *shape).
        record: Edges to keep.
        memory: What layers did in runs before, to be asked and added to.

    Returns:
        The trace, whose arrays nobody may change; None where there is no kernel, or where the graph
        is not of that kind: with delays, an analog input, or neurons in integers.
    """
    found = kernel()
    if isinstance(found, str) or not _fits(graph, x):
        return None
    spikes: dict[str, Bytes] = {graph.inputs[0].name: np.ascontiguousarray(x, dtype=np.uint8)}
    memory = memory or Memory()
    numbers = {graph.inputs[0].name: memory.input(graph, spikes[graph.inputs[0].name])}
    wanted = graph.ancestors(record)
    for node in graph.nodes:
        if node.name not in wanted or not node.output.domain <= SPIKE:
            continue
        gate = isinstance(node.op, Gate | MaxPool2d) and all(i in spikes for i in node.inputs)
        if not (gate or isinstance(node.op, Neuron)):
            continue
        number = memory.edge(graph, node.name, numbers)
        made = memory.get(number)
        if made is None:
            made = _at_once(node, spikes) if gate else _layer(found, graph, node, spikes)
        if made is None:
            made = run_part(graph, {node.name}, spikes, lean=True).values[node.name].view(np.uint8)
        memory.put(number, made)
        spikes[node.name] = made
    values: dict[str, NDArray[Any]] = {n: spikes[n] for n in record if n in spikes}
    rest = {n: memory.edge(graph, n, numbers) for n in record if n not in spikes}
    values |= {n: kept for n, number in rest.items() if (kept := memory.get(number)) is not None}
    left = rest.keys() - values.keys()
    if left:
        values |= run_part(graph, left, spikes, lean=True).values
        for name in left:
            memory.put(rest[name], values[name])
    return Trace(values, {})


def _fits(graph: Graph, x: NDArray[Any]) -> bool:
    if len(graph.inputs) != 1 or not graph.inputs[0].domain <= SPIKE or x.ndim < 2:
        return False
    if (x.shape[0], *x.shape[2:]) != (graph.steps, *graph.inputs[0].shape) or not x.size:
        return False
    if any(n.op.delays or getattr(n.op, "fixed", None) is not None for n in graph.nodes):
        return False
    return bool(((x == 0) | (x == 1)).all())


def _at_once(node: Node, spikes: dict[str, Bytes]) -> Bytes:
    """The spikes (T, B, *shape) of a gate or a pool of spikes, which have no state: all steps."""
    reads: list[NDArray[Any]] = [spikes[name] for name in node.inputs]
    _, y = node.op.step(None, *(x.reshape(-1, *x.shape[2:]) for x in reads))
    return np.ascontiguousarray(y, dtype=np.uint8).reshape(*reads[0].shape[:2], *node.output.shape)


def _layer(found: ctypes.CDLL, graph: Graph, node: Node, spikes: dict[str, Bytes]) -> Bytes | None:
    """The spikes (T, B, *shape) of a layer; None if it has no form here, or a tie is too close."""
    op = node.op
    if type(op) is not Neuron or not op.fires or op.current_decay:
        return None
    current = sum_at(graph, node.inputs[0], spikes)
    if current is None or not np.isfinite(current.size).all():
        return None
    return _run(found, current, node, op, spikes)


def _run(
    found: ctypes.CDLL, current: Sum, node: Node, op: Neuron, spikes: dict[str, Bytes]
) -> Bytes | None:
    shape = node.output.shape
    channels, height, width = (*shape, 1, 1) if len(shape) == 1 else shape or (1, 1, 1)
    steps, samples = next(iter(spikes.values())).shape[:2]
    exact = is_exact(current, op, steps)

    def by_neuron(values: Array) -> Array:
        """One for each, channels last."""
        whole = np.broadcast_to(values, shape).reshape(channels, -1)
        return np.ascontiguousarray(whole.T, dtype=np.float64)

    def by_channel(values: Array) -> Array:
        return by_neuron(values.reshape(-1, *(1,) * (len(shape) - 1)))

    delta = np.zeros(channels) if exact else current.delta
    kept = [by_channel(current.bias), by_neuron(op.threshold), by_neuron(op.amount),
            by_channel(delta)]  # fmt: skip
    laid = [_laid_out(a, spikes[a.source]) for a in current.arms]
    arms = (_Arm * len(laid))(*(record for record, _ in laid))
    out = np.empty((steps, samples, *shape), np.uint8)
    layer = _Layer(len(laid), steps, samples, channels, height, width, op.reset == "subtract",
                   exact, op.decay, op.initial, ctypes.addressof(arms),
                   *(a.ctypes.data for a in kept), out.ctypes.data)  # fmt: skip
    call = found.run_layer
    call.restype = ctypes.c_int64
    return None if call(ctypes.byref(layer)) else out


def _laid_out(arm: Arm, spikes: Bytes) -> tuple[_Arm, Array]:
    """The record for the kernel, and what it holds the address of."""
    rows = arm.weights.T if arm.diagonal else arm.weights
    weights = np.ascontiguousarray(rows, dtype=np.float64)
    kh, kw = (1, 1) if arm.diagonal else weights.shape[1:3]
    assert spikes.flags.c_contiguous
    return (
        _Arm(arm.diagonal, *arm.shape, kh, kw, *arm.stride, *arm.padding, *arm.dilation,
             arm.groups, arm.run, spikes.ctypes.data, weights.ctypes.data),
        weights,
    )  # fmt: skip
