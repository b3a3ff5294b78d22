"""Which synapse arrays exist: one for each neuron layer that a current reaches, and each way there.

A chip adds weights up in the dendrites of one layer of neurons. It keeps no current that a second
layer could read: where k layers read the same current (membrane shortcuts, whose running sum every
neuron reads), its synapses stand on the chip k times, and a spike costs k times its fan-out. The
census (`counts.py`) and the map onto cores (`targets/resources/`) both ask here.

What is a current: what a synapse delivers, and spikes that meet it in a sum as if through weights
of one; also behind sums, flattens and delays of nothing else. Whatever else reaches a sum makes it
a *number*, and so does a loop without a neuron. A current that something other than a neuron needs
as a number (an output, a batch norm, the next synapse) is made once more for that.

The host is not a chip: it computes a number once and keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import SYNAPSES, Add, Delay, Flatten, Neuron


@dataclass(frozen=True)
class Feed:
    """A synapse array: what one layer of neurons receives from one synapse.

    Attributes:
        name: Of the synapse's node; of the edge of the spikes that come without a synapse.
        delay: Steps of the delays between it and the neurons, at the place that waits longest.
        times: How often: 2 if the layer adds the same current twice.
    """

    name: str
    delay: int
    times: int


@dataclass(frozen=True)
class Currents:
    """Where the currents of a graph go.

    Attributes:
        feeds: The arrays of each layer of neurons on the chip, in the order of its sums; a layer
            that reads a number has none.
        arrays: How often each synapse stands on the chip; 1 on the host.
        numbers: Edges whose values are needed as numbers; a sum that is none is a dendrite.
    """

    feeds: Mapping[str, tuple[Feed, ...]]
    arrays: Mapping[str, int]
    numbers: frozenset[str]

    def bare(self, neuron: str) -> Counter[str]:
        """How often spikes reach a layer without a synapse, by their edge."""
        found: Counter[str] = Counter()
        for feed in self.feeds.get(neuron, ()):
            if feed.name not in self.arrays:
                found[feed.name] += feed.times
        return found


_Ways = dict[tuple[str, int], int]  # (where a current begins, its delay): how many ways


def find_currents(graph: Graph) -> Currents:
    """Follow every current to the neurons that read it."""
    ways = _ways(graph)
    numbers = _numbers(graph, ways)
    feeds: dict[str, tuple[Feed, ...]] = {}
    arrays = {n.name: 0 for n in graph.nodes if isinstance(n.op, SYNAPSES)}
    for node in graph.nodes:
        if _is_layer(node):
            found = ways.get(node.inputs[0], {})
            feeds[node.name] = tuple(Feed(*key, times) for key, times in found.items())
            for (name, _), times in found.items():
                if name in arrays:
                    arrays[name] += times
    for name in arrays:
        maker = graph.producer(name)
        if maker is not None and maker.role == "host":
            arrays[name] = 1
        elif name in numbers:
            arrays[name] += 1
    return Currents(feeds, arrays, numbers)


def _is_layer(node: Node) -> bool:
    return isinstance(node.op, Neuron) and node.role != "host"


def _passes(node: Node | None) -> bool:
    """Does a current go through, as a current?"""
    return node is not None and isinstance(node.op, Add | Flatten | Delay) and node.role != "host"


def _ways(graph: Graph) -> dict[str, _Ways]:
    """For every edge that carries a current or spikes, where that begins.

    A delay may read what is written behind it, so go round until nothing new is found; what waits
    for itself, in a loop without a neuron, never is.
    """
    ways: dict[str, _Ways] = {}
    for edge in graph.edges():
        node = graph.producer(edge.name)
        if node is not None and isinstance(node.op, SYNAPSES):
            if node.role != "host":
                ways[edge.name] = {(edge.name, 0): 1}
        elif not _passes(node) and edge.domain <= SPIKE:
            ways[edge.name] = {(edge.name, 0): 1}
    left = [n for n in graph.nodes if _passes(n)]
    while True:
        waiting = []
        for node in left:
            if all(i in ways for i in node.inputs):
                ways[node.name] = _through(node, ways)
            else:
                waiting.append(node)
        if len(waiting) == len(left):
            return ways
        left = waiting


def _through(node: Node, ways: Mapping[str, _Ways]) -> _Ways:
    waits = node.op.longest if isinstance(node.op, Delay) else 0
    found: _Ways = {}
    for read in node.inputs:
        for (name, delay), times in ways[read].items():
            key = (name, delay + waits)
            found[key] = found.get(key, 0) + times
    return found


def _numbers(graph: Graph, ways: Mapping[str, _Ways]) -> frozenset[str]:
    """Outputs, what nobody reads, and what is read as a number; also through sums of currents."""
    stack = [*graph.outputs]
    for edge in graph.edges():
        readers = graph.consumers(edge.name)
        if not readers or any(
            not (_passes(r) and r.name in ways) and not (_is_layer(r) and edge.name in ways)
            for r in readers
        ):
            stack.append(edge.name)
    numbers: set[str] = set()
    while stack:
        name = stack.pop()
        if name in numbers:
            continue
        numbers.add(name)
        node = graph.producer(name)
        if node is not None and _passes(node) and name in ways:
            stack.extend(node.inputs)
    return frozenset(numbers)


def is_current(graph: Graph, name: str) -> bool:
    """Does an edge carry what synapses deliver, as it is, flattened or late?

    Zero and one by chance of the weights are not spikes: nothing fired them.
    """
    node, seen = graph.producer(name), {name}
    while node is not None and isinstance(node.op, Flatten | Delay) and node.inputs[0] not in seen:
        seen.add(node.inputs[0])
        node = graph.producer(node.inputs[0])
    return node is not None and isinstance(node.op, (*SYNAPSES, Add))
