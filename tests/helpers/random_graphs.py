"""Random networks as they are captured, and every comparison that a compiled one must pass.

All numbers are dyadic and small, so that float64 is exact and passes can be held to equality, ties
included. Directed networks have thresholds that membranes meet exactly or miss by one unit, and
inputs that are all on, or go from one half of the pixels to the other; blind ones are drawn blind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.onnx_cases import Case, layout_of, realise
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.pipeline import Compiled, compile_graph, standard_pipeline
from purespike.targets.bundle import golden_network, replay
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.run import run_cpu
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx import run_onnx, step_model

CHANNELS = 4
EPS = 2.0**-10


@dataclass(frozen=True)
class Sample:
    """A network, inputs (T, B, C, H, W), and whether its numbers are integers from the start."""

    graph: Graph
    x: Array
    whole: bool


class _Writer:
    def __init__(self, seed: int, directed: bool, levels: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.levels = levels
        self.directed = directed
        size, steps = int(self.pick(4, 6)), int(self.pick(2, 4))
        shape = (CHANNELS, size, size)
        self.graph = Graph((Edge("x", shape, SPIKE),), (), ("x",), steps)
        self.x = self.inputs((steps, *shape))
        self.whole = True

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def inputs(self, shape: tuple[int, ...]) -> Array:
        rates = [0.2, 0.5, 0.8]
        trains = [(self.rng.random(shape) < r).astype(float) for r in rates]
        if self.directed:
            half = (self.rng.random(shape[1:]) < 0.5).astype(float)
            first = np.arange(shape[0])[:, None, None, None] < shape[0] // 2
            trains += [np.ones(shape), np.where(first, half, 1 - half)]
        return np.stack(trains, axis=1)

    def add(self, name: str, op: Op, *reads: str, edge: Edge | None = None) -> str:
        node = Node(op, reads, edge or Edge(name, (), SPIKE), origin=f"net.{name}")
        self.graph = self.graph.rebuilt((*self.graph.nodes, node), (name,))
        return name

    def weights(self, *shape: int) -> Array:
        return self.rng.integers(-5, 8, shape).astype(np.float64)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.graph.edge(name).shape

    def spikes(self, name: str) -> bool:
        return self.graph.edge(name).domain <= SPIKE

    def level(self, name: str, current: str) -> str:
        """A level activation, or a neuron that fires several times, whose thresholds are met."""
        decay = float(self.pick(0.0, 0.0, 1.0, 0.5, 0.25))
        self.whole &= decay in (0.0, 1.0)
        probe = Neuron(np.array(0.0), decay, "none")
        seen = self.graph.rebuilt(
            (*self.graph.nodes, Node(probe, (current,), Edge("probe", (), SPIKE))), ("probe",)
        )
        v = run(seen, self.x, record=["probe"]).values["probe"]

        def drawn(v: Array) -> Array:
            many = int(self.pick(1, 2, 3, 4))
            v = v[v > 0] if (v > 0).any() else np.arange(1.0, 5.0)
            up = self.pick(0.0, 0.0, 0.5)
            return np.sort(self.rng.choice(v, many)) + up

        below = drawn(-v) if self.chance(0.25) else None
        amount = np.array(float(self.rng.integers(1, 30)))
        return self.add(name, Levels(drawn(v), decay, amount, below), current)

    def neuron(self, name: str, current: str, *, late: str = "") -> str:
        """A neuron whose threshold its membrane meets; ``late`` reads it through a delay."""
        if self.levels and self.chance(0.7):
            return self.level(name, current)
        kind = self.pick("if", "if", "if", "memoryless", "leaky")
        self.whole &= kind != "leaky"
        decay = {"if": 1.0, "memoryless": 0.0}.get(kind) or self.pick(0.5, 0.75)
        decay = 0.0 if kind == "memoryless" else decay
        initial = float(self.pick(0, 0, 0, 2))
        probe = Neuron(np.array(0.0), decay, "none", initial=initial)
        seen = self.graph.rebuilt(
            (*self.graph.nodes, Node(probe, (current,), Edge("probe", (), SPIKE))), ("probe",)
        )
        v = run(seen, self.x, record=["probe"]).values["probe"]
        v = v[v > 0] if self.directed and (v > 0).any() else self.rng.integers(1, 60, 1) / 1.0
        threshold = float(self.rng.choice(v)) + (self.pick(0, 0, 1) if self.directed else 0)
        if float(threshold).is_integer() is False:
            self.whole = False
        reset = self.pick("zero", "subtract")
        amount = np.array(max(1.0, np.floor(threshold * self.pick(0.5, 1.0))))
        return self.add(name, Neuron(threshold, decay, reset, amount, initial), current)


def captured(seed: int, *, directed: bool = True, levels: bool = False) -> Sample:
    """The network number ``seed``, always the same: residual, gated, pooled, grouped, looped.

    With ``levels`` most neurons send counts, which meet in sums and maxima.
    """
    w = _Writer(seed, directed, levels)
    last = "x"
    for k in range(int(w.pick(1, 2, 3))):
        last = _block(w, k, last)
    size = w.shape(last)
    if w.chance(0.3):
        last = w.add("pool", AvgPool2d(size[1:], (1, 1)), last)
        w.whole = False
        if size[1] * size[2] not in (1, 2, 4, 16):  # keeps every number dyadic
            w.graph = replace(w.graph, nodes=w.graph.nodes[:-1])
            last = w.graph.nodes[-1].name
    flat = w.add("flat", Flatten(), last)
    early = w.graph.steps in (2, 4) and w.chance(0.3)
    flat = w.add("rate", TimeMean(w.graph.steps), flat) if early else flat
    bias = w.weights(3) if w.chance(0.5) else None
    head = w.add("head", Linear(w.weights(3, w.shape(flat)[0]), bias), flat)
    if not early:
        if w.chance(0.5):
            w.add("out", TimeMean(w.graph.steps), head)
        else:
            w.levels = False  # a network does not end in counts of several steps
            w.neuron("out", head)
    return Sample(w.graph, w.x, w.whole)


def _block(w: _Writer, k: int, source: str) -> str:
    size = w.shape(source)[1]
    kind = w.pick("plain", "plain", "grouped", "depthwise", "dilated", "strided", "one")
    per_group = {"grouped": 2, "depthwise": 1}.get(kind, CHANNELS)
    kernel = 1 if kind == "one" else 3
    spread = 2 if kind == "dilated" and size > 2 else 1
    conv = Conv2d(
        w.weights(CHANNELS, per_group, kernel, kernel),
        w.weights(CHANNELS) if w.chance(0.5) else None,
        stride=(2, 1) if kind == "strided" else (1, 1),
        padding=(0, 0) if kernel == 1 else (spread, spread),
        dilation=(spread, spread),
        groups=CHANNELS // per_group,
    )
    current = w.add(f"conv{k}", conv, source)
    if w.chance(0.4):  # variance + eps is 1: the normalisation is exact
        gamma = np.array([w.pick(-1.0, 1.0, 1.0, 2.0) for _ in range(CHANNELS)])
        norm = BatchNorm(gamma, w.weights(CHANNELS), w.weights(CHANNELS), np.full(4, 1 - EPS), EPS)
        current = w.add(f"norm{k}", norm, current)
    if w.chance(0.2):
        current = w.add(f"scale{k}", Scale(np.array(w.pick(2.0, 3.0))), current)
    same = w.shape(current) == w.shape(source)
    if same and w.chance(0.3):
        skip = Conv2d(w.weights(CHANNELS, CHANNELS, 1, 1)) if w.chance(0.5) else None
        other = w.add(f"skip{k}", skip, source) if skip else source
        current = w.add(f"sum{k}", Add(), current, other)
    name, late = f"spikes{k}", f"late{k}"
    loop = w.chance(0.25)
    if loop:
        rest = w.add(f"rest{k}", Neuron(np.array(1e5), 0.0), current)
        w.add(late, Delay(int(w.pick(1, 2))), rest, edge=Edge(late, w.shape(current), SPIKE))
        back = w.add(f"back{k}", Scale(np.array(w.pick(-9.0, 4.0))), late)
        current = w.add(f"loop{k}", Add(), current, back)
    last = w.neuron(name, current)
    if loop:
        nodes = [replace(n, inputs=(name,)) if n.name == late else n for n in w.graph.nodes]
        w.graph = w.graph.rebuilt((n for n in nodes if n.name != f"rest{k}"), (name,))
    counted = not (w.spikes(last) and w.spikes(source))
    one = w.spikes(last) or w.graph.edge(last).domain.lo == 0
    if counted and same and w.chance(0.5):
        last = w.add(f"join{k}", Add(), last, source)
        one = False
    elif same and not counted and w.chance(0.5):
        kinds = [("and", 2), ("or", 2), ("iand", 2), ("xor", 2), ("or", 3)]
        gate, inputs = w.pick(*kinds)
        reads = [last, source, "x"][:inputs] if w.shape("x") == w.shape(last) else [last, source]
        last = w.add(f"gate{k}", Gate(gate), *(reads if w.chance(0.5) else reads[::-1]))
    if w.shape(last)[1] >= 4 and one and w.chance(0.3):
        padding = w.pick((0, 0), (1, 1))
        last = w.add(f"max{k}", MaxPool2d((2, 2), (2, 2), padding), last)
    return last


# Comparisons. Each gives the first difference as text, or nothing.


def compiled(sample: Sample) -> Compiled:
    """Through every pass, each held to its promise and verified."""
    return compile_graph(sample.graph, standard_pipeline(), sample.x)


def pass_alarms(sample: Sample, result: Compiled) -> Iterator[str]:
    """Spikes that a pass changed. Only quantizing real numbers may."""
    for line in result.ledger:
        exact = line.promise.kind != "rewrites meaning"
        moved = (exact and line.deviation != 0.0) or (
            (exact or sample.whole) and line.agreement not in (1.0, None)
        )  # a mean over time is not an integer, so a readout that has one may move
        if moved:
            yield f"{line.name}: outputs moved by {line.deviation}, {line.divergence}"


QUICK = ("cpu", "ONNX Runtime", "replay")


def executor_alarms(
    graph: Graph, x: Array, expected: Trace, names: tuple[str, ...] = QUICK
) -> Iterator[tuple[str, str]]:
    """(executor, difference) on an integer graph, spikes and membranes of every neuron."""
    for name in names:
        execute = EXECUTORS[name]
        try:
            text = difference(expected, execute(graph, x, expected), graph)
        except (PurespikeError, ValueError) as e:  # the script in a bundle knows no errors of ours
            text = str(e)
        if text:
            yield name, text


def _onnx(graph: Graph, x: Array, expected: Trace) -> Trace:
    return run_onnx(step_model(graph), graph, x.astype(np.uint8))


def _cpu(graph: Graph, x: Array, expected: Trace) -> Trace:
    try:
        return run_cpu(graph, x, threads=1)
    except CpuError as error:
        if "32 bits" in str(error):  # too few for this network
            return expected
        raise


def _nir(graph: Graph, x: Array, expected: Trace) -> Trace:
    with tempfile.TemporaryDirectory(prefix="purespike-") as folder:
        write_nir(graph, Path(folder) / "model.nir")
        return run(read_nir(Path(folder) / "model.nir"), x)


def _replay(graph: Graph, x: Array, expected: Trace) -> Trace:
    """The script that lies in every bundle, on the same samples: it says where it differs."""
    if any(isinstance(n.op, Gate | MaxPool2d) for n in graph.nodes):
        return expected  # it runs what the passes leave
    with tempfile.TemporaryDirectory(prefix="purespike-") as folder:
        golden_network.write_golden_network(graph, Path(folder))
        arrays: dict[str, Any] = {"inputs": x.astype(np.uint8)}
        for node in graph.nodes:
            if isinstance(node.op, Neuron):
                arrays[f"membranes/{node.name}"] = expected.membranes[node.name].astype(np.int32)
                if node.op.fires:
                    arrays[f"spikes/{node.name}"] = expected.values[node.name].astype(np.uint8)
        np.savez(Path(folder) / "golden.npz", **arrays)
        wrong = [str(row) for row in replay.replay(Path(folder)) if row.different]
    if wrong:
        raise PurespikeError(wrong[0])
    return expected


EXECUTORS = {"cpu": _cpu, "ONNX Runtime": _onnx, "replay": _replay, "NIR": _nir}


def difference(expected: Trace, found: Trace, graph: Graph) -> str:
    """The first neuron whose spikes or membranes differ."""
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        for what in ("values", "membranes"):
            a, b = getattr(expected, what)[node.name], getattr(found, what)[node.name]
            if a.shape != b.shape or not np.array_equal(a, b):
                return f"{what} of %{node.name}"
    return ""


def integer(seed: int, *, directed: bool = True) -> Sample:
    """A network in integers with wrap, clip, drift and decays at both ends (`onnx_cases`)."""
    case: Case = realise(layout_of(seed))
    if directed:
        return Sample(case.graph, case.x.astype(float), True)
    rng = np.random.default_rng(seed)
    nodes = []
    for node in case.graph.nodes:
        if isinstance(node.op, Neuron) and node.op.fires:
            threshold = np.array(float(rng.integers(1, 300)))
            node = replace(node, op=replace(node.op, threshold=threshold))
        nodes.append(node)
    x = (rng.random(case.x.shape) < 0.3).astype(float)
    return Sample(replace(case.graph, nodes=tuple(nodes)), x, True)
