"""Shared currents: the census against the network with every synapse laid out for each reader.

`unshared` writes that network down, one clone of a synapse for each layer of neurons that its
current reaches; there each synapse makes each addition itself, so with weights of one its outputs
add up to its additions. The map onto cores and Lava's program must have the same arrays.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import FIXED, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Relu, Scale
from purespike.compiler.proofs.counts import Counts, dense_census, total_counts
from purespike.compiler.proofs.currents import find_currents
from purespike.compiler.rules.measure import measure
from purespike.judge.evidence import ac_range, layer_counts
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.program import Conv, Dense, Sparse
from purespike.targets.resources.layers import ResourceError, layers

SYNAPSE = Conv2d | Linear | Scale


def unshared(graph: Graph) -> tuple[Graph, dict[str, list[str]]]:
    """The same network without shared currents, and the clones of each synapse."""
    nodes: list[Node] = []
    clones: dict[str, list[str]] = {}
    fresh = iter(range(10**6))

    def current(name: str, made: dict[str, str] | None = None) -> str:
        """Everything between spikes and this edge once more; the name of its copy.

        What is ``made`` as a number needs no copy.
        """
        node = graph.producer(name)
        if node is None or isinstance(node.op, Neuron):
            return name
        if made is not None and name in made:
            return made[name]
        reads = node.inputs
        if not isinstance(node.op, SYNAPSE):
            reads = tuple(current(i, made) for i in node.inputs)
        copy = f"{name}.{next(fresh)}"
        nodes.append(replace(node, inputs=reads, output=replace(node.output, name=copy)))
        if isinstance(node.op, SYNAPSE):
            clones.setdefault(name, []).append(copy)
        if made is not None:
            made[name] = copy
        return copy

    for node in graph.nodes:
        if isinstance(node.op, Neuron):
            nodes.append(replace(node, inputs=(current(node.inputs[0]),)))
    numbers: dict[str, str] = {}
    outputs = tuple(current(o, numbers) for o in graph.outputs)
    return replace(graph, nodes=(), outputs=outputs).rebuilt(nodes), clones


def additions(graph: Graph, name: str, x: Array) -> Array:
    """(T, B) accumulations of a synapse that has one reader: what weights of one add up to."""
    node = graph.producer(name)
    assert node is not None
    spike = run(graph, x).values[node.inputs[0]]
    op: Any = node.op
    if isinstance(op, Scale):
        ones: Any = Scale(np.ones(()))
    else:
        ones = replace(op, weight=np.ones_like(op.weight), bias=None)
    return np.stack([ones.step(None, s)[1].reshape(s.shape[0], -1).sum(axis=1) for s in spike])


def biased(graph: Graph, name: str) -> int:
    """Values of a synapse's bias: each is added at every step."""
    node = graph.producer(name)
    assert node is not None
    bias = getattr(node.op, "bias", None)
    return int(np.prod(node.output.shape)) if bias is not None and bias.any() else 0


