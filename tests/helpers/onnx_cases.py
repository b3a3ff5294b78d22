"""Random quantized graphs with thresholds that are met, and the comparison of two traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)

LOIHI = FixedPoint()
CHANNELS = 4
SYNAPSES = ("plain", "grouped", "dilated", "depthwise", "strided")
NEURONS = (
    "if",
    "if soft",
    "leaky",
    "leaky soft",
    "slow leak",  # decay 4095/4096: the product of a small membrane loses most to rounding
    "memoryless",
    "saturating up",
    "saturating down",
    "saturating soft",
    "negative drift",
)
JOINS = ("none", "and", "or", "iand", "xor", "fan-in")
POOLS = ("none", "plain", "padded")


@dataclass(frozen=True)
class Block:
    """Synapse, neuron, join with the block's input, pool."""

    synapse: str
    bias: bool
    neuron: str
    join: str
    pool: str
    feedback: int  # a loop through a delay of so many steps; 0 for none


@dataclass(frozen=True)
class Layout:
    """What hypothesis shrinks; the weights follow from the seed."""

    steps: int
    batch: int
    size: int
    blocks: tuple[Block, ...]
    readout: str
    seed: int


@dataclass(frozen=True)
class Case:
    """A graph and an input (T, B, C, H, W) for it."""

    graph: Graph
    x: np.ndarray[Any, Any]


def choose_layout(pick: Callable[[Sequence[Any]], Any]) -> Layout:
    """A layout from a function that picks one of several options."""
    blocks = tuple(
        Block(
            pick(SYNAPSES),
            pick((False, True)),
            pick(NEURONS),
            pick(JOINS),
            pick(POOLS),
            pick((0, 0, 1, 2)),
        )
        for _ in range(pick((1, 2, 3)))
    )
    readout = pick(("integrator", "leaky integrator", "if", "leaky soft", "memoryless"))
    return Layout(pick((1, 3, 6)), pick((1, 2)), pick((4, 6)), blocks, readout, pick(range(2**16)))


def layout_of(seed: int) -> Layout:
    """The layout number ``seed``, always the same."""
    rng = np.random.default_rng(seed)
    return choose_layout(lambda options: options[int(rng.integers(len(options)))])


class _Writer:
    """Appends nodes and keeps a typed graph, so that thresholds can be set to what is seen."""

    def __init__(self, layout: Layout) -> None:
        self.rng = np.random.default_rng(layout.seed)
        shape = (CHANNELS, layout.size, layout.size)
        self.graph = Graph((Edge("x", shape, SPIKE),), (), ("x",), layout.steps)
        rate = self.rng.choice([0.1, 0.3, 0.6, 1.0])
        self.x = (self.rng.random((layout.steps, layout.batch, *shape)) < rate).astype(np.uint8)

    def add(self, name: str, op: Op, *reads: str, edge: Edge | None = None) -> str:
        node = Node(op, reads, edge or Edge(name, (), SPIKE), origin=f"net.{name}")
        self.graph = self.graph.rebuilt((*self.graph.nodes, node), (name,))
        return name

    def close(self, name: str, source: str) -> None:
        """Let the delay ``name`` read ``source``, which was written after it."""
        (stand_in,) = next(n.inputs for n in self.graph.nodes if n.name == name)
        nodes = [replace(n, inputs=(source,)) if n.name == name else n for n in self.graph.nodes]
        self.graph = self.graph.rebuilt(
            (n for n in nodes if n.name != stand_in), self.graph.outputs
        )

    def weights(self, *shape: int) -> Array:
        return self.rng.integers(-128, 128, shape).astype(np.float64)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.edge(name).shape

    def neuron(self, name: str, kind: str, current: str) -> str:
        grid = 2**LOIHI.decay_bits
        decay, reset = 1.0, "subtract" if "soft" in kind else "zero"
        if kind.startswith("leaky"):
            decay = int(self.rng.integers(1, grid)) / grid
        elif kind == "slow leak":
            decay = (grid - 1) / grid
        elif kind == "memoryless":
            decay = 0.0
        if "saturating" in kind or kind == "negative drift":
            sign = {"negative drift": -1, "saturating down": -1}.get(kind, 1)
            pushes = {"negative drift": (200, 2000)}.get(kind, (50_000, 131_000))
            size = self.rng.integers(*pushes, (self.shape(current)[0],))
            tail = (1,) * (len(self.shape(current)) - 1)
            # Where nothing arrives, the push of a bias still does: weights are zero.
            push = Conv2d(np.zeros((CHANNELS, CHANNELS, 1, 1)), sign * size)
            pushed = self.add(f"{name}_push", push, current_source(self.graph, current, tail))
            current = self.add(f"{name}_pushed", Add(), current, pushed)
        initial = float(self.rng.choice([0, 0, 3, -5]))
        seen = self._membranes(current, decay, initial)
        threshold = self._threshold(seen, decay, len(self.shape(current)))
        if kind == "saturating soft":
            threshold = np.array(float(self.rng.integers(20_000, 40_000)))
        own = {"amount": np.floor(threshold / 2) + 1} if kind == "leaky soft" else {}
        op = Neuron(threshold, decay, reset, initial=initial, fixed=LOIHI, **own)
        return self.add(name, op, current)

    def _membranes(self, current: str, decay: float, initial: float) -> Array:
        """What the membrane would be if it never fired, in weights: (T, B, *shape)."""
        probe = Node(
            Neuron(np.array(0.0), decay, "none", initial=initial, fixed=FixedPoint(width=40)),
            (current,),
            Edge("probe", (), SPIKE),
        )
        graph = self.graph.rebuilt((*self.graph.nodes, probe), ("probe",))
        return run(graph, self.x, record=["probe"]).membranes["probe"] / 2**LOIHI.fraction_bits

    def _threshold(self, seen: Array, decay: float, rank: int) -> Array:
        """Values that membranes reach exactly, or miss by one count; one, or one per channel."""
        per_channel = rank == 3 and bool(self.rng.random() < 0.5)
        groups = np.moveaxis(seen, 2, 0) if per_channel else [seen]
        values = []
        for group in groups:
            positive = group[(group > 0) & (group < 131_071)]
            value = self.rng.choice(positive) if positive.size else 1.0
            count = 1 / 2**LOIHI.fraction_bits
            if decay in (0.0, 1.0):
                value, count = max(1.0, np.floor(value)), 1.0
            values.append(value + count * self.rng.choice([0, 0, 1]))
        return np.array(values)[:, None, None] if per_channel else np.array(values[0])


