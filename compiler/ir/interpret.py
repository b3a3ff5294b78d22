"""The reference meaning of a graph: every other executor is compared with this one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, IRError
from purespike.compiler.ir.ops import Neuron

# Runs a graph on an input (T, B, *shape) for the edges named, as `lean` does: each value is that of
# the interpreter, bit for bit, whoever computes it.
Execute = Callable[["Graph", NDArray[Any], Collection[str]], "Trace"]


@dataclass(frozen=True)
class Trace:
    """What a run carried: arrays (T, B, *shape) by edge name.

    Attributes:
        values: What each recorded edge carried at every step.
        membranes: The membrane of each recorded neuron after its reset, in its own units
            (``2**-fraction_bits`` of a weight in fixed point, the input's unit otherwise).
        currents: The synaptic current of each recorded neuron that keeps one, in the same units.
    """

    values: Mapping[str, NDArray[Any]]
    membranes: Mapping[str, NDArray[Any]]
    currents: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def run(
    graph: Graph,
    x: NDArray[Any] | Mapping[str, NDArray[Any]],
    *,
    record: Collection[str] | None = None,
    lean: bool = False,
    watch: Callable[[str, Array], None] | None = None,
) -> Trace:
    """Run ``graph`` for its T steps and check every edge against its domain.

    Args:
        graph: A verified graph.
        x: Input (T, B, *shape), or one such array for each input by name.
        record: Edges to keep; None keeps every edge, which suits probes, not test sets.
        lean: Keep spikes in a byte each and no membranes: all that comparing large networks needs.
        watch: Shown the name and the membrane of every neuron after each step, kept or not.

    Returns:
        The recorded edges and membranes.

    Raises:
        IRError: If the input does not fit, or an edge carries a value outside its domain.
    """
    inputs = _inputs(graph, x)
    batch = next(iter(inputs.values())).shape[1]
    keep = {e.name for e in graph.edges()} if record is None else set(record)
    state = {n.name: n.op.start(batch, n.output.shape) for n in graph.nodes}
    late = [n for n in graph.nodes if n.op.delays]
    values: dict[str, list[Array]] = {e.name: [] for e in graph.edges() if e.name in keep}
    neurons = {
        n.name: n.op
        for n in graph.nodes
        if isinstance(n.op, Neuron) and n.name in keep and not lean
    }
    bytewise = {e.name for e in graph.edges() if lean and e.domain <= SPIKE}
    unread = _unread(graph)
    membranes: dict[str, list[Array]] = {n: [] for n in neurons}
    currents: dict[str, list[Array]] = {n: [] for n, op in neurons.items() if op.current_decay}
    for t in range(graph.steps):
        now: dict[str, Array] = {}

        def send(name: str, y: Array, now: dict[str, Array] = now) -> None:
            now[name] = y
            if name in values:
                values[name].append(y.astype(np.int8) if name in bytewise else y)

        for name, array in inputs.items():
            send(name, np.asarray(array[t], dtype=np.float64))
        for node in late:  # a delay's output does not depend on this step's input
            send(node.name, node.op.read(state[node.name]))
        for node in graph.nodes:
            if node.op.delays:
                continue
            reads = (now[i] for i in node.inputs)
            state[node.name], y = node.op.step(state[node.name], *reads)
            if watch and isinstance(node.op, Neuron):
                watch(node.name, node.op.parts(state[node.name])[0])
            if t == graph.steps - 1 and node.name not in neurons:
                state[node.name] = None  # no step is left to read it: a probe of one is all states
            if not node.output.domain.holds(y):
                raise IRError(
                    "an edge carries a value outside its domain",
                    where=f"%{node.name}, step {t}",
                    found=f"{y.min():g} to {y.max():g}",
                    allowed=str(node.output.domain),
                )
            send(node.name, y)
            for name in unread.get(node.name, ()):
                del now[name]
        for node in late:
            state[node.name], _ = node.op.step(state[node.name], now[node.inputs[0]])
        for name, op in neurons.items():
            v, u = op.parts(state[name])
            membranes[name].append(v)
            if u is not None:
                currents[name].append(u)
    return Trace(*map(_stacked, (values, membranes, currents)))


def lean(graph: Graph, x: NDArray[Any], record: Collection[str]) -> Trace:
    """The edges named, spikes in a byte each and no membranes: what an `Execute` gives."""
    return run(graph, x, record=record, lean=True)


def _stacked(steps: dict[str, list[Array]]) -> dict[str, Array]:
    """The steps of each recording as one array; one recording at a time is held twice."""
    return {name: np.stack(steps.pop(name)) for name in list(steps)}


def _unread(graph: Graph) -> dict[str, list[str]]:
    """By node: the edges that nothing reads after it, so that a step need not hold them all."""
    last = {e.name: e.name for e in graph.edges() if graph.producer(e.name) is not None}
    for node in graph.nodes:
        last |= dict.fromkeys(node.inputs, node.name)
    for node in graph.nodes:
        if node.op.delays:  # reads at the end of the step; what it sends is there from the start
            for name in (*node.inputs, node.name):
                last.pop(name, None)
    unread: dict[str, list[str]] = {}
    for name, node_name in last.items():
        unread.setdefault(node_name, []).append(name)
    return unread


def _inputs(graph: Graph, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    if not isinstance(x, Mapping):
        if len(graph.inputs) != 1:
            raise IRError("the graph has several inputs", allowed="a mapping from name to array")
        x = {graph.inputs[0].name: x}
    arrays: dict[str, NDArray[Any]] = {}
    for edge in graph.inputs:
        if edge.name not in x:
            raise IRError(f"input %{edge.name} is missing", found=", ".join(x))
        array = np.asarray(x[edge.name])
        if array.dtype.itemsize > 1:  # spikes in a byte each become numbers step by step
            array = array.astype(np.float64, copy=False)
        if array.ndim != 2 + len(edge.shape) or (array.shape[0], *array.shape[2:]) != (
            graph.steps,
            *edge.shape,
        ):
            raise IRError(
                f"input %{edge.name} has the wrong shape",
                found=str(array.shape),
                allowed=f"(T, B, ...) = ({graph.steps}, B, {', '.join(map(str, edge.shape))})",
            )
        if not edge.domain.holds(array):
            raise IRError(
                f"input %{edge.name} carries a value outside its domain",
                found=f"{array.min():g} to {array.max():g}",
                allowed="0 or 1, spikes" if edge.domain == SPIKE else str(edge.domain),
                remedy="give data of that kind, or read the network with inputs of another",
            )
        arrays[edge.name] = array
    if len({a.shape[1] for a in arrays.values()}) != 1:
        raise IRError("the inputs differ in batch size")
    return arrays
