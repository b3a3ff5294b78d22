"""When each layer sees what: Lava's synapses take one step each, so joins have to be aligned.

A layer ``k`` synapses away from the input sees logical step t at Lava step t + k. Where branches
of different length meet, the shorter one is delayed; the table of joins says by how much. Samples
follow each other without a gap: layer k resets when step 0 of the next sample reaches it, so a run
of n samples takes ``n * T + depth`` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph, Node
from purespike.compiler.ops import SYNAPSES, Add, Flatten, Neuron


class ScheduleError(PurespikeError):
    """A graph whose logical time Lava's clock cannot keep."""


@dataclass(frozen=True)
class Arrival:
    """One synapse of a layer: when its spikes would arrive, and how long it is held back.

    Attributes:
        neuron: The layer.
        synapse: Name of the synapse.
        source: The spikes it carries.
        earliest: Steps after the logical step at which its current would arrive undelayed.
        delay: Steps added, so that all synapses of the layer arrive together.
    """

    neuron: str
    synapse: str
    source: str
    earliest: int
    delay: int


@dataclass(frozen=True)
class Schedule:
    """Depth of every spike edge, and every arrival at every layer.

    Attributes:
        depth: Steps between the logical step and the Lava step, by edge.
        arrivals: One row a synapse, in order of evaluation.
    """

    depth: dict[str, int]
    arrivals: tuple[Arrival, ...]

    @property
    def latency(self) -> int:
        """Steps until the deepest layer has seen the last step of the last sample."""
        return max(self.depth.values())

    @property
    def delays(self) -> dict[tuple[str, str], int]:
        """Added steps by (neuron, synapse); a synapse of two neurons may be held back for one."""
        return {(a.neuron, a.synapse): a.delay for a in self.arrivals}

    def joins(self) -> tuple[Arrival, ...]:
        """The arrivals of layers where two or more synapses meet: the slack table."""
        count: dict[str, int] = {}
        for a in self.arrivals:
            count[a.neuron] = count.get(a.neuron, 0) + 1
        return tuple(a for a in self.arrivals if count[a.neuron] > 1)

    def misaligned(self) -> tuple[Arrival, ...]:
        """Arrivals that miss their layer's step, recomputed from the depths alone."""
        return tuple(
            a for a in self.arrivals if self.depth[a.source] + 1 + a.delay != self.depth[a.neuron]
        )


def schedule(graph: Graph) -> Schedule:
    """As soon as possible: a layer's depth is that of its latest input plus one.

    Args:
        graph: A graph of synapses, sums into neurons, neurons and flattens.

    Raises:
        ScheduleError: If the graph holds anything else.
    """
    depth = {e.name: 0 for e in graph.inputs}
    arrivals: list[Arrival] = []
    for node in graph.nodes:
        if isinstance(node.op, (*SYNAPSES, Flatten)) and node.inputs[0] not in depth:
            kind = "flatten" if isinstance(node.op, Flatten) else "synapse"
            raise ScheduleError(
                f"a {kind} reads what is no spike",
                where=graph.origin(node.name),
                found=str(graph.edge(node.inputs[0])),
                allowed="the input, a neuron or a flatten of them",
                remedy="put a neuron between, or run the passes up to quantize",
            )
        if isinstance(node.op, Flatten):
            depth[node.name] = depth[node.inputs[0]]
        elif isinstance(node.op, Neuron):
            synapses = incoming(graph, node)
            earliest = {s.name: depth[s.inputs[0]] + 1 for s in synapses}
            depth[node.name] = max(earliest.values())
            arrivals += [
                Arrival(
                    node.name,
                    s.name,
                    s.inputs[0],
                    earliest[s.name],
                    depth[node.name] - earliest[s.name],
                )
                for s in synapses
            ]
        elif not isinstance(node.op, (*SYNAPSES, Add)):
            raise ScheduleError(
                f"Lava has no place for {type(node.op).__name__}",
                where=graph.origin(node.name),
                allowed="synapses, sums into neurons, neurons, flatten",
                remedy="recurrent and delayed networks are not lowered to Lava yet"
                if node.op.delays
                else "run the passes of the compiler first",
            )
    return Schedule(depth, tuple(arrivals))


def incoming(graph: Graph, neuron: Node) -> list[Node]:
    """The synapses whose currents meet at a neuron, through any sums between them."""
    found: list[Node] = []
    stack = list(neuron.inputs)
    while stack:
        node = graph.producer(stack.pop(0))
        if node is not None and isinstance(node.op, Add):
            stack = [*node.inputs, *stack]
        elif node is not None and isinstance(node.op, SYNAPSES):
            found.append(node)
        else:
            raise ScheduleError(
                "something that is no synapse feeds a neuron",
                where=graph.origin(neuron.name),
                found="the input" if node is None else f"{type(node.op).__name__} {node.name}",
                remedy="run lower_gates first",
            )
    return found
