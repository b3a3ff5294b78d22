"""From a graph in integers to a plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
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
from purespike.targets.cpu import gates
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.loops import in_order
from purespike.targets.cpu.plan import Arm, Buffer, Ints, Kind, Layer, Place, Plan
from purespike.targets.cpu.widths import fitted

# A byte table takes 512 bytes for each tap and output channel: worth it where it stays in the cache
# and a byte of the input holds few silent channels.
TABLE_BYTES = 700_000
TABLE_CHANNELS = 16


def plan(graph: Graph) -> Plan:
    """How ``graph`` runs here.

    Args:
        graph: A compiled network, its part on the chip (`chip_part`): spikes in, whole weights.

    Raises:
        CpuError: If a node has no exact form in integers.
    """
    draft = _Draft(graph)
    for edge in graph.inputs:
        if not edge.domain <= SPIKE:
            _refuse(edge.name, str(edge), "an input that carries spikes")
        draft.buffer(edge.name, placed(edge.shape))
    for node in graph.nodes:  # declared first: a loop reads a buffer before its layer comes
        if isinstance(node.op, Gate | MaxPool2d) or (isinstance(node.op, Neuron) and node.op.fires):
            draft.waiting.add(node.name)
    for node in graph.nodes:
        if isinstance(node.op, Neuron):
            draft.neuron(node)
        elif isinstance(node.op, Gate):
            draft.gate(node, node.op)
        elif isinstance(node.op, MaxPool2d):
            draft.pool(node, node.op)
    sent = {}
    for name in graph.outputs:
        made = graph.producer(name)
        if graph.edge(name).domain <= SPIKE:
            sent[name] = draft.source(name)
        elif made is not None and not isinstance(made.op, Neuron):
            draft.output(made)
    layers = in_order(draft.layers.values())
    _borders(draft.buffers, layers)
    spikes = {x.name: (x.out, 0) for x in layers if x.neuron and x.out >= 0}
    spikes |= {name: (source.buffer, source.delay) for name, source in sent.items()}
    names = {*spikes, *(x.name for x in layers if x.neuron is not None)}
    shapes = {name: graph.edge(name).shape for name in names}
    return Plan(tuple(draft.buffers), tuple(fitted(layers, graph)), graph.steps, spikes, shapes)


def placed(shape: tuple[int, ...]) -> Place:
    """Channels, height and width of an edge; what is no image is all channels."""
    return shape if len(shape) == 3 else (int(np.prod(shape)), 1, 1)


def _refuse(where: str, found: str, allowed: str) -> None:
    raise CpuError(
        "the cpu executor has no form for this", where=where, found=found, allowed=allowed
    )


@dataclass(frozen=True)
class _Source:
    """Where the spikes of an edge lie: a buffer, some steps ago."""

    buffer: int
    delay: int


@dataclass
class _Draft:
    graph: Graph
    buffers: list[Buffer] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    geometry: dict[str, Place] = field(default_factory=dict)

    def buffer(self, name: str, place: Place) -> int:
        self.index[name] = len(self.buffers)
        self.buffers.append(Buffer(name, place))
        return self.index[name]

    # Spikes.

    def source(self, name: str) -> _Source:
        """Where an edge that carries spikes lies."""
        node = self.graph.producer(name)
        if name in self.index:
            return _Source(self.index[name], 0)
        if node is None or not node.output.domain <= SPIKE:
            _refuse(name, str(self.graph.edge(name)), "a synapse reads spikes")
        assert node is not None
        op = node.op
        if name in self.waiting:  # of a loop, or not reached yet
            return _Source(self.buffer(name, self.place_of(node)), 0)
        if isinstance(op, Flatten) or (isinstance(op, Scale) and bool((op.factor == 1).all())):
            return self.source(node.inputs[0])
        if isinstance(op, Delay):
            before = self.source(node.inputs[0])
            if isinstance(op.steps, int):
                return _Source(before.buffer, before.delay + op.steps)
            return _Source(self.shifted(node, before), 0)
        _refuse(name, type(op).__name__, "spikes of an input or a neuron, delayed or flattened")
        raise AssertionError

    def shifted(self, node: Node, before: _Source) -> int:
        """A buffer of spikes that wait as long as their place says."""
        assert isinstance(node.op, Delay)
        place = self.buffers[before.buffer].place
        steps = np.broadcast_to(node.op.steps, node.output.shape).reshape(place).astype(np.int64)
        arms = tuple(
            Arm(node.name, "lanewise", before.buffer, before.delay + int(n), (steps == n) * 1)
            for n in np.unique(steps)
        )
        out = self.buffer(node.name, place)
        self.layers[node.name] = Layer(node.name, "shift", place, arms, out)
        return out

    def flattened(self, source: _Source) -> _Source:
        """The same spikes, all as channels."""
        before = self.buffers[source.buffer]
        if before.place[1:] == (1, 1):
            return source
        name = f"{before.name} (flat)"
        if name not in self.index:
            place = (int(np.prod(before.place)), 1, 1)
            arm = Arm(name, "lanewise", source.buffer, 0, np.ones((1, 1), np.int64))
            self.layers[name] = Layer(name, "flatten", place, (arm,), self.buffer(name, place))
        return _Source(self.index[name], source.delay)

    # Currents.

    def place_of(self, node: Node) -> Place:
        """How a neuron lies in memory: as the image that its synapses make, if they make one."""
        if node.name not in self.geometry:
            self.geometry[node.name] = placed(node.output.shape)  # what a loop back to it sees
            if not isinstance(node.op, Neuron):
                return self.geometry[node.name]
            parts = list(self.leaves(node.inputs[0], 0))
            images = {p for n, _ in parts if (p := self.image(n)) is not None}
            linear = any(isinstance(n.op, Linear) for n, _ in parts if n is not None)
            if len(images) == 1 and not linear:
                self.geometry[node.name] = images.pop()
        return self.geometry[node.name]

    def image(self, leaf: Node | None) -> Place | None:
        if leaf is not None and isinstance(leaf.op, Conv2d):
            return placed(leaf.output.shape)
        return None

    def leaves(self, name: str, delay: int) -> Iterable[tuple[Node | None, int]]:
        """The synapses whose currents meet at an edge; None stands for a spike by itself."""
        node = self.graph.producer(name)
        op = node.op if node else None
        if node is not None and isinstance(op, Add | Flatten):
            for part in node.inputs:
                yield from self.leaves(part, delay)
        elif isinstance(op, Conv2d | Linear | Scale):
            yield node, delay
        elif isinstance(op, Delay) and node is not None and not node.output.domain <= SPIKE:
            if not isinstance(op.steps, int):
                _refuse(name, op.details(), "a delay behind a synapse is one number of steps")
            for leaf, more in self.leaves(node.inputs[0], delay + int(op.longest)):
                if leaf is not None and getattr(leaf.op, "bias", None) is not None:
                    _refuse(name, "a bias that is delayed", "a delay behind synapses without bias")
                yield leaf, more
        else:
            yield None, delay

    def arms(self, name: str, place: Place, delay: int = 0) -> list[tuple[Arm, Array | None]]:
        """The synapses of a layer at ``place``, each with its bias."""
        node = self.graph.producer(name)
        op = node.op if node else None
        if node is not None and isinstance(op, Add | Flatten) and not node.output.domain <= SPIKE:
            return [a for part in node.inputs for a in self.arms(part, place, delay)]
        if node is not None and isinstance(op, Add):
            return [a for part in node.inputs for a in self.arms(part, place, delay)]
        if node is not None and isinstance(op, Delay) and not node.output.domain <= SPIKE:
            return self.arms(node.inputs[0], place, delay + int(op.longest))
        if node is not None and isinstance(op, Conv2d):
            return [(self.convolution(node, op, delay), op.bias)]
        if node is not None and isinstance(op, Linear):
            return [(self.linear(node, op, delay), op.bias)]
        if node is not None and isinstance(op, Scale):
            return [(self.one_to_one(node.name, node.inputs[0], op.factor, place, delay), None)]
        return [(self.one_to_one(name, name, np.ones(()), place, delay), None)]

    def convolution(self, node: Node, op: Conv2d, delay: int) -> Arm:
        source = self.source(node.inputs[0])
        shape = self.graph.edge(node.inputs[0]).shape
        if self.buffers[source.buffer].place != placed(shape):
            _refuse(node.name, f"an input of {shape}", "the image that the neurons before it form")
        w = whole(op.weight, node.name)
        geometry = (op.stride, op.padding, op.dilation)
        kernel = (w.shape[2], w.shape[3])
        if op.groups > 1 and op.groups == len(w) and w.shape[1] == 1:
            taps = w.reshape(len(w), -1).T
            return Arm(node.name, "lanewise", source.buffer, delay + source.delay, taps, kernel,
                       *geometry)  # fmt: skip
        if op.groups > 1:  # zeros between the groups: spikes are few, and rows are added whole
            each = w.shape[1]
            wide = np.zeros((len(w), shape[0], *kernel), np.int64)
            for k, row in enumerate(w):
                first = k // (len(w) // op.groups) * each
                wide[k, first : first + each] = row
            w = wide
        kind = dense(w, node.name)
        return Arm(node.name, kind, source.buffer, delay + source.delay, w, kernel, *geometry)

    def linear(self, node: Node, op: Linear, delay: int) -> Arm:
        source = self.source(node.inputs[0])
        c, h, w = self.buffers[source.buffer].place
        kept = whole(op.kept, node.name)
        delay += source.delay
        if op.run > 1 and op.run == h * w:
            kept = kept.reshape(len(kept), c, 1, 1)
            dense(kept, node.name)
            return Arm(node.name, "events", source.buffer, delay, kept, (h, w), shared=True)
        kept = op.spread(kept).reshape(-1, c, h, w)
        return Arm(node.name, dense(kept, node.name), source.buffer, delay, kept, (h, w))

    def one_to_one(self, name: str, reads: str, factor: Array, place: Place, delay: int) -> Arm:
        source = self.source(reads)
        if self.buffers[source.buffer].place != place:
            source = self.flattened(source)
        if self.buffers[source.buffer].place != place:
            _refuse(name, f"spikes of {self.buffers[source.buffer].place}", f"spikes of {place}")
        weight = whole(factor, name)
        full = np.broadcast_to(weight, self.graph.edge(reads).shape).reshape(place)
        same = bool((full == full[:, :1, :1]).all())
        taps = full[None, :, 0, 0] if same else full[None]
        return Arm(
            name, "lanewise", source.buffer, delay + source.delay, np.ascontiguousarray(taps)
        )

    # Layers.

    def neuron(self, node: Node) -> None:
        op, place = node.op, self.place_of(node)
        assert isinstance(op, Neuron)
        if type(op) is not Neuron:
            _refuse(node.name, type(op).__name__, "a neuron that compares its membrane itself")
        found = self.arms(node.inputs[0], place)
        arms = tuple(a for a, _ in found)
        bias = np.zeros((place[0], 1, 1))
        for arm, b in found:
            if b is not None:
                bias = bias + whole(b, arm.name).reshape(-1, 1, 1)
        layer = Layer(node.name, "neurons", place, arms, -1, op, squeezed(bias))
        shape = node.output.shape
        for name in ("threshold", "amount"):
            full = np.broadcast_to(getattr(op, name), shape).reshape(place)
            setattr(layer, name, squeezed(full))
        if op.fires:
            layer.out = self.claim(node, place)
            layer = gates.simplified(layer)
        self.layers[node.name] = layer

    def claim(self, node: Node, place: Place) -> int:
        """The buffer that a layer writes."""
        known = self.index.get(node.name)
        self.waiting.discard(node.name)
        return self.buffer(node.name, place) if known is None else known

    def gate(self, node: Node, op: Gate) -> None:
        """Logic on spikes, three at a time."""
        place = self.place_of(node)
        reads = [self.one_to_one(node.name, i, np.ones(()), place, 0) for i in node.inputs]
        count = 0
        while len(reads) > gates.INPUTS:
            name = f"{node.name} (part {count})"
            count += 1
            out = self.buffer(name, place)
            first, reads = tuple(reads[: gates.INPUTS]), reads[gates.INPUTS :]
            self.layers[name] = Layer(
                name, "logic", place, first, out, table=gates.truth(op.kind, first)
            )
            reads.append(replace(first[0], source=out, delay=0))
        table = gates.truth(op.kind, tuple(reads))
        out = self.claim(node, place)
        self.layers[node.name] = Layer(node.name, "logic", place, tuple(reads), out, table=table)

    def pool(self, node: Node, op: MaxPool2d) -> None:
        """An OR over windows."""
        source = self.source(node.inputs[0])
        place = placed(node.output.shape)
        taps = np.ones((op.kernel[0] * op.kernel[1], place[0]), np.int64)
        arm = Arm(node.name, "lanewise", source.buffer, source.delay, taps, op.kernel, op.stride,
                  op.padding)  # fmt: skip
        self.layers[node.name] = Layer(node.name, "pool", place, (arm,), self.claim(node, place))

    def output(self, node: Node) -> None:
        """Currents that leave the graph: the membranes of neurons without memory."""
        op = Neuron(np.array(np.inf), 0.0, "none")
        probe = Node(op, (node.name,), replace(node.output, name=node.name))
        self.geometry[node.name] = placed(node.output.shape)
        self.neuron(probe)


def squeezed(full: Array) -> Array:
    """One value for each channel, if places do not differ."""
    same = bool((full == full[:, :1, :1]).all())
    return np.ascontiguousarray(full[:, 0, 0] if same else full, dtype=np.float64)


def whole(values: Array, where: str) -> Ints:
    """The same numbers as integers."""
    rounded = np.rint(values)
    if not bool((rounded == values).all()) or (values.size and np.abs(values).max() >= 1 << 24):
        _refuse(
            where, f"weights of {values.min():g} to {values.max():g}", "whole numbers below 2**24"
        )
    return rounded.astype(np.int64)


def dense(weight: Ints, where: str) -> Kind:
    """The kind of a synapse with all weights: tables for few channels, else events."""
    if weight.size and np.abs(weight).max() > 32767:
        _refuse(where, f"a weight of {np.abs(weight).max()}", "weights of 16 bits")
    out, channels, kh, kw = weight.shape
    size = 512 * -(-channels // 8) * kh * kw * (-(-out // 16) * 16)
    sums = np.abs(weight).sum(axis=(1, 2, 3)).max() if weight.size else 0
    few = channels <= TABLE_CHANNELS and size <= TABLE_BYTES and sums <= 32767
    return "tables" if few else "events"


def _borders(buffers: list[Buffer], layers: list[Layer]) -> None:
    for layer in layers:
        for arm in layer.arms:
            buffers[arm.source].border = max(buffers[arm.source].border, *arm.padding)
