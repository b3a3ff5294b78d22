"""Random graphs: the golden model equals the interpreter in two executors and two forms."""

from __future__ import annotations

import pytest
from helpers.onnx_cases import Layout, choose_layout, difference, realise
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.interpret import run
from purespike.targets.onnx import float_tensors, run_onnx, sequence_model, step_model


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Residual, gated, pooled, grouped, leaky and looped networks with every neuron kind."""
    return choose_layout(lambda options: draw(st.sampled_from(options)))


def check(layout: Layout) -> None:
    """Spikes and membranes of every neuron at every step, in all four ways to run them."""
    case = realise(layout)
    expected = run(case.graph, case.x)
    # Untapped, the file's own nodes run and are only observed; tapped, it shows all by itself.
    for model in (step_model(case.graph), sequence_model(case.graph, taps=True)):
        assert float_tensors(model) == []
        for executor in ("onnxruntime", "reference"):
            found = run_onnx(model, case.graph, case.x, executor=executor)
            assert difference(expected, found, case.graph) == "", executor


common = {
    "deadline": None,
    "derandomize": True,  # a build must not pass or fail by chance
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=40, **common)
@given(layouts())
def test_random_graphs_are_equal_in_all_executors(layout: Layout) -> None:
    check(layout)


@pytest.mark.slow
@settings(max_examples=300, **common)
@given(layouts())
def test_many_random_graphs_are_equal_in_all_executors(layout: Layout) -> None:
    check(layout)


def test_comparison_sees_one_wrong_value() -> None:
    # The random tests are worth as much as their comparison.
    case = realise(next(lay for lay in _deep()))
    trace = run(case.graph, case.x)
    for table in (trace.values, trace.membranes):
        for name in trace.membranes:
            kept = table[name]
            wrong = kept.copy()
            wrong.flat[wrong.size // 2] += 1
            table[name] = wrong
            assert name in difference(run(case.graph, case.x), trace, case.graph)
            table[name] = kept


def _deep() -> list[Layout]:
    from helpers.onnx_cases import layout_of

    return [lay for lay in map(layout_of, range(50)) if len(lay.blocks) == 3]