def current_source(graph: Graph, name: str, tail: tuple[int, ...]) -> str:
    """A spike edge (C, H, W) with the shape of the edge ``name``."""
    shape = graph.edge(name).shape
    return next(e.name for e in graph.edges() if e.shape == shape and e.domain <= SPIKE)


def realise(layout: Layout) -> Case:
    """The graph of a layout."""
    w = _Writer(layout)
    last = "x"
    for k, block in enumerate(layout.blocks):
        last = _block(w, k, block, last)
    flat = w.add("flat", Flatten(), last)
    head = w.add("head", Linear(w.weights(5, w.shape(flat)[0]), w.weights(5)), flat)
    if "integrator" in layout.readout:
        decay = 0.875 if "leaky" in layout.readout else 1.0
        w.add("out", Neuron(np.array(0.0), decay, "none", fixed=LOIHI), head)
    else:
        w.neuron("out", layout.readout, head)
    return Case(replace(w.graph, outputs=("out", last) if last != "x" else ("out",)), w.x)


def _block(w: _Writer, k: int, block: Block, source: str) -> str:
    size = w.shape(source)[1]
    per_group = {"grouped": 2, "depthwise": 1}.get(block.synapse, CHANNELS)
    spread = 2 if block.synapse == "dilated" and size > 2 else 1
    conv = Conv2d(
        w.weights(CHANNELS, per_group, 3, 3),
        w.weights(CHANNELS) if block.bias else None,
        stride=(2, 1) if block.synapse == "strided" else (1, 1),
        padding=(spread, spread),
        dilation=(spread, spread),
        groups=CHANNELS // per_group,
    )
    same_size = block.synapse != "strided"
    current = w.add(f"conv{k}", conv, source)
    late = f"late{k}"
    if block.feedback:
        edge = Edge(late, w.shape(current), SPIKE)
        spikes = f"spikes{k}"  # written below; the loop is closed when it is
        zeros = w.add(f"rest{k}", Neuron(np.array(1e5), 0.0, fixed=LOIHI), current)
        w.add(late, Delay(block.feedback), zeros, edge=edge)
        weight = w.weights(CHANNELS, 1, 1) if block.bias else np.array(-37.0)
        back = w.add(f"back{k}", Scale(weight), late)
        current = w.add(f"loop{k}", Add(), current, back)
    if block.join == "fan-in" and same_size:
        skip = w.add(f"skip{k}", Scale(w.weights(CHANNELS, 1, 1)), source)
        current = w.add(f"sum{k}", Add(), current, skip)
    kind = block.neuron
    if not same_size and ("saturating" in kind or kind == "negative drift"):
        kind = "if"  # the push needs a spike edge of the same size
    last = w.neuron(f"spikes{k}", kind, current)
    if block.feedback:
        w.close(late, spikes)
    if block.join in ("and", "or", "iand", "xor") and same_size:
        last = w.add(f"gate{k}", Gate(block.join), last, source)
    if block.pool != "none" and w.shape(last)[1] >= 2:
        padding = (1, 1) if block.pool == "padded" else (0, 0)
        last = w.add(f"pool{k}", MaxPool2d((2, 2), (2, 2), padding), last)
    return last


def difference(expected: Trace, found: Trace, graph: Graph) -> str:
    """The first place where two traces differ; empty where they are equal bit for bit.

    Every neuron's spikes (an integrator's values), membranes and currents are compared, and every
    output.
    """
    neurons = [n.name for n in graph.nodes if isinstance(n.op, Neuron)]
    pairs = [
        (f"%{name}", expected.values[name], found.values[name])
        for name in dict.fromkeys((*neurons, *graph.outputs))
    ]
    pairs += [
        (f"membrane of %{name}", expected.membranes[name], found.membranes[name])
        for name in neurons
    ]
    assert found.currents.keys() == expected.currents.keys()
    pairs += [(f"current of %{n}", u, found.currents[n]) for n, u in expected.currents.items()]
    for what, a, b in pairs:
        if a.shape != b.shape:
            return f"{what}: shapes {a.shape} and {b.shape}"
        if not np.array_equal(a, b):
            at = tuple(int(i) for i in np.argwhere(a != b)[0])
            return f"{what} at {at}: {a[at]} and {b[at]}"
    return ""
