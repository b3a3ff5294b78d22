"""A plan in the making: which spikes lie where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.plan import Arm, Buffer, Layer, Place


def placed(shape: tuple[int, ...]) -> Place:
    """Channels, height and width of an edge; what is not an image is all channels."""
    return shape if len(shape) == 3 else (int(np.prod(shape)), 1, 1)


def refuse(where: str, found: str, allowed: str) -> NoReturn:
    """Raise CpuError: a part of the graph has no form."""
    raise CpuError(
        "the cpu executor has no form for this", where=where, found=found, allowed=allowed
    )


@dataclass(frozen=True)
class Source:
    """Where the spikes of an edge lie: a buffer, some steps ago."""

    buffer: int
    delay: int


@dataclass
class Draft:
    """Buffers and layers found so far, and what is still waited for."""

    graph: Graph
    buffers: list[Buffer] = field(default_factory=list)
    layers: dict[str, Layer] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    geometry: dict[str, Place] = field(default_factory=dict)

    def buffer(self, name: str, place: Place) -> int:
        """A new buffer."""
        self.index[name] = len(self.buffers)
        self.buffers.append(Buffer(name, place))
        return self.index[name]

    def source(self, name: str) -> Source:
        """Where an edge that carries spikes lies."""
        node = self.graph.producer(name)
        if name in self.index:
            return Source(self.index[name], 0)
        if node is None or not node.output.domain <= SPIKE:
            refuse(name, str(self.graph.edge(name)), "a synapse reads spikes")
        op = node.op
        if name in self.waiting:  # of a loop, or not reached yet
            return Source(self.buffer(name, self.place_of(node)), 0)
        if isinstance(op, Flatten) or (isinstance(op, Scale) and bool((op.factor == 1).all())):
            return self.source(node.inputs[0])
        if isinstance(op, Delay):
            before = self.source(node.inputs[0])
            if isinstance(op.steps, int):
                return Source(before.buffer, before.delay + op.steps)
            return Source(self.shifted(node, before), 0)
        refuse(name, type(op).__name__, "spikes of an input or a neuron, delayed or flattened")

    def shifted(self, node: Node, before: Source) -> int:
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

    def flattened(self, source: Source) -> Source:
        """The same spikes, all as channels."""
        before = self.buffers[source.buffer]
        if before.place[1:] == (1, 1):
            return source
        name = f"{before.name} (flat)"
        if name not in self.index:
            place = (int(np.prod(before.place)), 1, 1)
            arm = Arm(name, "lanewise", source.buffer, 0, np.ones((1, 1), np.int64))
            self.layers[name] = Layer(name, "flatten", place, (arm,), self.buffer(name, place))
        return Source(self.index[name], source.delay)

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
        """Where the currents of a convolution lie; None for other synapses."""
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
                refuse(name, op.details(), "a delay behind a synapse is one number of steps")
            for leaf, more in self.leaves(node.inputs[0], delay + int(op.longest)):
                if leaf is not None and getattr(leaf.op, "bias", None) is not None:
                    refuse(name, "a bias that is delayed", "a delay behind synapses without bias")
                yield leaf, more
        else:
            yield None, delay

    def claim(self, node: Node, place: Place) -> int:
        """The buffer that a layer writes."""
        known = self.index.get(node.name)
        self.waiting.discard(node.name)
        return self.buffer(node.name, place) if known is None else known