class Drawn:
    """A random network in integers whose sums are read again and again."""

    def __init__(self, seed: int, *, delays: bool, output: bool) -> None:
        self.r = np.random.default_rng(seed)
        self.nodes: list[tuple[str, Any, tuple[str, ...]]] = []
        self.spikes, self.currents = ["x"], list[str]()
        for _ in range(int(self.r.integers(2, 5))):
            self.currents.append(self.synapse(self.pick(self.spikes)))
            if len(self.currents) > 1 and self.r.random() < 0.8:
                reads = tuple(self.pick(self.currents) for _ in range(int(self.r.integers(2, 4))))
                self.currents.append(self.put(Add(), *reads))
            if delays and self.r.random() < 0.3:
                self.currents.append(self.put(Delay(1), self.pick(self.currents)))
            for _ in range(int(self.r.integers(1, 3))):
                threshold = np.asarray(float(self.r.integers(1, 6)))
                neuron = Neuron(threshold, fixed=FIXED)
                self.spikes.append(self.put(neuron, self.pick(self.currents)))
        read = {i for _, _, reads in self.nodes for i in reads}
        for name in [n for n, _, _ in self.nodes if n not in read and n not in self.spikes]:
            self.spikes.append(self.put(Neuron(np.asarray(2.0), fixed=FIXED), name))
        outputs = [self.spikes[-1], *([self.pick(self.currents)] if output else [])]
        x = Edge("x", (2, 3, 3), SPIKE)
        self.graph = build((x,), self.nodes, tuple(outputs), 3)

    def pick(self, names: list[str]) -> str:
        return names[int(self.r.integers(len(names)))]

    def put(self, op: Any, *reads: str) -> str:
        self.nodes.append((f"n{len(self.nodes)}", op, reads))
        return self.nodes[-1][0]

    def synapse(self, source: str) -> str:
        if self.r.random() < 0.25:
            return self.put(Scale(np.asarray(float(self.r.integers(1, 4)))), source)
        weight = self.r.integers(-2, 4, (2, 2, 3, 3)).astype(float)
        bias = self.r.integers(0, 2, 2).astype(float) if self.r.random() < 0.5 else None
        return self.put(Conv2d(weight, bias, padding=(1, 1)), source)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_the_census_is_that_of_the_network_without_shared_currents(
    seed: int, delays: bool, output: bool
) -> None:
    graph = Drawn(seed, delays=delays, output=output).graph
    plain, clones = unshared(graph)
    x = spikes(graph, 3, seed % 1000)
    a, b = run(graph, x), run(plain, x)
    for node in graph.nodes:
        if isinstance(node.op, Neuron):
            np.testing.assert_array_equal(a.values[node.name], b.values[node.name])
    found = measure(graph, x)
    dense = dense_census(graph)
    total = np.zeros((3, 3))
    for name, copies in clones.items():
        met = sum(additions(plain, c, x) for c in copies)
        adds = sum(biased(plain, c) for c in copies)
        assert found.counts[name].ac * 3 == pytest.approx(met.sum())
        assert found.counts[name].add == 3 * adds
        np.testing.assert_array_equal(found.events[name], met)
        everything = np.ones((1, 1, 2, 3, 3))
        one = replace(plain.producer(copies[0]), inputs=("x",))
        full = additions(replace(plain, steps=1).rebuilt([one], (one.name,)), one.name, everything)
        assert dense[name] == Counts(ac=len(copies) * full.sum(), add=adds)
        total += met
    for row in layer_counts(graph, found):
        if row.operation in ("Conv2d", "Scale"):
            assert row.arrays == len(clones[row.name])
            assert sum(row.ac_by_step) == pytest.approx(row.counts.ac)
    ends = total.sum(axis=0)
    assert ac_range(graph, found) == (ends.min(), ends.max())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1))
def test_map_lava_and_census_have_the_same_arrays(seed: int) -> None:
    graph = Drawn(seed, delays=False, output=False).graph
    _, clones = unshared(graph)
    arrays = {name: len(copies) for name, copies in clones.items()}
    assert find_currents(graph).arrays == arrays
    on_cores: Counter[str] = Counter()
    for layer in layers(graph):
        for link in layer.links:
            on_cores[link.name] += link.times
    assert on_cores == arrays
    program = emit(graph, schedule(graph), spikes(graph, 1, 0).astype(np.uint8))
    built = Counter(
        p.name.split(".copy")[0]
        for p in program.processes
        if isinstance(p, Conv | Dense | Sparse) and not p.name.endswith((".delay", ".silence"))
    )
    assert {name: built[name] for name in arrays} == arrays


