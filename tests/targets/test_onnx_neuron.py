"""Single neurons at the edges of their arithmetic: ties, saturation, drift, extreme decays."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from helpers.onnx_cases import LOIHI, difference

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Add, FixedPoint, Linear, Neuron, Scale
from purespike.targets.onnx import run_onnx, sequence_model, step_model

LIMIT = LOIHI.limit


def single(weight: float, steps: int, inputs: int = 1, **neuron: object) -> Graph:
    """One neuron with equal weights on all of its inputs."""
    op = Neuron(fixed=neuron.pop("fixed", LOIHI), **neuron)
    # A bias carries what 8 bits cannot: currents that saturate the membrane.
    big = abs(weight) > 127
    linear = Linear(np.full((1, inputs), 0.0 if big else weight), np.array([weight * big]))
    return build(
        (Edge("x", (inputs,), SPIKE),),
        [("current", linear, ("x",)), ("n", op, ("current",))],
        ("n",),
        steps,
    )


def same_everywhere(graph: Graph, x: np.ndarray) -> Trace:
    """The interpreter's trace, once all four ways to run the golden model agree with it."""
    expected = run(graph, x)
    for model in (step_model(graph), sequence_model(graph)):
        for executor in ("onnxruntime", "reference"):
            found = run_onnx(model, graph, x, executor=executor)
            assert difference(expected, found, graph) == ""
    return expected


def ones(graph: Graph) -> np.ndarray:
    return np.ones((graph.steps, 1, *graph.inputs[0].shape), np.uint8)


def units(graph: Graph) -> dict[str, int]:
    props = {p.key: p.value for p in step_model(graph).metadata_props}
    return json.loads(props["purespike.membrane_units"])


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize(("threshold", "fires"), [(15, 1), (15 + 1 / 64, 0), (15 - 1 / 64, 1)])
def test_fires_at_a_tie_and_not_one_count_below(reset: str, threshold: float, fires: int) -> None:
    graph = single(5, 3, threshold=np.array(threshold), reset=reset)
    trace = same_everywhere(graph, ones(graph))
    assert trace.values["n"].ravel().tolist() == [0, 0, fires]


def test_tie_of_a_leaky_neuron_at_a_fraction_of_a_weight() -> None:
    # 64 * 5 = 320; 320 * 3000 / 4096 = 234.375 -> 234; 234 + 320 = 554 counts = 8.65625 weights.
    tie = single(5, 2, threshold=np.array(554 / 64), decay=3000 / 4096)
    above = single(5, 2, threshold=np.array(555 / 64), decay=3000 / 4096)
    assert same_everywhere(tie, ones(tie)).values["n"].ravel().tolist() == [0, 1]
    trace = same_everywhere(above, ones(above))
    assert trace.membranes["n"].ravel().tolist() == [320, 554]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("decay", [1.0, 4095 / 4096])
def test_membrane_saturates_at_its_limit(sign: int, decay: float) -> None:
    graph = single(sign * 100_000, 4, threshold=np.array(131_072.0), decay=decay)
    trace = same_everywhere(graph, ones(graph))
    assert trace.membranes["n"].ravel()[-1] == sign * LIMIT
    assert not trace.values["n"].any()


def test_soft_reset_keeps_the_remainder_of_a_saturated_membrane() -> None:
    graph = single(130_000, 3, threshold=np.array(9_000.0), reset="subtract")
    trace = same_everywhere(graph, ones(graph))
    left = 130_000 * 64 - 9_000 * 64
    after = LIMIT - 9_000 * 64  # saturated before the reset, so the remainder is odd
    assert trace.membranes["n"].ravel().tolist() == [left, after, after]


def test_narrow_membrane_saturates_too() -> None:
    narrow = FixedPoint(fraction_bits=3, decay_bits=5, width=9)
    graph = single(-11, 5, threshold=np.array(20.0), decay=31 / 32, fixed=narrow)
    trace = same_everywhere(graph, ones(graph))
    assert trace.membranes["n"].min() == -255


