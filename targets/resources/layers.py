"""A graph as a chip sees it: layers of neurons and the synapses that reach them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.proofs.currents import Feed, find_currents
from purespike.compiler.rules.graph_rules import chip_nodes, place

Synapse = Conv2d | Linear | Scale


def weights(op: Synapse) -> NDArray[np.float64]:
    """Every stored weight of a synapse; what inputs share, once."""
    if isinstance(op, Scale):
        return op.factor
    return op.kept if isinstance(op, Linear) else op.weight


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
        times: How many arrays of it reach the layer: 2 if the layer adds its current twice.
    """

    name: str
    source: str
    shape: Shape
    op: Synapse
    delay: int
    times: int = 1

    def weights(self) -> NDArray[np.float64]:
        """Every stored weight; what inputs share, once."""
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

    Which synapses reach a layer is `find_currents`'s answer, as it is for the census.

    Raises:
        ResourceError: If something reaches a neuron that is neither spikes nor synapses.
    """
    feeds = find_currents(graph).feeds
    return tuple(
        _layer(graph, n, n.op, feeds[n.name]) for n in chip_nodes(graph) if isinstance(n.op, Neuron)
    )


def _layer(graph: Graph, node: Node, op: Neuron, feeds: tuple[Feed, ...]) -> Layer:
    shape = node.output.shape
    if not feeds:
        raise _reached_by_number(graph, node.inputs[0])
    links = tuple(_link(graph, feed) for feed in feeds)
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


def _link(graph: Graph, feed: Feed) -> Link:
    """A synapse array with its source; spikes without a synapse have weights of one."""
    node = graph.producer(feed.name)
    if node is None or isinstance(node.op, Neuron):
        shape = graph.edge(feed.name).shape
        return Link(feed.name, feed.name, shape, Scale(np.ones(())), feed.delay, feed.times)
    if not isinstance(node.op, Synapse):
        raise _unknown(node)
    values = weights(node.op)
    if not bool((np.rint(values) == values).all()):
        raise ResourceError(
            "a weight is not whole",
            where=place(node),
            remedy="map the integer network that `purespike compile` writes",
        )
    source, waited = _source(graph, node)
    shape = graph.edge(node.inputs[0]).shape
    return Link(node.name, source, shape, node.op, feed.delay + waited, feed.times)


def _reached_by_number(graph: Graph, name: str) -> ResourceError:
    """What keeps an edge from being a current: the first thing behind it that is none."""
    seen: set[str] = set()
    stack = [name]
    while stack:
        name = stack.pop()
        node = graph.producer(name)
        if name in seen:
            continue
        seen.add(name)
        if node is not None and isinstance(node.op, Add | Flatten | Delay):
            stack.extend(reversed(node.inputs))
        elif node is not None and not isinstance(node.op, Neuron | Synapse):
            return _unknown(node)
        elif not (isinstance(node and node.op, Synapse) or graph.edge(name).domain <= SPIKE):
            return ResourceError(
                "a number reaches a neuron",
                where=place(node) if node else name,
                found=str(graph.edge(name)),
                allowed="spikes, or the currents of synapses",
                remedy="put a spiking neuron between, or run the passes first",
            )
    return ResourceError("a loop has no neuron in it", where=name)


def _source(graph: Graph, synapse: Node) -> tuple[str, int]:
    """The spikes that a synapse reads, and how long they waited."""
    name, waited, seen = synapse.inputs[0], 0, set[str]()
    node = graph.producer(name)
    while node is not None and isinstance(node.op, Flatten | Delay):
        if name in seen:
            raise ResourceError("a loop has no neuron in it", where=name)
        seen.add(name)
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
