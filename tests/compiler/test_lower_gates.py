"""Gates and identity joins become synapses and memoryless neurons, bit for bit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import trained_graphs
from hypothesis import HealthCheck, given, settings

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
)
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.quantize.quantize import quantize

ONE = Conv2d(np.full((1, 1, 1, 1), 0.7))


def gate_of(kind: Any, names: list[str]) -> Graph:
    inputs = tuple(Edge(n, (1,), SPIKE) for n in dict.fromkeys(names))
    return build(inputs, [("g", Gate(kind), tuple(names))], ("g",), 1)


TABLES = [(k, n) for k in ("and", "or", "xor") for n in ("ab", "ba", "abc", "aab", "aa", "abcd")]
TABLES += [("iand", "ab"), ("iand", "ba"), ("iand", "aa")]


@pytest.mark.parametrize(("kind", "names"), TABLES)
def test_truth_tables(kind: Any, names: str) -> None:
    before = gate_of(kind, list(names))
    after = lower_gates(before)
    verify(after)
    assert not any(isinstance(n.op, Gate) for n in after.nodes)
    rows = np.array(list(product([0.0, 1.0], repeat=len(before.inputs))))
    x = {e.name: rows[None, :, k : k + 1] for k, e in enumerate(before.inputs)}
    bits = [[row[before.inputs.index(before.edge(n))] > 0 for n in names] for row in rows]
    wanted = {
        "and": [all(b) for b in bits],
        "or": [any(b) for b in bits],
        "xor": [sum(b) % 2 == 1 for b in bits],
        "iand": [not b[0] and b[1] for b in bits],
    }[kind]
    for graph in (before, after):
        np.testing.assert_array_equal(run(graph, x).values["g"][0, :, 0], wanted)


def test_case_1_or() -> None:
    before = gate_of("or", ["a", "b"])
    assert_printed(
        lower_gates(before),
        """
        %a: 1 spike = input
        %b: 1 spike = input
        %g.in0: 1 spike = Scale(%a, x 1)
        %g.in1: 1 spike = Scale(%b, x 1)
        %g.sum: 1 int[0, 2] = Add(%g.in0, %g.in1)
        %g: 1 spike = Neuron(%g.sum, threshold 1, decay 0, reset zero)
        } -> %g
        """,
    )


def test_case_2_and() -> None:
    assert_printed(
        lower_gates(gate_of("and", ["a", "b", "a"])),
        """
        %a: 1 spike = input
        %b: 1 spike = input
        %g.in0: 1 spike = Scale(%a, x 1)
        %g.in1: 1 spike = Scale(%b, x 1)
        %g.in2: 1 spike = Scale(%a, x 1)
        %g.sum: 1 int[0, 3] = Add(%g.in0, %g.in1, %g.in2)
        %g: 1 spike = Neuron(%g.sum, threshold 3, decay 0, reset zero)
        } -> %g
        """,
    )


def test_case_3_iand() -> None:
    assert_printed(
        lower_gates(gate_of("iand", ["a", "b"])),
        """
        %a: 1 spike = input
        %b: 1 spike = input
        %g.in0: 1 int[-1, 0] = Scale(%a, x -1)
        %g.in1: 1 spike = Scale(%b, x 1)
        %g.sum: 1 ternary = Add(%g.in0, %g.in1)
        %g: 1 spike = Neuron(%g.sum, threshold 1, decay 0, reset zero)
        } -> %g
        """,
    )


def test_case_4_xor() -> None:
    assert_printed(
        lower_gates(gate_of("xor", ["a", "b"])),
        """
        %a: 1 spike = input
        %b: 1 spike = input
        %g.and.in0: 1 spike = Scale(%a, x 1)
        %g.and.in1: 1 spike = Scale(%b, x 1)
        %g.and.sum: 1 int[0, 2] = Add(%g.and.in0, %g.and.in1)
        %g.and: 1 spike = Neuron(%g.and.sum, threshold 2, decay 0, reset zero)
        %g.in0: 1 spike = Scale(%a, x 1)
        %g.in1: 1 spike = Scale(%b, x 1)
        %g.in2: 1 int[-2, 0] by 2 = Scale(%g.and, x -2)
        %g.sum: 1 int[-2, 2] = Add(%g.in0, %g.in1, %g.in2)
        %g: 1 spike = Neuron(%g.sum, threshold 1, decay 0, reset zero)
        } -> %g
        """,
    )


def test_case_5_spike_added_to_a_current() -> None:
    before = graph_of(
        [("c", ONE, ("x",)), ("a", Add(), ("c", "x")), ("n", Neuron(1.0, 0.5), ("a",))]
    )
    after = lower_gates(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %c: 1x4x4 analog[0, 0.7] = Conv2d(%x, 1x1x1x1, stride (1, 1), pad (0, 0))
        %a.in1: 1x4x4 spike = Scale(%x, x 1)
        %a: 1x4x4 analog[0, 1.7] = Add(%c, %a.in1)
        %n: 1x4x4 spike = Neuron(%a, threshold 1, decay 0.5, reset zero)
        } -> %n
        """,
    )
    assert_same_outputs(before, after)