@pytest.mark.parametrize("decay", [0, 1, 2048, 4095, 4096])
def test_negative_drift_rounds_towards_zero(decay: int) -> None:
    graph = single(-3, 12, threshold=np.array(4.0), decay=decay / 4096)
    trace = same_everywhere(graph, ones(graph))
    v = 0
    for found in trace.membranes["n"].ravel():
        v = -(abs(v) * decay // 4096) - 192
        assert found == v


def test_input_that_stops_lets_a_leaky_membrane_die_out() -> None:
    graph = single(-100, 40, threshold=np.array(4.0), decay=1 / 2)
    x = ones(graph)
    x[1:] = 0
    assert same_everywhere(graph, x).membranes["n"].ravel()[-1] == 0


@pytest.mark.parametrize("initial", [0.0, 7.0, -2.5])
@pytest.mark.parametrize("decay", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_initial_membrane_and_every_reset(initial: float, decay: float, reset: str) -> None:
    graph = single(
        3, 6, threshold=np.array(6.0), decay=decay, reset=reset, initial=initial, inputs=2
    )
    x = np.random.default_rng(0).integers(0, 2, (6, 3, 2), dtype=np.uint8)
    same_everywhere(graph, x)


def test_soft_reset_by_an_amount_other_than_the_threshold() -> None:
    graph = single(
        5, 6, threshold=np.array(7.0), reset="subtract", amount=np.array(2.0), decay=0.75
    )
    same_everywhere(graph, ones(graph))


def test_counts_in_weights_only_where_saturation_is_impossible() -> None:
    # 131071 weights are the last whole number below the limit: 1023 steps of 128 reach 130944,
    # 1024 reach 131072.
    for steps, unit in ((1023, 1), (1024, 64)):
        graph = build(
            (Edge("x", (1,), SPIKE),),
            [
                ("current", Linear(np.array([[-128.0]])), ("x",)),
                ("n", Neuron(np.array(1.0), fixed=LOIHI), ("current",)),
            ],
            ("n",),
            steps,
        )
        assert units(graph) == {"n": unit}
    assert units(single(5, 3, threshold=np.array(15 + 1 / 64))) == {"n": 64}
    assert units(single(5, 3, threshold=np.array(15.0), decay=0.5)) == {"n": 64}
    assert units(single(200_000, 1, threshold=np.array(9.0), decay=0.0)) == {"n": 64}


def test_last_step_before_saturation_is_exact() -> None:
    for steps in (1023, 1024, 1025):
        graph = single(-127, steps, threshold=np.array(1.0))
        graph = build(
            graph.inputs,
            [
                ("current", Linear(np.array([[-128.0]])), ("x",)),
                ("n", Neuron(np.array(1.0), fixed=LOIHI), ("current",)),
            ],
            ("n",),
            steps,
        )
        expected = run(graph, ones(graph))
        found = run_onnx(sequence_model(graph), graph, ones(graph))
        assert difference(expected, found, graph) == ""


def test_spikes_stay_exact_when_a_step_model_runs_on_beyond_t() -> None:
    # Proved for 1 step, run for 200: the membrane in weights saturates where floor(v / 64) does.
    def push_and_pull(steps: int) -> Graph:
        reset = {"reset": "subtract", "amount": np.array(30_001.0), "fixed": LOIHI}
        return build(
            (Edge("up", (1,), SPIKE), Edge("down", (1,), SPIKE)),
            [
                ("raise", Scale(np.array(60_000.0)), ("up",)),
                ("lower", Scale(np.array(-50_000.0)), ("down",)),
                ("current", Add(), ("raise", "lower")),
                ("n", Neuron(np.array(40_000.0), **reset), ("current",)),
            ],
            ("n",),
            steps,
        )

    short, long = push_and_pull(1), push_and_pull(200)
    assert units(short) == {"n": 1}
    assert units(long) == {"n": 64}
    rng = np.random.default_rng(0)
    x = {e.name: rng.integers(0, 2, (200, 8, 1), dtype=np.uint8) for e in long.inputs}
    expected = run(long, x)
    assert np.abs(expected.membranes["n"]).max() == LIMIT
    assert 0.1 < expected.values["n"].mean() < 0.9
    session = onnxruntime.InferenceSession(
        step_model(short).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    v = np.zeros((8, 1), np.int32)
    for t in range(200):
        feeds = {name: array[t] for name, array in x.items()} | {"n_v_in": v}
        spikes, v = session.run(None, feeds)
        assert np.array_equal(spikes, expected.values["n"][t])
        assert np.array_equal(v, np.floor(expected.membranes["n"][t] / 64))
