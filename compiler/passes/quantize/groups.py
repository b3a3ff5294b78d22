"""Which synapses and neurons must share a scale: all whose currents meet in a neuron."""

from __future__ import annotations

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Neuron,
    Scale,
)
from purespike.compiler.passes.fold_scales.move_delays import why_delayed
from purespike.compiler.passes.fold_scales.pooling import pool_remedy, why_pooled

REPLACE = "replace the operation: fold_scales and lower_gates, which come before, leave it as it is"


class QuantizeError(Refusal):
    """A graph that has no integer form."""

    rule = "PS008"


def require_integer_form(graph: Graph) -> None:
    """Raise QuantizeError for an operation of the chip that no integers can express."""
    for node in graph.nodes:
        known = isinstance(node.op, (*SYNAPSES, Neuron, Add, Flatten, Delay))
        if node.role != "host" and not known:
            pool = isinstance(node.op, AvgPool2d)
            raise QuantizeError(
                "this operation has no integer form",
                where=graph.origin(node.name),
                found=f"{type(node.op).__name__}({node.op.details()})"
                + (f": {why_pooled(graph, node)}" if pool else ""),
                allowed="synapses, sums into neurons, neurons, flatten and delay",
                remedy=(pool and pool_remedy(graph, node)) or REPLACE,
            )


def group_members(graph: Graph) -> dict[str, list[Node]]:
    """The synapses and neurons of each group that shares a scale, by its leader."""
    members: dict[str, list[Node]] = {}
    for name, leader in scale_groups(graph).items():
        node = graph.producer(name)
        assert node is not None
        members.setdefault(leader, []).append(node)
    return members


def beside(nodes: list[Node]) -> list[Node]:
    """The neurons of a group, where all of them read one and the same edge; else none."""
    fired = [n for n in nodes if isinstance(n.op, Neuron)]
    return fired if len({n.inputs for n in fired}) == 1 else []


def scale_groups(graph: Graph) -> dict[str, str]:
    """Synapses and neurons by the leader of the group that must share a scale."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if node.role == "host":
            continue
        if isinstance(node.op, (*SYNAPSES, Neuron, Add)):
            leader[node.name] = node.name
    for node in graph.nodes:
        if node.name not in leader or isinstance(node.op, SYNAPSES):
            continue
        for source in node.inputs:
            late = graph.producer(source)
            if late is not None and isinstance(late.op, Delay):
                why, remedy = why_delayed(graph, late)
                raise QuantizeError(
                    f"a delay feeds a neuron: {why}",
                    where=graph.origin(node.name),
                    found=_named(graph, source),
                    allowed="a delay of spikes, then Conv2d, Linear or a one-to-one synapse",
                    remedy=remedy,
                )
            if source not in leader or isinstance(_op(graph, source), Neuron):
                raise QuantizeError(
                    "something that is not a synapse feeds a neuron",
                    where=graph.origin(node.name),
                    found=_named(graph, source),
                    allowed="Conv2d, Linear, one-to-one synapses and their sums",
                    remedy=REPLACE,
                )
            leader[find(source)] = find(node.name)
    groups = {name: find(name) for name in leader}
    with_neuron = {groups[n] for n in groups if isinstance(_op(graph, n), Neuron)}
    for name, head in groups.items():
        if head not in with_neuron:
            raise QuantizeError(
                "this layer's current reaches no neuron, so it has no integer meaning",
                where=graph.origin(name),
                remedy="end the network in spikes, or average a linear readout over time",
            )
    return {n: g for n, g in groups.items() if not isinstance(_op(graph, n), Add)}


def weights_of(op: object) -> list[Array]:
    """The weights of a synapse; of a neuron none."""
    if isinstance(op, Conv2d | Linear):
        return [op.weight]
    return [op.factor] if isinstance(op, Scale) else []


def values_of(op: object) -> list[Array]:
    """The weights of a synapse by rows, each that inputs share at least once."""
    return [op.kept] if isinstance(op, Linear) else weights_of(op)


def _op(graph: Graph, name: str) -> object:
    node = graph.producer(name)
    return node.op if node else None


def _named(graph: Graph, name: str) -> str:
    op = _op(graph, name)
    return f"{graph.origin(name)} ({type(op).__name__})" if op else f"the input {name}"
