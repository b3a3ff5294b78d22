"""When each layer sees what: Lava's synapses take one step each, so joins have to be aligned.

A layer ``k`` synapses away from the input sees logical step t at Lava step t + k. Where branches
of different length meet, the shorter one is delayed; the table of joins says by how much. Samples
follow each other without a gap: layer k resets when step 0 of the next sample reaches it, so a run
of n samples takes ``n * T + depth`` steps.

Delays and loops: the steps of Lava's synapses count towards a delay, the rest is added. Spikes
that are under way when a sample ends must not reach the next one, so samples are ``gap`` steps
apart, the longest delay, and the neurons before a delay are held silent in between (`silence.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import SYNAPSES, Add, Delay, Flatten, Neuron


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
        arrivals: One row per synapse, in order of evaluation.
        gap: Silent steps between two samples, in which delayed spikes of the first run out.
        silenced: Neurons whose spikes are delayed: they must not fire in the gap.
    """

    depth: dict[str, int]
    arrivals: tuple[Arrival, ...]
    gap: int = 0
    silenced: tuple[str, ...] = ()

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


@dataclass(frozen=True, eq=False)
class Line:
    """The way of spikes to a synapse.

    Attributes:
        source: The neuron or input that sends them.
        flattened: Whether a flatten lies on the way.
        waits: Steps of the delays on the way, one number or one for each place of the source.
    """

    source: str
    flattened: bool
    waits: int | Array

    @property
    def least(self) -> int:
        """Steps of the place that waits least."""
        return int(np.min(self.waits))

    @property
    def most(self) -> int:
        """Steps of the place that waits longest."""
        return int(np.max(self.waits))


def schedule(graph: Graph) -> Schedule:
    """As soon as possible: no layer comes before its spikes do, and none before step 1.

    A layer of depth d sees logical step t at Lava step t + d, and a synapse takes a step, so a
    delay of k steps from a layer s to a layer n is kept exactly when ``depth(s) + 1 + added =
    depth(n) + k`` with ``added >= 0``: the least depths are longest paths with weights 1 - k. Where
    the synapses of a loop outnumber the steps of its delays there are none, and it is refused.

    Args:
        graph: A graph of synapses, sums into neurons, neurons, flattens and delays.

    Raises:
        ScheduleError: If the graph holds anything else, or a loop that Lava's clock cannot keep.
    """
    for node in graph.nodes:
        _check(graph, node)
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    ways = [(n, s, behind(graph, s.inputs[0])) for n in neurons for s in incoming(graph, n)]
    depth = _depths(graph, ways)
    gap = max((line.most for _, _, line in ways), default=0)
    # With delays, a silent sample comes first: whatever biases did before step 0 is then forgotten.
    lead = graph.steps + gap if gap else 0
    depth = {name: lead + d for name, d in depth.items()}
    for node in graph.nodes:
        if isinstance(node.op, Flatten | Delay):
            line = behind(graph, node.name)
            depth[node.name] = depth[line.source] - line.least
    arrivals = tuple(
        Arrival(
            n.name,
            s.name,
            s.inputs[0],
            depth[s.inputs[0]] + 1,
            depth[n.name] - depth[s.inputs[0]] - 1,
        )
        for n, s, _ in ways
    )
    late = {line.source for _, _, line in ways if line.most}
    silenced = tuple(n.name for n in neurons if n.name in late)
    ordered = {e.name: depth[e.name] for e in graph.edges() if e.name in depth}
    return Schedule(ordered, arrivals, gap, silenced)


def _depths(graph: Graph, ways: list[tuple[Node, Node, Line]]) -> dict[str, int]:
    """The least depths of inputs and neurons (Bellman and Ford's longest paths)."""
    depth = {e.name: 0 for e in graph.inputs} | {n.name: 1 for n, _, _ in ways}
    cause: dict[str, tuple[str, str, int]] = {}
    for _ in range(len(depth) + 1):
        moved = ""
        for n, s, line in ways:
            needed = depth[line.source] + 1 - line.least
            if needed > depth[n.name]:
                depth[n.name], moved = needed, n.name
                cause[n.name] = (line.source, s.name, line.least)
        if not moved:
            return depth
    for _ in depth:  # whatever still moves lies behind a loop: go back until in it
        moved = cause[moved][0]
    loop, waits = [moved], 0
    while len(loop) == 1 or loop[-1] != moved:
        source, synapse, wait = cause[loop[-1]]
        loop += [synapse, source]
        waits += wait
    latency = len(loop) // 2
    raise ScheduleError(
        "a loop is shorter than Lava's clock, in which every synapse takes a step",
        where=graph.origin(moved),
        found=f"the loop {' -> '.join(f'%{n}' for n in reversed(loop))} is delayed by {waits} "
        f"step{'s' if waits > 1 else ''} and takes {latency} steps in Lava",
        allowed=f"a delay of {latency} steps or more round the loop",
        remedy="train with a longer delay in the loop, or with fewer layers in it",
    )


def _check(graph: Graph, node: Node) -> None:
    op = node.op
    if isinstance(op, (*SYNAPSES, Flatten, Delay)):
        source = graph.producer(behind(graph, node.inputs[0]).source)
        if source is not None and not (isinstance(source.op, Neuron) and source.op.fires):
            kind = type(op).__name__.lower() if isinstance(op, Flatten | Delay) else "synapse"
            raise ScheduleError(
                f"a {kind} reads what is not a spike",
                where=graph.origin(node.name),
                found=str(graph.edge(node.inputs[0])),
                allowed="the input, a neuron or a flatten or delay of them",
                remedy="put a neuron between, or run the passes up to quantize",
            )
    elif not isinstance(op, Neuron | Add):
        raise ScheduleError(
            f"Lava has no place for {type(op).__name__}",
            where=graph.origin(node.name),
            allowed="synapses, sums into neurons, neurons, flatten, delay",
            remedy="run the passes of the compiler first",
        )


def behind(graph: Graph, name: str) -> Line:
    """Where the spikes of an edge come from, through flattens and delays."""
    flattened, waits = False, np.zeros(())
    source, seen = name, set[str]()
    while (node := graph.producer(source)) is not None and isinstance(node.op, Flatten | Delay):
        if source in seen:
            raise ScheduleError("a loop has no neuron in it", where=graph.origin(source))
        seen.add(source)
        if isinstance(node.op, Flatten):
            flattened = True
            if waits.ndim:
                waits = waits.reshape(graph.edge(node.inputs[0]).shape)
        elif isinstance(node.op.steps, int):
            waits = waits + node.op.steps
        else:
            waits = waits + np.broadcast_to(node.op.steps, node.output.shape)
        source = node.inputs[0]
    same = bool((waits == waits.flat[0]).all())
    return Line(source, flattened, int(waits.flat[0]) if same else waits)


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
                "something that is not a synapse feeds a neuron",
                where=graph.origin(neuron.name),
                found="the input" if node is None else f"{type(node.op).__name__} {node.name}",
                remedy="run lower_gates first",
            )
    return found
