"""Domains proved over loops, against runs; and witnesses that a run confirms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import IMAGE, graph_of
from helpers.onnx_cases import layout_of, realise
from helpers.strategies import chip_graphs, spikes, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, INTEGER, SPIKE, TERNARY, Domain, integer
from purespike.compiler.ir.graph import Edge, Graph, IRError, Node
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    FixedPoint,
    Gate,
    Linear,
    Neuron,
    Relu,
    Scale,
)
from purespike.compiler.proofs.domains import prove_domains
from purespike.compiler.proofs.witness import Witness, find_witness, find_witnesses
from purespike.compiler.rules.graph_rules import check_domains

# Domains over the whole graph.


def assert_proved(graph: Graph, x: Any) -> None:
    proved = prove_domains(graph)
    for name, carried in run(graph, x).values.items():
        assert proved[name].holds(carried), (name, str(proved[name]))
    for edge in graph.edges():
        assert proved[edge.name] <= edge.domain  # verify accepts what is proved


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(chip_graphs(), trained_graphs()), st.integers(0, 2**16))
def test_every_run_stays_in_the_proved_domains(graph: Graph, seed: int) -> None:
    assert_proved(graph, spikes(graph, 6, seed))


@pytest.mark.parametrize("seed", range(30))
def test_runs_of_networks_with_loops_stay_in_the_proved_domains(seed: int) -> None:
    case = realise(layout_of(seed))
    assert_proved(case.graph, case.x)


def looped(op: Any, back: Any, sent: Domain = ANALOG) -> Graph:
    """``y = op(x + back(y late))``, with or without a neuron: the loop alone decides."""
    shape = IMAGE.shape
    nodes = [
        Node(Delay(1), ("y",), Edge("late", shape, sent)),
        Node(back, ("late",), Edge("back", shape, ANALOG)),
        Node(Add(), ("x", "back"), Edge("sum", shape, ANALOG)),
        Node(op, ("sum",), Edge("y", shape, sent)),
    ]
    return Graph((IMAGE,), tuple(nodes), ("y",), 5)


@pytest.mark.parametrize(
    ("op", "back", "late"),
    [
        (Neuron(1.0), Scale(np.asarray(-3.0)), SPIKE),  # whatever returns, it fires or not
        (Scale(np.asarray(1.0)), Scale(np.asarray(1.0)), Domain(0, np.inf, 1)),  # a counter
        (Scale(np.asarray(1.0)), Scale(np.asarray(-1.0)), INTEGER),
        (
            Scale(np.asarray(1.0)),
            Scale(np.asarray(0.0)),
            Domain(0, 1, 0),
        ),  # settles, without a grid
        (Relu(), Scale(np.asarray(-1.0)), Domain(0, 1, 0)),  # settles by itself
        (Scale(np.asarray(1.0)), Scale(np.asarray(0.5)), Domain(0, np.inf, 0)),
    ],
)
def test_loops_settle(op: Any, back: Any, late: Domain) -> None:
    graph = looped(op, back)
    assert prove_domains(graph)["late"] == late
    x = spikes(graph, 8, 0)
    carried = run(graph, x).values["late"]
    assert late.holds(carried)


def test_two_loops_through_one_another() -> None:
    shape = IMAGE.shape
    nodes = [
        Node(Delay(2), ("b",), Edge("late_b", shape, ANALOG)),
        Node(Add(), ("x", "late_b"), Edge("a", shape, ANALOG)),
        Node(Delay(1), ("c",), Edge("late_c", shape, ANALOG)),
        Node(Neuron(2.0), ("a",), Edge("c", shape, SPIKE)),
        Node(Gate("or"), ("late_c", "c"), Edge("b", shape, SPIKE)),
    ]
    graph = Graph((IMAGE,), tuple(nodes), ("b",), 6)
    proved = prove_domains(graph)
    assert proved["late_b"] == proved["late_c"] == SPIKE and proved["a"] == Domain(0, 2, 1)


def test_what_a_graph_says_of_its_edges_is_not_believed() -> None:
    graph = graph_of([("a", Add(), ("x", "x"))])
    lies = replace(graph, nodes=(replace(graph.nodes[0], output=Edge("a", IMAGE.shape, SPIKE)),))
    assert prove_domains(lies)["a"] == Domain(0, 2, 1)
    assert prove_domains(graph_of([("s", Neuron(1.0), ("x",))]))["s"] == SPIKE


def test_a_gate_on_numbers_is_an_error_with_its_place() -> None:
    graph = graph_of([("a", Neuron(1.0), ("x",)), ("g", Gate("or"), ("a", "x"))])
    bad = replace(graph, inputs=(replace(IMAGE, domain=TERNARY),))
    with pytest.raises(IRError, match="takes spikes only") as e:
        prove_domains(bad)
    assert e.value.where == "%g (module g)"


# Witnesses.

CONV = Conv2d(np.full((1, 1, 3, 3), 0.4), None, (1, 1), (1, 1))


def confirmed(graph: Graph, w: Witness) -> float:
    """What an ordinary run carries where the witness says."""
    x = {name: values[:, None] for name, values in w.inputs.items()}
    free = [replace(n, output=replace(n.output, domain=ANALOG)) for n in graph.nodes]
    values = run(replace(graph, nodes=tuple(free)), x).values[w.edge]
    return float(values[(w.step, 0, *w.index)])


def violations() -> Iterator[tuple[str, Graph, str, float]]:
    """(what, graph, edge, the value that must come up)."""
    residual = [
        ("c", CONV, ("x",)),
        ("n", Neuron(1.0), ("c",)),
        ("a", Add(), ("n", "x")),
        ("next", CONV, ("a",)),
        ("out", Neuron(1.0), ("next",)),
    ]
    yield "ADD residual", graph_of(residual), "a", 2.0
    half = [("n", Neuron(1.0), ("x",)), ("h", Scale(np.asarray(0.5)), ("n",))]
    yield "spikes of 0 and 0.5", graph_of(half), "h", 0.5
    constant = [("s", Scale(np.zeros((1, 4, 4))), ("x",)), ("c", CONV, ("s",)),
                ("k", Conv2d(np.zeros((1, 1, 1, 1)), np.array([0.3])), ("x",))]  # fmt: skip
    yield "a constant", graph_of(constant, "k"), "k", 0.3
    pooled = [("n", Neuron(2.0), ("x",)), ("p", AvgPool2d((2, 2), (2, 2)), ("n",))]
    yield "an average pool", graph_of(pooled, steps=4), "p", 0.25
    deep = list(residual[:4])
    for k in range(4):
        deep.append((f"n{k}", Neuron(0.9), ("next" if k == 0 else f"c{k - 1}",)))
        deep.append((f"c{k}", CONV, (f"n{k}",)))
    deep.append(("end", Add(), ("n3", "n2")))
    yield "a late ADD", graph_of(deep), "end", 2.0
    read = [("n", Neuron(np.inf, reset="none", fixed=FixedPoint()), ("x",))]
    yield "a membrane", graph_of(read), "n", 2.0


@pytest.mark.parametrize("case", list(violations()), ids=lambda c: c[0])
def test_witnesses_are_found_and_a_run_confirms_them(case: Any) -> None:
    _, graph, edge, value = case
    w = find_witness(graph, edge)
    assert w is not None and w.value == value == confirmed(graph, w)
    assert not SPIKE.holds(np.array([w.value]))
    again = find_witness(graph, edge)
    assert again is not None and str(again) == str(w) and again.data() == w.data()


def test_witness_of_an_add_needs_few_inputs() -> None:
    graph = next(g for name, g, *_ in violations() if name == "ADD residual")
    w = find_witness(graph, "a")
    assert w is not None
    # 0.4 x 3 reach the threshold 1 in one step; two steps of two spikes do as well.
    assert sum(np.count_nonzero(x) for x in w.inputs.values()) <= 4
    (x,) = w.inputs.values()
    assert not x[w.step + 1 :].any()
    assert w.data()["inputs"]["x"]["nonzero"] == len(w.data()["inputs"]["x"]["values"])


def test_rare_witness_is_found_by_climbing() -> None:
    """Two neurons that each need most of 16 inputs to fire, over four layers."""
    r = np.random.default_rng(0)
    nodes: list[Any] = [("l0", Linear(r.random((16, 16))), ("x",)), ("n0", Neuron(7.0), ("l0",))]
    for k in range(1, 4):
        nodes += [(f"l{k}", Linear(r.random((16, 16)) - 0.2), (f"n{k - 1}",)),
                  (f"n{k}", Neuron(4.0), (f"l{k}",))]  # fmt: skip
    nodes.append(("a", Add(), ("n3", "n2")))
    graph = graph_of(nodes, x=Edge("x", (16,), SPIKE), steps=3)
    w = find_witness(graph, "a")
    assert w is not None and w.value == 2.0 == confirmed(graph, w)


def test_no_witness_where_there_is_none() -> None:
    nodes = [
        ("n", Neuron(1.0), ("x",)),
        ("late", Delay(1), ("n",)),
        ("i", Gate("iand"), ("n", "late")),
        ("a", Gate("and"), ("n", "late")),
        ("sum", Add(), ("i", "a")),  # never both, which domains cannot know
    ]
    graph = graph_of(nodes, steps=4)
    search = find_witnesses(graph, ["sum"], budget=50)
    assert search.found == {} and search.tries == 50
    assert prove_domains(graph)["sum"] == Domain(0, 2, 1)


DOMAINS = [
    SPIKE, TERNARY, INTEGER, ANALOG, integer(8), Domain(0.25, 4, 0.5), Domain(3, 3, 1),
    Domain(-np.inf, -2, 1), Domain(2, np.inf, 0.25), Domain(0, 0.5, 0), Domain(1, 1, 0),
    Domain(-np.inf, 0.3, 0), Domain(0, 1, 1 / 9),
]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(DOMAINS), st.integers(0, 99))
def test_inputs_of_any_domain_are_searched_within_it(domain: Domain, seed: int) -> None:
    edge = Edge("x", (3,), domain)
    graph = graph_of([("l", Linear(np.eye(3)), ("x",))], x=edge, steps=2)
    search = find_witnesses(graph, ["x", "l"], seed=seed, budget=20)
    for w in search.found.values():
        assert confirmed(graph, w) == w.value  # run refuses an input outside its domain
    assert ("x" in search.found) == (not domain <= SPIKE)


def test_several_edges_share_one_search() -> None:
    graph = next(g for name, g, *_ in violations() if name == "a late ADD")
    search = find_witnesses(graph, ["a", "end", "n3"])
    assert set(search.found) == {"a", "end"} and search.tries <= 256


def test_finding_carries_the_witness() -> None:
    graph = next(g for name, g, *_ in violations() if name == "ADD residual")
    first, broken = check_domains(graph)
    assert first.status == "PASS" and first.witness is None
    assert broken.status == "FAIL" and broken.where == "next"
    assert broken.measured.startswith("int[0, 2] from a (Add); witness: 2 at step ")
    assert broken.witness is not None and broken.witness["value"] == 2.0


def test_finding_without_a_witness_fails_all_the_same() -> None:
    nodes = [
        ("n", Neuron(1.0), ("x",)),
        ("late", Delay(1), ("n",)),
        ("i", Gate("iand"), ("n", "late")),
        ("a", Gate("and"), ("n", "late")),
        ("sum", Add(), ("i", "a")),
        ("c", CONV, ("sum",)),
    ]
    (finding,) = check_domains(graph_of(nodes, steps=4), budget=30)
    assert finding.status == "FAIL" and finding.witness is None
    assert finding.measured.endswith("no witness found in 30 tries")
