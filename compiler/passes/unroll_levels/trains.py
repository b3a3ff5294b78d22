"""Which edges carry counts, and the spike trains whose sum each of them is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Delay,
    Flatten,
    Levels,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.rewrite import per_channel
from purespike.compiler.proofs.currents import is_current

LINEAR = (Flatten, Delay, AvgPool2d, TimeMean)


class LevelsError(Refusal):
    """Counts that no spikes can say, or not with as many neurons as are allowed."""

    rule = "PS001"


@dataclass(frozen=True, eq=False)
class Train:
    """Spikes that count for something.

    Attributes:
        name: Their edge.
        worth: Of each: a number, or an array that broadcasts to the counts.
        signs: (K,) of the K channels in a row that each channel of counts is (case 10), or None.
        channels: Of the counts, where there are signs.
    """

    name: str
    worth: Array
    signs: Array | None = None
    channels: int = 0

    def shape(self, counts: Shape) -> Shape:
        """Of the spikes, from that of the counts."""
        return counts if self.signs is None else (counts[0] * len(self.signs), *counts[1:])

    @property
    def plain(self) -> bool:
        """Does a spike count as one?"""
        return self.signs is None and bool((self.worth == 1).all())


def _hosted(graph: Graph) -> set[str]:
    """The edges between an analog input and the first spikes behind it, as `split_host` has it."""
    analog = {e.name for e in graph.inputs if not e.domain <= SPIKE}
    for node in graph.nodes:
        fires = isinstance(node.op, Levels) and node.role != "host"
        fires = fires or (isinstance(node.op, Neuron) and node.op.fires)
        if not fires and any(i in analog for i in node.inputs):
            analog.add(node.name)
    return analog


def find_trains(graph: Graph) -> dict[str, tuple[Train, ...]]:
    """The trains of every edge that carries counts; a delay may read what is written behind it."""
    found: dict[str, tuple[Train, ...]] = {}
    hosted = _hosted(graph)
    while True:
        before = len(found)
        for node in graph.nodes:
            made = None if node.name in found else _made(graph, node, found, hosted)
            if made is not None:
                found[node.name] = made
        if len(found) == before:
            return found


def _made(
    graph: Graph, node: Node, known: dict[str, tuple[Train, ...]], hosted: set[str]
) -> tuple[Train, ...] | None:
    op = node.op
    if isinstance(op, Levels) and node.role == "host":
        return None
    if isinstance(op, Levels):
        if node.output.domain <= SPIKE:
            return (Train(node.name, np.ones(())),)  # one neuron, which keeps its name
        above, below = len(op.thresholds), op.levels - len(op.thresholds)
        if node.inputs[0] in hosted:  # case 10
            if op.decay and graph.steps > 1:
                raise LevelsError(
                    "an encoder on the host that keeps a membrane and sends counts has no form",
                    where=graph.origin(node.name),
                    found=f"{op.details()}, {graph.steps} steps",
                    allowed="level activations without memory behind an analog input",
                    remedy="end the encoder in a level activation of decay 0, or in a neuron that "
                    "fires once per step",
                )
            signs = np.repeat([1.0, -1.0], [above, below])
            channels = node.output.shape[0] if node.output.shape else 0
            return (Train(f"{node.name}.levels", np.ones(()), signs, channels),)
        return (
            *(Train(f"{node.name}.level{d + 1}", np.ones(())) for d in range(above)),
            *(Train(f"{node.name}.level-{e + 1}", -np.ones(())) for e in range(below)),
        )
    if isinstance(op, Add):  # case 6
        plain = all(
            i in known or (graph.edge(i).domain <= SPIKE and not is_current(graph, i))
            for i in node.inputs
        )
        if not plain or not any(i in known for i in node.inputs):
            return None
        return tuple(t for i in node.inputs for t in known.get(i, (Train(i, np.ones(())),)))
    source = known.get(node.inputs[0])
    if source is None:
        return None
    if isinstance(op, Scale):  # a level scale, or a synapse: its readers decide
        return tuple(replace(t, worth=t.worth * op.factor) for t in source)
    if isinstance(op, (*LINEAR, MaxPool2d)):
        worths = [_moved(graph, node, t.worth) for t in source]
        names = [numbered(node.name, k, len(source)) for k in range(len(source))]
        return tuple(
            replace(t, name=n, worth=w) for t, n, w in zip(source, names, worths, strict=True)
        )
    return None


def _moved(graph: Graph, node: Node, worth: Array) -> Array:
    """What the spikes behind a flatten or a pool are worth."""
    shape = graph.edge(node.inputs[0]).shape
    if not worth.ndim or isinstance(node.op, Delay | TimeMean):
        return worth
    if isinstance(node.op, Flatten):
        return np.broadcast_to(worth, shape).reshape(-1)
    channels = per_channel(worth, shape)
    if channels is None:
        raise refused(graph, node, "a pool of counts whose factor varies within a channel")
    return channels.reshape(-1, 1, 1)


def refused(graph: Graph, node: Node, what: str) -> LevelsError:
    """The error at a node that does what spikes cannot."""
    return LevelsError(
        f"{what} has no form in spikes",
        where=graph.origin(node.name),
        found=f"{type(node.op).__name__} of {graph.edge(node.inputs[0])}",
        allowed="convolutions, linear layers, sums, flattens, delays, average pools, and max pools "
        "of one activation",
        remedy="put a level activation in front of it, or pool in front of the activation",
    )


def numbered(name: str, k: int, count: int) -> str:
    """The name of a copy; of the only one the name itself."""
    return f"{name}.level{k + 1}" if count > 1 else name