def membrane_shortcut(blocks: int, seed: int = 0) -> Graph:
    """Stem, then blocks: a neuron reads the running current, its convolution is added to it."""
    r = np.random.default_rng(seed)
    nodes: list[tuple[str, Any, tuple[str, ...]]] = [
        ("stem", Conv2d(r.integers(-2, 4, (3, 2, 3, 3)) / 1.0, np.ones(3), padding=(1, 1)), ("x",))
    ]
    running = "stem"
    for k in range(blocks):
        weight = r.integers(-2, 4, (3, 3, 3, 3)) / 1.0
        nodes += [
            (f"n{k}", Neuron(np.asarray(4.0)), (running,)),
            (f"conv{k}", Conv2d(weight, padding=(1, 1)), (f"n{k}",)),
            (f"sum{k}", Add(), (running, f"conv{k}")),
        ]
        running = f"sum{k}"
    nodes.append(("last", Neuron(np.asarray(4.0)), (running,)))
    return build((Edge("x", (2, 4, 4), SPIKE),), nodes, ("last",), 3)


def test_a_membrane_shortcut_network_by_hand() -> None:
    """Three blocks: stem and sums reach 4, 3, 2 and 1 layers of neurons."""
    graph = membrane_shortcut(3)
    x = spikes(graph, 2, 0)
    values = run(graph, x).values
    once = dict.fromkeys(("stem", "conv0", "conv1", "conv2"), 0)
    source = {"stem": "x", "conv0": "n0", "conv1": "n1", "conv2": "n2"}
    for name, read in source.items():
        for t, b, _c, i, j in np.argwhere(values[read]):
            assert t < 3 and b < 2
            for di, dj in product((-1, 0, 1), repeat=2):
                once[name] += 3 * (0 <= i + di < 4 and 0 <= j + dj < 4)  # three output channels
    readers = {"stem": 4, "conv0": 3, "conv1": 2, "conv2": 1}
    found = measure(graph, x)
    assert {n: found.counts[n].ac * 2 for n in once} == {n: once[n] * readers[n] for n in once}
    assert found.counts["stem"].add == 4 * 3 * 3 * 16  # a bias of four layers, at three steps
    assert [found.counts[f"sum{k}"] for k in range(3)] == [Counts()] * 3
    # What other tools say: a module that is called once counts once.
    columns = found.conventions["total"]
    assert columns["purespike"]["ac"] * 2 == sum(once[n] * readers[n] for n in once)
    zero = sum(int((graph.producer(n).op.weight == 0).any()) for n in once)  # type: ignore[union-attr]
    assert zero and columns["NeuroBench"]["ac"] * 2 < sum(once.values())
    assert found.conventions["aap"]["firing_rate"] <= 1.0


def test_a_current_that_is_a_number_too_is_made_once_more_and_its_sum_is_computed() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)), np.ones(1))
    neuron = Neuron(1.0)
    shared = [("c", conv, ("x",)), ("d", conv, ("x",)), ("s", Add(), ("c", "d"))]
    both = graph_of([*shared, ("n", neuron, ("s",)), ("m", neuron, ("d",))], "n", "m", "s")
    found = find_currents(both)
    assert found.arrays == {"c": 2, "d": 3}
    assert dense_census(both)["s"] == Counts(add=16)
    assert dense_census(both)["d"] == Counts(ac=48, add=48)
    relu = graph_of([*shared, ("r", Relu(), ("s",)), ("n", neuron, ("r",))])
    assert find_currents(relu).arrays == {"c": 1, "d": 1}
    assert dense_census(relu)["s"] == Counts(add=16)
    chained = graph_of([*shared, ("t", Scale(2.0), ("s",)), ("n", neuron, ("t",)),
                        ("m", neuron, ("t",))], "n", "m")  # fmt: skip
    assert find_currents(chained).arrays == {"c": 1, "d": 1, "t": 2}
    assert dense_census(chained)["t"] == Counts(mul=32)


