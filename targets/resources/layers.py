"""A graph as a chip sees it: layers of neurons and the synapses that reach them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.compliance.rules import chip_nodes, place
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node, Shape
from purespike.compiler.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale

Synapse = Conv2d | Linear | Scale


def weights(op: Synapse) -> NDArray[np.float64]:
    """Every stored weight of a synapse."""
    return op.factor if isinstance(op, Scale) else op.weight


class ResourceError(PurespikeError):
    """A graph that cannot be laid out on cores."""


@dataclass(frozen=True)
class Link:
    """Synapses from one source to one layer.

    Attributes:
        name: Of the synapse's node; of the source where spikes reach a neuron without one.
        source: The edge that carries the spikes: a neuron's, or an input of the chip.
        shape: What the synapse reads.
        op: The synapse.
        delay: Steps that spikes wait on the way.
    """

    name: str
    source: str
    shape: Shape
    op: Synapse
    delay: int

    def weights(self) -> NDArray[np.float64]:
        """Every stored weight."""
        return weights(self.op)


@dataclass(frozen=True)
class Layer:
    """Neurons that share their synapses' shapes.

    Attributes:
        name: The neuron's edge.
        where: How a finding names it.
        neuron: The neuron itself.
        grid: (channels, positions); neuron ``c * positions + p``, the order of a flatten.
        links: What reaches it.
        thresholds: (channels, positions).
    """

    name: str
    where: str
    neuron: Neuron
    grid: tuple[int, int]
    links: tuple[Link, ...]
    thresholds: NDArray[np.float64]


def layers(graph: Graph) -> tuple[Layer, ...]:
    """The layers of an integer graph's chip part, in order of evaluation.

    Raises:
        ResourceError: If something reaches a neuron that is neither spikes nor synapses.
    """
    return tuple(_layer(graph, n, n.op) for n in chip_nodes(graph) if isinstance(n.op, Neuron))


def _layer(graph: Graph, node: Node, op: Neuron) -> Layer:
    shape = node.output.shape
    links = tuple(dict.fromkeys(_links(graph, node.inputs[0], 0, frozenset())))
    images = {graph.edge(k.name).shape for k in links if isinstance(k.op, Conv2d)}
    if len(images) > 1:
        raise ResourceError(
            "convolutions of different shapes meet at a neuron",
            where=place(node),
            found=", ".join(map(str, sorted(images))),
        )
    image = next(iter(images), shape)
    grid = (image[0], prod(image[1:])) if len(image) == 3 else (1, prod(image))
    thresholds = np.broadcast_to(op.threshold, shape).reshape(grid)
    return Layer(node.name, place(node), op, grid, links, thresholds)


def _links(graph: Graph, name: str, delay: int, seen: frozenset[str]) -> Iterator[Link]:
    """Back from a neuron's input to the synapses, through sums, flattens and delays."""
    node = graph.producer(name)
    if name in seen:
        raise ResourceError("a loop has no neuron in it", where=name)
    seen |= {name}
    if node is None or isinstance(node.op, Neuron):
        yield Link(name, name, graph.edge(name).shape, Scale(np.ones(())), delay)
    elif isinstance(node.op, Add | Flatten):
        for i in node.inputs:
            yield from _links(graph, i, delay, seen)
    elif isinstance(node.op, Delay):
        yield from _links(graph, node.inputs[0], delay + node.op.longest, seen)
    elif isinstance(node.op, Synapse):
        values = weights(node.op)
        if not bool((np.rint(values) == values).all()):
            raise ResourceError(
                "a weight is not whole",
                where=place(node),
                remedy="map the integer network that `purespike compile` writes",
            )
        source, waited = _source(graph, node, seen)
        yield Link(node.name, source, graph.edge(node.inputs[0]).shape, node.op, delay + waited)
    else:
        raise _unknown(node)


def _source(graph: Graph, synapse: Node, seen: frozenset[str]) -> tuple[str, int]:
    """The spikes that a synapse reads, and how long they waited."""
    name, waited = synapse.inputs[0], 0
    node = graph.producer(name)
    while node is not None and isinstance(node.op, Flatten | Delay):
        if name in seen:
            raise ResourceError("a loop has no neuron in it", where=name)
        seen |= {name}
        waited += node.op.longest if isinstance(node.op, Delay) else 0
        name = node.inputs[0]
        node = graph.producer(name)
    if node is not None and not isinstance(node.op, Neuron):
        raise _unknown(node)
    return name, waited


def _unknown(node: Node) -> ResourceError:
    return ResourceError(
        "only spikes and synapses can be laid out on cores",
        where=place(node),
        found=type(node.op).__name__,
        allowed="neurons, and Conv2d, Linear, Scale on their spikes; sums, flattens, delays",
        remedy="run the passes first",
    )
