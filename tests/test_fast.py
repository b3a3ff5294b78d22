"""The cpu executor does the interpreter's work: what is measured must not know the difference."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from helpers import random_graphs
from helpers.recurrent_cases import recurrent_graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from purespike.compiler.ir.carried import carried
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import SYNAPSES, Conv2d, Linear, Neuron
from purespike.compiler.proofs.counts import met, spikes_by_step
from purespike.compiler.rules.conventions import neurobench_layer, syops_layer
from purespike.compiler.rules.measure import decide, decisions, measure
from purespike.flow.build import build as make_build
from purespike.judge import fast as judged
from purespike.judge.executors import make_golden
from purespike.judge.fast import CrossCheck, execute, fast, replayed
from purespike.options import Options
from purespike.subject import Subject
from purespike.targets.agreement import Mismatch
from purespike.targets.cpu.library import kernels
from purespike.targets.cpu.run import Runner

needs_kernel = pytest.mark.skipif(isinstance(kernels(), str), reason="no kernel library")


def alone(op: Op, shape: tuple[int, ...], steps: int) -> Graph:
    return build((Edge("x", shape, SPIKE),), [("y", op, ("x",))], ("y",), steps)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)


def assert_measures_the_same(graph: Graph, x: NDArray[Any]) -> None:
    quick = fast(graph)
    assert quick is not None
    slow, quicker = measure(graph, x), measure(graph, x, fast=quick)
    wrong = [
        f.name for f in fields(slow) if not same(getattr(slow, f.name), getattr(quicker, f.name))
    ]
    assert not wrong, (wrong, str(graph))
    whole = run(graph, x)
    np.testing.assert_array_equal(quicker.decisions, decide(graph, whole))
    np.testing.assert_array_equal(decisions(graph, x, execute=execute), decide(graph, whole))
    for name, rate in quicker.rates.items():
        assert rate == pytest.approx(whole.values[name].mean(), rel=1e-12)
        by_step = whole.values[name].reshape(graph.steps, -1).mean(axis=1)
        np.testing.assert_allclose(quicker.step_rates[name], by_step, rtol=1e-12)
    names = [n.inputs[0] for n in graph.nodes if isinstance(n.op, SYNAPSES)]
    spikes = carried(graph, x, quick(x, ()), names).values
    for name in names:
        np.testing.assert_array_equal(spikes[name], whole.values[name])
    labels = np.zeros(x.shape[1], np.int64)
    ours, theirs = make_golden(graph, x, labels, quick), make_golden(graph, x, labels)
    assert same(ours.spikes, theirs.spikes) and same(ours.membranes, theirs.membranes)


@needs_kernel
@given(graph=recurrent_graphs(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_recurrent_networks_measure_the_same(graph: Graph, seed: int) -> None:
    r = np.random.default_rng(seed)
    x = (r.random((graph.steps, 3, *graph.inputs[0].shape)) < 0.4).astype(np.uint8)
    assert_measures_the_same(graph, x)


@needs_kernel
@pytest.mark.parametrize("seed", range(12))
def test_compiled_networks_measure_the_same(seed: int) -> None:
    sample = random_graphs.captured(seed)
    graph = random_graphs.compiled(sample).graph
    assert fast(graph) is not None
    assert_measures_the_same(graph, sample.x)


@pytest.mark.parametrize("seed", range(8))
def test_fan_outs_are_what_a_second_convolution_counts(seed: int) -> None:
    """`sum(spikes x fan-out)` against a convolution of ones with the non-zero weights."""
    r = np.random.default_rng(seed)
    groups = int(r.choice([1, 2]))
    w = r.integers(-2, 3, (4, 6 // groups, int(r.integers(1, 4)), int(r.integers(1, 4))))
    op = Conv2d(w.astype(float), np.ones(4), (int(r.integers(1, 3)), 1), (1, 2), (1, 2), groups)
    x = (r.random((3, 2, 6, 9, 8)) < 0.3).astype(np.uint8)
    graph = alone(op, x.shape[2:], len(x))
    node = graph.nodes[0]
    bare = replace(op, weight=(op.weight != 0).astype(np.float64), bias=None)
    work = sum(float(bare.step(None, now.astype(np.float64))[1].sum()) for now in x)
    for given_as in (x, x.astype(np.float64)):
        assert neurobench_layer(node, given_as).ac == work
        assert syops_layer(node, given_as) == syops_layer(node, x.astype(np.float64))
    linear = Linear(r.integers(-1, 2, (5, 432)).astype(float))
    flat = x.reshape(3, 2, -1)
    node = alone(linear, (432,), 3).nodes[0]
    ones = replace(linear, weight=(linear.weight != 0).astype(np.float64))
    work = sum(float(ones.step(None, now.astype(np.float64))[1].sum()) for now in flat)
    assert neurobench_layer(node, flat).ac == work


def test_a_sum_of_spikes_is_exact_where_a_float_would_not_be() -> None:
    x = np.ones((1, 1, 3, 1), np.uint8)
    reach = np.array([[2.0**24], [1.0], [1.0]])
    assert met(x, reach)[0, 0] == 2**24 + 2


@needs_kernel
def test_an_executor_that_lies_is_found_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = random_graphs.integer(3)
    assert CrossCheck.of(sample.graph, sample.x).fast is not None
    first = next(n.name for n in sample.graph.nodes if isinstance(n.op, Neuron) and n.op.fires)
    true_run = Runner.run

    def lies(self: Runner, x: Any) -> Trace:
        trace = true_run(self, x)
        trace.values[first][-1, -1].flat[0] ^= 1
        return trace

    monkeypatch.setattr(Runner, "run", lies)
    check = CrossCheck.of(sample.graph, sample.x)
    assert check.fast is None
    assert [row.layer for row in check.rows() if row.different] == [first]


def test_the_interpreter_repeats_a_few_samples_of_a_large_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = random_graphs.integer(3).graph
    assert len(replayed(graph, 50)) == 50
    monkeypatch.setattr(judged, "OPERATIONS", 1.0)
    assert list(replayed(graph, 50)) == [0]


@needs_kernel
def test_every_other_executor_runs_the_samples_that_the_interpreter_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the report counts is what ran, and a difference is at its own sample."""
    monkeypatch.setattr(judged, "OPERATIONS", 1.0)
    x = (np.random.default_rng(0).random((3, 9, 6)) < 0.5).astype(np.uint8)
    w = np.random.default_rng(1).integers(-3, 4, (4, 6)).astype(float)
    nodes = [("y", Linear(w), ("x",)), ("z", Neuron(np.array(2.0)), ("y",))]
    graph = build((Edge("x", (6,), SPIKE),), nodes, ("z",), 3)
    built = make_build(Subject("small", graph, (6,), x), Options(lava="none"))
    assert built.golden is not None and len(built.golden.labels) == 9
    assert {e.name: e.samples for e in built.report.executors} == dict.fromkeys(
        ("ONNX Runtime", "cpu", "NIR, read back"), 1
    )
    row = Mismatch("z", "spikes", 10, 1, (2, 0, 5), (0.0, 1.0))
    assert row.among(np.array([7])).first == (2, 7, 5)
    assert replace(row, first=None).among(np.array([7])).first is None


@needs_kernel
def test_what_a_runner_gave_is_not_touched_by_its_next_run() -> None:
    sample = random_graphs.integer(3)
    runner = Runner(sample.graph, membranes=True)
    first = runner.run(sample.x)
    kept = {n: v.copy() for n, v in first.membranes.items()}
    again = runner.run(1 - sample.x)
    assert kept and all(np.array_equal(first.membranes[n], v) for n, v in kept.items())
    whole = run(sample.graph, 1 - sample.x)
    for name in kept:
        np.testing.assert_array_equal(again.membranes[name], whole.membranes[name])


def test_spikes_of_a_step_are_counted_alike_in_bytes_and_in_numbers() -> None:
    x = (np.random.default_rng(2).random((4, 3, 5, 6)) < 0.3).astype(np.uint8)
    for given_as in (x, x.view(np.int8), np.moveaxis(x, 3, 2), x.astype(np.float64)):
        np.testing.assert_array_equal(spikes_by_step(given_as), x.reshape(4, -1).sum(axis=1))
