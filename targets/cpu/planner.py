"""From a graph in integers to a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Gate, MaxPool2d, Neuron
from purespike.targets.cpu import gates
from purespike.targets.cpu.draft import Draft, placed, refuse
from purespike.targets.cpu.loops import in_order
from purespike.targets.cpu.plan import Arm, Buffer, Layer, Plan
from purespike.targets.cpu.synapses import arms, cut, one_to_one, whole
from purespike.targets.cpu.widths import fitted


def plan(graph: Graph) -> Plan:
    """How ``graph`` runs here.

    Args:
        graph: A compiled network, its part on the chip (`chip_part`): spikes in, whole weights.

    Raises:
        CpuError: If a node has no exact form in integers.
    """
    draft = Draft(graph)
    for edge in graph.inputs:
        if not edge.domain <= SPIKE:
            refuse(edge.name, str(edge), "an input that carries spikes")
        draft.buffer(edge.name, placed(edge.shape))
    for node in graph.nodes:  # declared first: a loop reads a buffer before its layer comes
        if isinstance(node.op, Gate | MaxPool2d) or (isinstance(node.op, Neuron) and node.op.fires):
            draft.waiting.add(node.name)
    for node in graph.nodes:
        if isinstance(node.op, Neuron):
            _neuron(draft, node)
        elif isinstance(node.op, Gate):
            _gate(draft, node, node.op)
        elif isinstance(node.op, MaxPool2d):
            _pool(draft, node, node.op)
    sent = {}
    for name in graph.outputs:
        made = graph.producer(name)
        if graph.edge(name).domain <= SPIKE:
            sent[name] = draft.source(name)
        elif made is not None and not isinstance(made.op, Neuron):
            _output(draft, made)
    layers = in_order(draft.layers.values())
    _borders(draft.buffers, layers)
    for layer in layers:
        layer.arms = tuple(part for a in layer.arms for part in cut(a, draft.buffers[a.source]))
    spikes = {x.name: (x.out, 0) for x in layers if x.neuron and x.out >= 0}
    spikes |= {name: (source.buffer, source.delay) for name, source in sent.items()}
    names = {*spikes, *(x.name for x in layers if x.neuron is not None)}
    shapes = {name: graph.edge(name).shape for name in names}
    return Plan(tuple(draft.buffers), tuple(fitted(layers, graph)), graph.steps, spikes, shapes)


def _neuron(draft: Draft, node: Node) -> None:
    """A layer of neurons, with all synapses whose currents meet at it."""
    op, place = node.op, draft.place_of(node)
    assert isinstance(op, Neuron)
    if type(op) is not Neuron:
        refuse(node.name, type(op).__name__, "a neuron that compares its membrane itself")
    found = arms(draft, node.inputs[0], place)
    bias = np.zeros((place[0], 1, 1))
    for arm, b in found:
        if b is not None:
            bias = bias + whole(b, arm.name).reshape(-1, 1, 1)
    layer = Layer(node.name, "neurons", place, tuple(a for a, _ in found), -1, op, squeezed(bias))
    shape = node.output.shape
    for name in ("threshold", "amount"):
        full = np.broadcast_to(getattr(op, name), shape).reshape(place)
        setattr(layer, name, squeezed(full))
    if op.fires:
        layer.out = draft.claim(node, place)
        layer = gates.simplified(layer)
    draft.layers[node.name] = layer


def _gate(draft: Draft, node: Node, op: Gate) -> None:
    """Logic on spikes, three at a time."""
    place = draft.place_of(node)
    reads = [one_to_one(draft, node.name, i, np.ones(()), place, 0) for i in node.inputs]
    count = 0
    while len(reads) > gates.INPUTS:
        name = f"{node.name} (part {count})"
        count += 1
        out = draft.buffer(name, place)
        first, reads = tuple(reads[: gates.INPUTS]), reads[gates.INPUTS :]
        draft.layers[name] = Layer(
            name, "logic", place, first, out, table=gates.truth(op.kind, first)
        )
        reads.append(replace(first[0], source=out, delay=0))
    table = gates.truth(op.kind, tuple(reads))
    out = draft.claim(node, place)
    draft.layers[node.name] = Layer(node.name, "logic", place, tuple(reads), out, table=table)


def _pool(draft: Draft, node: Node, op: MaxPool2d) -> None:
    """An OR over windows."""
    source = draft.source(node.inputs[0])
    place = placed(node.output.shape)
    taps = np.ones((op.kernel[0] * op.kernel[1], place[0]), np.int64)
    arm = Arm(node.name, "lanewise", source.buffer, source.delay, taps, op.kernel, op.stride,
              op.padding)  # fmt: skip
    draft.layers[node.name] = Layer(node.name, "pool", place, (arm,), draft.claim(node, place))


def _output(draft: Draft, node: Node) -> None:
    """Currents that leave the graph: the membranes of neurons without memory."""
    op = Neuron(np.array(np.inf), 0.0, "none")
    probe = Node(op, (node.name,), replace(node.output, name=node.name))
    draft.geometry[node.name] = placed(node.output.shape)
    _neuron(draft, probe)


def squeezed(full: Array) -> Array:
    """One value for each channel, if places do not differ."""
    same = bool((full == full[:, :1, :1]).all())
    return np.ascontiguousarray(full[:, 0, 0] if same else full, dtype=np.float64)


def _borders(buffers: list[Buffer], layers: list[Layer]) -> None:
    for layer in layers:
        for arm in layer.arms:
            buffers[arm.source].border = max(buffers[arm.source].border, *arm.padding)