def reach_neurons_through_synapses(graph: Graph) -> bool:
    """What ``lower_gates`` leaves: every current comes from a synapse or a sum of synapses."""

    def is_current(name: str) -> bool:
        node = graph.producer(name)
        if node is not None and isinstance(node.op, Add):
            return all(map(is_current, node.inputs))
        return node is not None and isinstance(node.op, SYNAPSES)

    return all(is_current(n.inputs[0]) for n in graph.nodes if isinstance(n.op, Neuron))


@pytest.mark.parametrize(
    "identity",
    [
        [("i", Gate("or"), ("x", "x"))],
        [("i", Delay(1), ("x",))],
        [("i", Neuron(1.0), ("c",))],
        [("i", Add(), ("x", "c"))],  # a sum in a sum
    ],
)
def test_case_5_whatever_made_the_spike(identity: list[Any]) -> None:
    before = graph_of(
        [("c", ONE, ("x",)), *identity, ("a", Add(), ("c", "i")), ("n", Neuron(1.0), ("a",))]
    )
    after = lower_gates(before)
    assert reach_neurons_through_synapses(after), after
    assert_same_outputs(before, after)
    assert_same_outputs(after, lower_gates(after))


@pytest.mark.parametrize("source", ["x", "f", "g", "n0"])
def test_case_5_spikes_straight_into_a_neuron(source: str) -> None:
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("g", Gate("and"), ("x", "x")),
            ("n0", Neuron(0.5), ("x",)),
            ("n", Neuron(2.0, 0.5), (source,)),
        ]
    )
    after = lower_gates(before)
    assert reach_neurons_through_synapses(after), after
    assert_same_outputs(before, after)
    quantize(after)


def test_spikes_in_one_sum_twice() -> None:
    before = graph_of([("a", Add(), ("x", "x")), ("n", Neuron(2.0), ("a",))])
    after = lower_gates(before)
    assert reach_neurons_through_synapses(after)
    assert_same_outputs(before, after)


def test_sew_add_stays() -> None:
    before = graph_of(
        [
            ("n0", Neuron(1.0), ("x",)),
            ("a", Add(), ("n0", "x")),
            ("c", ONE, ("a",)),
            ("n", Neuron(1.0), ("c",)),
        ]
    )
    after = lower_gates(before)
    node = after.producer("a")
    assert node is not None and node.inputs == ("n0", "x")
    assert not after.edge("a").domain <= SPIKE


def test_gate_in_a_loop() -> None:
    # x or what it was two steps ago: the delay reads the gate before the gate is written.
    spike = Edge("", (1, 4, 4), SPIKE)
    nodes = [
        Node(Delay(2), ("g",), Edge("d", spike.shape, SPIKE)),
        Node(Gate("xor"), ("x", "d"), Edge("g", spike.shape, SPIKE)),
    ]
    before = Graph((Edge("x", spike.shape, SPIKE),), tuple(nodes), ("g",), 5)
    assert_same_outputs(before, lower_gates(before))


def test_role_and_origin_are_the_gates() -> None:
    gate = Node(Gate("or"), ("x", "x"), Edge("g", (), SPIKE), "auxiliary", "net.gate")
    after = lower_gates(graph_of([("f", Flatten(), ("x",))]).rebuilt([gate], ("g",)))
    assert {(n.role, n.origin) for n in after.nodes} == {("auxiliary", "net.gate")}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trained_graphs())
def test_random_graphs(graph: Graph) -> None:
    graph = fold_scales(fuse_batchnorm(graph))
    after = lower_gates(graph)
    assert not any(isinstance(n.op, Gate) for n in after.nodes)
    assert_same_outputs(graph, after)


def test_one_layer_networks() -> None:
    before = graph_of([("f", Flatten(), ("x",)), ("l", Linear(np.ones((2, 16))), ("f",))])
    assert lower_gates(before) == before
    before = graph_of([("s", Scale(0.5), ("x",)), ("n", Neuron(1.0), ("s",))])
    assert str(lower_gates(before)) == str(before)