def test_spikes_that_meet_a_current_without_a_synapse_are_added_one_by_one() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)))
    nodes: list[Any] = [
        ("c", conv, ("x",)),
        ("s", Add(), ("c", "x", "x")),
        ("n", Neuron(2.0), ("s",)),
        ("m", Neuron(2.0), ("s",)),
    ]
    graph = graph_of(nodes, "n", "m")
    x = spikes(graph, 2, 0)
    found = measure(graph, x)
    assert found.counts["c"].ac * 2 == 2 * x.sum()
    assert found.counts["n"].ac * 2 == found.counts["m"].ac * 2 == 2 * x.sum()
    assert found.events["n"].shape == (3, 2) and found.counts["s"] == Counts()
    assert {(k.name, k.times) for layer in layers(graph) for k in layer.links} == {
        ("c", 1),
        ("x", 2),
    }


def test_numbers_and_loops_without_a_neuron_are_no_currents() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)))
    mixed = graph_of(
        [("c", conv, ("x",)), ("r", Relu(), ("x",)), ("s", Add(), ("c", "r")),
         ("n", Neuron(1.0), ("s",)), ("m", Neuron(1.0), ("s",))], "n", "m",
    )  # fmt: skip
    assert find_currents(mixed).arrays == {"c": 1} and dense_census(mixed)["s"].add == 16
    late = Edge("late", (1, 4, 4), ANALOG)
    loop = build(
        (Edge("x", (1, 4, 4), SPIKE),),
        [("c", conv, ("x",)), ("s", Add(), ("c", "late")), ("n", Neuron(1.0), ("s",)),
         ("late", Delay(1), ("s",))], ("n",), 2, loops=(late,),
    )  # fmt: skip
    assert find_currents(loop).arrays == {"c": 1}
    with pytest.raises(ResourceError, match="no neuron in it"):
        layers(loop)
    with pytest.raises(ResourceError, match="a number reaches a neuron"):
        layers(build((late,), [("n", Neuron(1.0), ("late",))], ("n",), 2))


def test_the_host_makes_a_number_once() -> None:
    stem = Conv2d(np.ones((1, 1, 1, 1)))
    graph = build(
        (Edge("x", (1, 4, 4), ANALOG),),
        [("c", stem, ("x",)), ("n", Neuron(1.0), ("c",)), ("m", Neuron(2.0), ("c",)),
         ("d", stem, ("n",)), ("a", Neuron(1.0), ("d",)), ("b", Neuron(2.0), ("d",))],
        ("a", "b"), 2,
    )  # fmt: skip
    assert find_currents(graph).arrays == {"c": 2, "d": 2}
    host = [replace(n, role="host") if n.name in ("c", "n", "m") else n for n in graph.nodes]
    assert find_currents(graph.rebuilt(host)).arrays == {"c": 1, "d": 2}


def test_long_chains_and_doubled_sums_take_no_time() -> None:
    nodes: list[Any] = [("c", Scale(1.0), ("x",))]
    last = "c"
    for k in range(60):
        nodes.append((f"s{k}", Add(), (last, last)))
        last = f"s{k}"
    graph = graph_of([*nodes, ("n", Neuron(1.0), (last,))])
    assert find_currents(graph).arrays == {"c": 2**60}
    deep = membrane_shortcut(300)
    assert find_currents(deep).arrays["stem"] == 301


def test_flattens_and_linear_layers() -> None:
    graph = graph_of(
        [("c", Conv2d(np.ones((1, 1, 1, 1))), ("x",)), ("n", Neuron(1.0), ("c",)),
         ("f", Flatten(), ("c",)), ("fx", Flatten(), ("n",)),
         ("l", Linear(np.ones((16, 16))), ("fx",)), ("s", Add(), ("f", "l")),
         ("m", Neuron(1.0), ("s",)), ("k", Neuron(3.0), ("l",))], "m", "k",
    )  # fmt: skip
    assert find_currents(graph).arrays == {"c": 2, "l": 2}
    assert total_counts(dense_census(graph).values()).ac == 2 * 16 + 2 * 256
