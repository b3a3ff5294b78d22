"""The independent checker against the compiler's rules, and alone against damaged files."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adversarial import breaking_graphs, holding_graphs
from adversarial.case import Case
from helpers.checker_cases import broken, edit, insert, judged, put, remove, residual
from helpers.nir_cases import graphs
from helpers.strategies import chip_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler import checker
from purespike.compiler.checker import Statement, inspect
from purespike.compiler.checker.statement import read_statement
from purespike.compiler.checker.values import (
    ANYTHING,
    SPIKES,
    ZERO,
    Values,
    granularity,
    scaled,
    weighted,
)
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.ops import Delay, FixedPoint, Flatten, Linear, Neuron, Scale
from purespike.targets.nir.emit import to_document, write_nir
from purespike.targets.nir.errors import NirError

pytestmark = pytest.mark.usefixtures("parsed_here")

Edit = Callable[[Any, list[tuple[str, str]]], None]
CASES = [*breaking_graphs.corpus.cases, *holding_graphs.corpus.cases]


def compare(graph: Graph, *, strict: bool) -> bool | None:
    """Both verdicts on one graph; None if NIR cannot say it."""
    try:
        document = to_document(graph, strict=strict)
    except NirError:
        return None
    verdict = inspect(document.nodes, document.edges, read_statement(document.metadata))
    records = json.loads(document.metadata)["nodes"]
    names = {r["name"]: r["node"] for r in records if "node" in r}
    rules = broken(graph)
    synapses = {names[where] for rule, where in rules if rule == "PS001"}
    found = {p.node for p in verdict.problems if p.kind == "synapse"}
    assert found & set(names.values()) == synapses
    assert bool(verdict.problems) == bool(rules), (rules, verdict.problems)
    return not rules


def test_it_shares_no_code_with_what_it_checks() -> None:
    """The import contract says it to import-linter; this says it of the files themselves."""
    folder = Path(str(checker.__file__)).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("purespike"):
                allowed = ("purespike.compiler.checker", "purespike.compiler.errors")
                assert str(node.module).startswith(allowed), (path.name, node.module)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_both_agree_on_the_honesty_corpus(case: Case, strict: bool) -> None:
    graph = case.make()
    assert isinstance(graph, Graph)
    try:
        compare(graph, strict=strict)
    except PurespikeError:  # not well formed: nothing to emit
        assert case.expected


def test_a_current_that_is_added_twice_is_no_multiplication() -> None:
    """NIR has no double edges; the second time it comes from a synapse with the same weights."""
    (case,) = [c for c in CASES if c.name == "sum_of_sums_of_currents"]
    graph = case.make()
    assert isinstance(graph, Graph)
    document = to_document(graph)
    twin = document.nodes["a.times2"]
    assert twin["type"] == "Linear" and np.array_equal(
        twin["weight"], document.nodes["a"]["weight"]
    )
    assert compare(graph, strict=False)


@pytest.mark.parametrize("between", [Flatten(), Delay(1)])
def test_a_current_is_one_however_it_is_handed_on(between: Op) -> None:
    """Weights of 0 or 1 make a current that looks like spikes, also flattened or late."""
    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("scale", Scale(np.zeros(())), ("x",)),
        ("between", between, ("scale",)),
        ("fc", Linear(np.array([[2.0, 3.0, -1.0]])), ("between",)),
        ("out", Neuron(np.array(1.0), fixed=FixedPoint()), ("fc",)),
    ]
    graph = build((Edge("x", (3,), SPIKE),), nodes, ("out",), 2)
    assert ("PS001", "fc") in {(r, w) for r, w in broken(graph)}
    assert compare(graph, strict=False) is False


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=st.one_of(graphs(), chip_graphs()), strict=st.booleans())
def test_both_agree_on_random_graphs(graph: Graph, strict: bool) -> None:
    _agree(graph, strict)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=st.one_of(graphs(), chip_graphs()), strict=st.booleans())
def test_both_agree_on_many_random_graphs(graph: Graph, strict: bool) -> None:
    _agree(graph, strict)


def _agree(graph: Graph, strict: bool) -> None:
    chip = replace(graph, nodes=tuple(replace(n, role="main") for n in graph.nodes))
    try:
        nodes = to_document(chip, strict=strict).nodes
    except NirError:
        return
    # Spikes that a graph adds twice without a synapse get one in the file, which makes them legal.
    if not any(".times" in n and f["type"] == "Scale" for n, f in nodes.items()):
        compare(chip, strict=strict)


# ---- damaged files: the checker alone ---------------------------------------------------------


def half(nodes: Any, edges: Any) -> None:
    insert(nodes, edges, ("n1", "conv2"), type="Scale", scale=np.full((2, 4, 4), 0.5))


def half_a_current(nodes: Any, edges: Any) -> None:
    insert(nodes, edges, ("conv1", "n1"), type="Scale", scale=np.full((2, 4, 4), 0.5))


def relay_removed(nodes: Any, edges: Any) -> None:
    remove(nodes, edges, "or.a")


def neuron_removed(nodes: Any, edges: Any) -> None:
    remove(nodes, edges, "n1")


def average(nodes: Any, edges: Any) -> None:
    insert(
        nodes,
        edges,
        ("n1", "conv2"),
        type="AvgPool2d",
        kernel_size=np.array([1, 1]),
        stride=np.array([1, 1]),
        padding=np.array([0, 0]),
    )


def sum_of_spikes(nodes: Any, edges: Any) -> None:
    edges.append(("or", "conv2"))


def leak(nodes: Any, edges: Any) -> None:
    ones = np.ones((2, 4, 4))
    put(nodes, "n1", type="LIF", tau=2e-3 * ones, r=2 * ones, v_leak=0 * ones, v_threshold=4 * ones)


def gain(nodes: Any, edges: Any) -> None:
    put(nodes, "n1", type="IF", r=np.full((2, 4, 4), 0.5), v_threshold=np.full((2, 4, 4), 4.0))


def never_fires(nodes: Any, edges: Any) -> None:
    put(nodes, "n1", type="I", r=np.ones((2, 4, 4)))


def unknown(nodes: Any, edges: Any) -> None:
    insert(nodes, edges, ("conv1", "n1"), type="Softmax")


def output_of_a_current(nodes: Any, edges: Any) -> None:
    remove(nodes, edges, "read")


def no_weight(nodes: Any, edges: Any) -> None:
    del nodes["n1"]["v_threshold"]
    del nodes["n1"]["r"]
    nodes["n1"]["r"] = "one"


MUTANTS: list[tuple[Edit, set[tuple[str, str]]]] = [
    (half, {("synapse", "conv2")}),
    (half_a_current, {("synapse", "inserted")}),
    (relay_removed, {("operation", "or")}),
    (neuron_removed, {("synapse", "conv2"), ("synapse", "or.a")}),
    (average, {("operation", "inserted"), ("synapse", "conv2")}),
    (sum_of_spikes, {("synapse", "conv2")}),
    (leak, {("leak", "n1")}),
    (gain, {("gain", "n1")}),
    (never_fires, {("synapse", "conv2"), ("synapse", "or.a")}),
    (unknown, {("unknown", "inserted"), ("operation", "n1")}),
    (output_of_a_current, {("operation", "output")}),
    (no_weight, {("unknown", "n1")}),
]


@pytest.mark.parametrize("strict", [False, True], ids=["plain", "strict"])
def test_the_file_as_written_is_spike_only(tmp_path: Path, strict: bool) -> None:
    write_nir(residual(), tmp_path / "m.nir", strict=strict)
    verdict = judged(tmp_path / "m.nir")
    assert verdict.problems == ()
    assert (verdict.synapses, verdict.neurons) == ((6, 5) if strict else (5, 4))
    assert verdict.values["n1"] == SPIKES and verdict.values["flat"].spikes


@pytest.mark.parametrize(("change", "expected"), MUTANTS, ids=[m[0].__name__ for m in MUTANTS])
def test_a_mutant_is_caught_by_the_file_alone(
    tmp_path: Path, change: Edit, expected: set[tuple[str, str]]
) -> None:
    write_nir(residual(), tmp_path / "m.nir")
    edit(tmp_path / "m.nir", change)
    found = {(p.kind, p.node) for p in judged(tmp_path / "m.nir").problems}
    assert found == expected


def test_inputs_are_what_the_file_or_the_caller_declares(tmp_path: Path) -> None:
    document = to_document(residual())
    nobody = inspect(document.nodes, document.edges, Statement(dt=1.0))
    assert {p.kind for p in nobody.problems} == {"input", "synapse"}
    spikes = inspect(document.nodes, document.edges, Statement(dt=1.0, spike_inputs=True))
    assert not spikes.problems
    claimed = json.loads(document.metadata)
    claimed["inputs"][0]["domain"] = [0.0, 1.0, 0.5]
    stated = read_statement(json.dumps(claimed))
    found = inspect(document.nodes, document.edges, stated).problems
    assert [(p.kind, p.node) for p in found] == [("input", "x"), ("synapse", "conv1")]


def test_without_dt_no_leak_is_taken_for_harmless() -> None:
    ones = np.ones(2)
    nodes: dict[str, Any] = {
        "in": {"type": "Input", "shape": np.array([2])},
        "w": {"type": "Linear", "weight": np.eye(2)},
        "n": {"type": "LIF", "tau": ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones},
        "out": {"type": "Output", "shape": np.array([2])},
    }
    edges = (("in", "w"), ("w", "n"), ("n", "out"))
    (problem,) = inspect(nodes, edges, Statement(spike_inputs=True)).problems
    assert problem.kind == "leak" and "without a dt" in problem.why
    # tau = dt: everything is forgotten each step, nothing is multiplied
    assert not inspect(nodes, edges, Statement(dt=1.0, spike_inputs=True)).problems


@pytest.mark.parametrize("text", ["", "{}", '{"dt": 1, "inputs": 3, "nodes": []}', "[" * 100_000])
def test_metadata_that_says_nothing_is_one_error(text: str) -> None:
    with pytest.raises(PurespikeError, match="independent check"):
        read_statement(text)


def test_a_host_node_may_not_read_the_chip() -> None:
    document = to_document(residual())
    stated = replace(read_statement(document.metadata), host=frozenset({"conv2", "n2"}))
    found = inspect(document.nodes, document.edges, stated).problems
    assert [(p.kind, p.node) for p in found] == [("operation", "conv2")]


def test_loops_come_to_an_end() -> None:
    """An algebraic loop of linear layers grows without end; one through neurons does not."""
    one = np.ones((1, 1))
    nodes: dict[str, Any] = {
        "in": {"type": "Input", "shape": np.array([1])},
        "a": {"type": "Linear", "weight": one},
        "b": {"type": "Linear", "weight": 0.5 * one},
        "s": {"type": "Threshold", "threshold": np.zeros(1)},
        "out": {"type": "Output", "shape": np.array([1])},
    }
    edges = (("in", "a"), ("a", "b"), ("b", "a"), ("a", "s"), ("s", "out"))
    verdict = inspect(nodes, edges, Statement(dt=1.0, spike_inputs=True))
    assert verdict.values["a"].hi == math.inf and verdict.values["s"] == SPIKES
    assert {p.node for p in verdict.problems} == {"a", "b"}


# ---- the values -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=6, max_size=6),
    st.lists(st.integers(-3, 3), min_size=2, max_size=2),
    st.sampled_from([SPIKES, Values(-1, 2, 1), Values(0, 4, 2), Values(0, 1, 0.25), ZERO]),
)
def test_weighted_sums_hold_every_sum(weights: list[int], bias: list[int], x: Values) -> None:
    weight, shift = np.array(weights, float).reshape(2, 3), np.array(bias, float)
    out = weighted(weight, shift, x)
    step = 0.25 if math.isinf(x.grid) else x.grid
    choices = np.arange(x.lo, x.hi + step / 2, step)
    sums = [
        float(w @ np.array([a, b, c]) + s)
        for w, s in zip(weight, shift, strict=True)
        for a in choices
        for b in choices
        for c in choices
    ]
    assert out.lo <= min(sums) and max(sums) <= out.hi
    if out.grid and math.isfinite(out.grid):
        assert all((s / out.grid).is_integer() for s in sums)
    elif out.grid:
        assert not any(sums)


def test_values_join_add_and_say_themselves() -> None:
    assert (ZERO | SPIKES) == SPIKES and str(SPIKES) == "spikes" and str(ZERO) == "spikes"
    assert not (SPIKES + SPIKES).spikes and str(SPIKES + SPIKES) == "whole numbers, 0 to 2"
    current = weighted(np.array([[1.0]]), None, SPIKES)
    assert (current.lo, current.hi, current.grid) == (0, 1, 1) and not current.spikes
    assert str(scaled(np.array([0.5]), SPIKES)) == "multiples of 0.5, 0 to 0.5"
    assert str(ANYTHING) == "real numbers, -inf to inf"
    assert (Values(0, 6, 6) | Values(0, 4, 4)).grid == 2
    assert (Values(0, 1, 0.3) + Values(0, 1, 0.7)).grid == 0
    endless = weighted(np.array([[0.0, 1.0]]), None, ANYTHING)
    assert (endless.lo, endless.hi) == (-math.inf, math.inf)
    still = weighted(np.zeros((1, 2)), None, ANYTHING)
    assert (still.lo, still.hi) == (0, 0)


@pytest.mark.parametrize("size", [1, 7, 200_000])
def test_numbers_are_looked_at_in_parts_as_a_whole(size: int) -> None:
    """Against the plain definition, on all of them at once."""
    r = np.random.default_rng(size)
    whole = r.integers(-9, 10, size)
    for x in (3.0 * whole, 0.5 * whole, np.zeros(size), np.full(size, 0.3), whole * 2.0**60):
        used = np.abs(x[x != 0])
        same = used.size == 0 or bool((used == used[0]).all())
        plain = used.size > 0 and bool((np.rint(used) == used).all()) and used.max() < 2**53
        expected = used[0] if used.size and same else math.inf if same else 0.0
        if plain and not same:
            expected = float(np.gcd.reduce(used.astype(np.int64)))
        assert granularity(x) == expected
        assert granularity(x.astype(np.float32)) == granularity(x.astype(np.float32).astype(float))
    rows = whole.astype(np.int8)[None]
    found = weighted(np.concatenate([rows, -rows]), None, SPIKES)
    total = np.abs(whole).sum()
    assert found.hi - found.lo >= total and found.hi <= total and found.lo >= -total
    assert granularity(np.array([1.0, np.nan])) == 0.0
