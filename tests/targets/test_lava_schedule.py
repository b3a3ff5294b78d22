"""Lava's clock: slack tables worked out by hand, and nothing misaligned in random graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import chip_graphs
from hypothesis import HealthCheck, given, settings

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.targets.lava.lower.schedule import Arrival, ScheduleError, incoming, schedule

ONE = Conv2d(np.ones((1, 1, 1, 1)))
N = Neuron(1.0)


def residual(gate: Any) -> Graph:
    """Stem, two convolutions beside the identity, joined by ``gate``."""
    return lower_gates(
        graph_of(
            [
                ("stem.c", ONE, ("x",)),
                ("stem", N, ("stem.c",)),
                ("a.c", ONE, ("stem",)),
                ("a", N, ("a.c",)),
                ("b.c", ONE, ("a",)),
                ("b", N, ("b.c",)),
                ("join", gate, ("b", "stem")),
            ]
        )
    )


def rows(arrivals: tuple[Arrival, ...]) -> list[tuple[str, str, str, int, int]]:
    return [(a.neuron, a.synapse, a.source, a.earliest, a.delay) for a in arrivals]


def test_chain() -> None:
    graph = graph_of(
        [
            ("c", ONE, ("x",)),
            ("n", N, ("c",)),
            ("f", Flatten(), ("n",)),
            ("l", Linear(np.ones((2, 16))), ("f",)),
            ("o", Neuron(np.inf, reset="none"), ("l",)),
        ]
    )
    plan = schedule(graph)
    assert plan.depth == {"x": 0, "n": 1, "f": 1, "o": 2}
    assert plan.latency == 2
    assert plan.joins() == () and set(plan.delays.values()) == {0}


def test_residual_join() -> None:
    plan = schedule(residual(Gate("or")))
    assert plan.depth == {"x": 0, "stem": 1, "a": 2, "b": 3, "join": 4}
    assert rows(plan.joins()) == [
        ("join", "join.in0", "b", 4, 0),
        ("join", "join.in1", "stem", 2, 2),
    ]
    assert plan.misaligned() == ()


def test_residual_join_by_xor() -> None:
    plan = schedule(residual(Gate("xor")))
    assert plan.depth["join.and"] == 4 and plan.depth["join"] == 5
    assert rows(plan.joins()) == [
        ("join.and", "join.and.in0", "b", 4, 0),
        ("join.and", "join.and.in1", "stem", 2, 2),
        ("join", "join.in0", "b", 4, 1),
        ("join", "join.in1", "stem", 2, 3),
        ("join", "join.in2", "join.and", 5, 0),
    ]


def test_current_residual_with_a_convolution_on_the_short_branch() -> None:
    graph = graph_of(
        [
            ("c1", ONE, ("x",)),
            ("n1", N, ("c1",)),
            ("c2", ONE, ("n1",)),
            ("d", ONE, ("x",)),
            ("a", Add(), ("c2", "d")),
            ("b", Add(), ("a", "c1")),
            ("n2", N, ("b",)),
        ]
    )
    plan = schedule(graph)
    assert rows(plan.joins()) == [
        ("n2", "c2", "n1", 2, 0),
        ("n2", "d", "x", 1, 1),
        ("n2", "c1", "x", 1, 1),
    ]
    assert plan.delays["n1", "c1"] == 0 and plan.delays["n2", "c1"] == 1


def test_misaligned_arrivals_are_found() -> None:
    plan = schedule(residual(Gate("or")))
    wrong = replace(plan, arrivals=(*plan.arrivals[:-1], replace(plan.arrivals[-1], delay=1)))
    assert rows(wrong.misaligned()) == [("join", "join.in1", "stem", 2, 1)]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chip_graphs())
def test_random_graphs_are_aligned(graph: Graph) -> None:
    plan = schedule(graph)
    assert plan.misaligned() == ()
    longest = {e.name: 0 for e in graph.inputs}  # the longest path in synapses, node by node
    for node in graph.nodes:
        step = 1 if isinstance(node.op, SYNAPSES) else 0
        longest[node.name] = step + max(longest[i] for i in node.inputs)
    for name, depth in plan.depth.items():
        assert depth == longest[name]
    for a in plan.arrivals:
        assert a.delay >= 0 and a.earliest + a.delay == plan.depth[a.neuron]


@pytest.mark.parametrize(
    ("nodes", "message", "where", "remedy"),
    [
        ([("g", Gate("or"), ("x", "x"))], "no place for Gate", "g", "passes of the compiler"),
        ([("p", AvgPool2d((2, 2), (2, 2)), ("x",))], "no place for AvgPool2d", "p", "passes"),
        ([("m", TimeMean(3), ("x",))], "no place for TimeMean", "m", "passes"),
        (
            [("c", ONE, ("x",)), ("d", Delay(1), ("c",)), ("n", N, ("c",))],
            "a delay reads what is not a spike",
            "d",
            "quantize",
        ),
        ([("d", Delay(1), ("x",)), ("n", N, ("d",))], "not a synapse feeds a neuron", "n", "lower"),
        ([("n", N, ("x",))], "not a synapse feeds a neuron", "n", "lower_gates"),
        (
            [("a", Add(), ("x", "x")), ("n", N, ("a",))],
            "not a synapse feeds a neuron",
            "n",
            "lower",
        ),
        (
            [("c", ONE, ("x",)), ("d", ONE, ("c",)), ("n", N, ("d",))],
            "a synapse reads what is not a spike",
            "d",
            "quantize",
        ),
        (
            [("c", ONE, ("x",)), ("f", Flatten(), ("c",)), ("n", N, ("c",))],
            "a flatten reads what is not a spike",
            "f",
            "quantize",
        ),
    ],
)
def test_refused(nodes: list[Any], message: str, where: str, remedy: str) -> None:
    with pytest.raises(ScheduleError, match=message) as e:
        schedule(graph_of(nodes))
    assert e.value.where == where and remedy in e.value.remedy


def test_incoming_follows_sums_in_order() -> None:
    graph = graph_of(
        [
            ("p", Scale(1.0), ("x",)),
            ("q", Scale(2.0), ("x",)),
            ("r", Scale(3.0), ("x",)),
            ("a", Add(), ("q", "r")),
            ("b", Add(), ("p", "a")),
            ("n", N, ("b",)),
        ]
    )
    assert [s.name for s in incoming(graph, graph.nodes[-1])] == ["p", "q", "r"]
