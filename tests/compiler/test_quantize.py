"""Quantization: one scale per group, ties and ranges kept, and what has no integer form refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import FIXED, trained_graphs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import INTEGER, SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import QuantizeError, choose_scales, quantize

VECTOR = Edge("x", (3,), SPIKE)


def op_of(graph: Graph, name: str) -> Any:
    node = graph.producer(name)
    assert node is not None
    return node.op


def layer(weight: Any, bias: Any, neuron: Neuron) -> Graph:
    return graph_of([("l", Linear(weight, bias), ("x",)), ("n", neuron, ("l",))], x=VECTOR)


def test_case_1_whole_numbers_stay() -> None:
    before = lower_gates(graph_of([("g", Gate("xor"), ("x", "x")), ("h", Gate("and"), ("g", "x"))]))
    after = quantize(before)
    assert set(choose_scales(before).values()) == {1.0}
    assert str(after) == str(before).replace("reset zero)", "reset zero, fixed point)")
    assert_same_outputs(before, after)


def test_case_2_the_largest_weight_gets_the_largest_integer() -> None:
    after = quantize(layer([[0.5, -0.25, 0.1]], [0.3], Neuron(1.0)))
    # 127 / 0.5 = 254 is whole at the threshold of 1 already.
    np.testing.assert_array_equal(op_of(after, "l").weight, [[127, -64, 25]])  # 63.5 to even
    np.testing.assert_array_equal(op_of(after, "l").bias, [76])
    assert op_of(after, "n").threshold == 254
    assert op_of(after, "n").fixed == FixedPoint()
    assert_printed(
        after,
        """
        %x: 3 spike = input
        %l: 1 int[12, 228] = Linear(%x, 1x3)
        %n: 1 spike = Neuron(%l, threshold 254, decay 1, reset zero, fixed point)
        } -> %n
        """,
    )


@pytest.mark.parametrize(
    ("bias", "threshold", "scale"),
    [
        (100.0, 1.0, 40.0),  # 4095 / 100 = 40.95, then whole at the threshold
        (0.0, 5000.0, 131071 / 5000.0),
        (0.0, 1e6, 131071 / 1e6),
    ],
)
def test_case_2_a_bias_or_threshold_lowers_the_scale(
    bias: float, threshold: float, scale: float
) -> None:
    before = layer([[0.5, -0.25, 0.1]], [bias], Neuron(threshold))
    assert choose_scales(before)["l"] == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_case_2_weight_widths(bits: int) -> None:
    after = quantize(layer([[1.0, -0.3, 0.0]], None, Neuron(0.7)), Grid(weight_bits=bits))
    assert np.abs(op_of(after, "l").weight).max() <= 2 ** (bits - 1) - 1
    assert op_of(after, "n").threshold >= 1


@pytest.mark.parametrize("bits", [1, 9])
def test_unsupported_weight_widths(bits: int) -> None:
    with pytest.raises(QuantizeError, match="unsupported weight width") as e:
        Grid(weight_bits=bits)
    assert e.value.allowed == "2 to 8 bits"


def test_biases_of_all_synapses_of_a_neuron_fit_together() -> None:
    nodes: list[Any] = [(f"l{k}", Linear(np.eye(3), np.full(3, b)), ("x",)) for k, b in
                        enumerate([40.3, 50.2, 60.1])]  # fmt: skip
    before = graph_of(
        [*nodes, ("a", Add(), ("l0", "l1", "l2")), ("n", Neuron(1.7), ("a",))], x=VECTOR
    )
    after = quantize(before)
    total = sum(op_of(after, f"l{k}").bias for k in range(3))
    assert 3900 < total.max() <= 4095


def test_whole_biases_that_do_not_fit_together() -> None:
    nodes: list[Any] = [(n, Linear(np.eye(3), np.full(3, 3000.0)), ("x",)) for n in "ab"]
    before = graph_of([*nodes, ("s", Add(), ("a", "b")), ("n", Neuron(7.0), ("s",))], x=VECTOR)
    after = quantize(before)
    assert (op_of(after, "a").bias + op_of(after, "b").bias).max() <= 4095


@given(st.floats(0.01, 100), st.integers(1, 127), st.integers(1, 2000), st.integers(0, 2**16))
def test_case_3_a_scaled_integer_network_comes_back(
    factor: float, top: int, threshold: int, seed: int
) -> None:
    r = np.random.default_rng(seed)
    weight = r.integers(-127, 128, (2, 3)).astype(float)
    weight[0, 0] = 127.0
    bias = r.integers(-4095, 4096, 2).astype(float)
    before = layer(weight * factor, bias * factor, Neuron(threshold * factor))
    after = quantize(before)
    np.testing.assert_array_equal(op_of(after, "l").weight, weight)
    np.testing.assert_array_equal(op_of(after, "l").bias, bias)
    assert op_of(after, "n").threshold == threshold


@given(st.floats(0.05, 20), st.floats(0.05, 20), st.integers(0, 2**16))
def test_case_3_an_identity_synapse_still_fires_its_neuron_alone(
    threshold: float, peak: float, seed: int
) -> None:
    assume(threshold > peak / 20)  # else a unit of the chip is more than the threshold
    r = np.random.default_rng(seed)
    weight = r.normal(size=(3, 3)) * peak
    before = graph_of(
        [
            ("l", Linear(weight), ("x",)),
            ("i", Scale(threshold), ("x",)),
            ("a", Add(), ("l", "i")),
            ("n", Neuron(threshold), ("a",)),
        ],
        x=VECTOR,
    )
    after = quantize(before)
    assert op_of(after, "i").factor == op_of(after, "n").threshold


@given(st.lists(st.floats(0.05, 3), min_size=2, max_size=2, unique=True), st.floats(-30, 30))
def test_case_3_thresholds_by_neuron_round_up(thresholds: list[float], total: float) -> None:
    before = layer(np.ones((2, 3)), None, Neuron(np.array(thresholds)))
    scale = choose_scales(before)["n"]
    real = np.array(thresholds) * scale
    whole = op_of(quantize(before), "n").threshold
    # Sums are whole: the first to reach the real threshold is the first to reach the rounded one.
    sums = np.arange(-5, 400)[:, None]
    np.testing.assert_array_equal(sums >= whole, sums >= real - 1e-9 * real)


@given(st.floats(0.3, 20), st.integers(1, 4095), st.sampled_from(["zero", "subtract"]))
def test_case_4_leaky_thresholds_lie_on_the_chips_grid(
    threshold: float, decay: int, reset: Any
) -> None:
    before = layer(np.ones((1, 3)), None, Neuron(threshold, decay / 4096, reset))
    scale = choose_scales(before)["n"]
    op = op_of(quantize(before), "n")
    vth = float(op.threshold) - 2.0**-6  # what Lava's strict comparison is given
    assert vth == int(vth) >= 0
    few_bits = abs(np.rint(threshold * 2.0**20) - threshold * 2.0**20) < 1e-3  # or next to it
    one_below = few_bits and abs(threshold * scale - 1 - vth) < 1e-6 * vth
    assert abs(float(op.threshold) - threshold * scale) <= 0.5 or vth == 0 or one_below
    assert float(op.amount).is_integer() or reset == "zero"
    assert reset == "zero" or abs(float(op.amount) - threshold * scale) <= 0.5


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("grid", [Grid(), Grid(per_channel=True), Grid(weight_bits=5)])
def test_case_4_a_spike_worth_the_threshold_fires_a_leaky_neuron(grid: Grid, reset: Any) -> None:
    """SN residual: an identity synapse beside trained weights, whose channel is silent here."""
    r = np.random.default_rng(0)
    neuron = Neuron(0.7, 0.9, reset)
    nodes: list[Any] = [("l", Linear(r.normal(0, 0.2, (3, 3)) * [[0], [1], [1]]), ("x",))]
    nodes += [("i", Scale(0.7), ("x",)), ("s", Add(), ("l", "i")), ("n", neuron, ("s",))]
    x = np.zeros((4, 1, 3))
    x[1, 0, 0] = 1
    graph = graph_of(nodes, x=VECTOR, steps=4)
    assert run(quantize(graph, grid), x).values["n"][:, 0, 0].tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_case_4_whole_parts_of_a_leaky_threshold_add_up_to_it(seed: int) -> None:
    """All inputs for one step, so that no leak has rounded: at the threshold, and above it."""
    r = np.random.default_rng(seed)
    weight, bias = r.integers(-4, 7, (6, 3)) / 4, r.integers(-1, 2, 6) / 8 * (seed % 2)
    x = np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(1, 3, -1).transpose(0, 2, 1)
    level, current = [0.5, 1.0, 1.5, 3.0][seed % 4], x[0] @ weight.T + bias
    neuron = Neuron(level, 0.5, current_decay=0.25 * (seed % 3))
    at = run(quantize(replace(layer(weight, bias, neuron), steps=1)), x).values["n"][0]
    np.testing.assert_array_equal(at, current >= level)
    neuron = replace(neuron, threshold=np.nextafter(level, np.inf))
    above = run(quantize(replace(layer(weight, bias, neuron), steps=1)), x).values["n"][0]
    np.testing.assert_array_equal(above, current > level)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [(0.5, 0.5), (1 / 3, 1365 / 4096), (0.9999, 1.0), (0.0001, 0.0), (1.0, 1.0), (0.0, 0.0)],
)
def test_case_5_decays_round_to_the_chips_grid(decay: float, expected: float) -> None:
    op = op_of(quantize(layer(np.ones((1, 3)), None, Neuron(2.0, decay))), "n")
    assert op.decay == expected
    assert float(op.threshold).is_integer() == (expected in (0.0, 1.0))


def test_amount_of_a_soft_reset() -> None:
    same = op_of(quantize(layer([[0.5, 0.2, 0.1]], None, Neuron(1.0, reset="subtract"))), "n")
    assert same.amount == same.threshold == 254
    other = Neuron(0.5, reset="subtract", amount=np.array(1.0))  # InfLoR-SNN
    op = op_of(quantize(layer([[0.5, 0.2, 0.1]], None, other)), "n")
    assert (op.threshold, op.amount) == (127, 254)


def test_initial_membrane_is_scaled() -> None:
    op = op_of(quantize(layer([[0.5, 0.2, 0.1]], None, Neuron(1.0, initial=0.5))), "n")
    assert op.initial == 127


def test_one_scale_for_all_that_meets() -> None:
    before = graph_of(
        [
            ("a", Linear(np.full((3, 3), 0.5)), ("x",)),
            ("b", Linear(np.full((3, 3), 2.0)), ("x",)),
            ("s", Add(), ("a", "b")),
            ("n", Neuron(1.0), ("s",)),
            ("m", Neuron(3.0), ("b",)),  # reads b too: both neurons share one scale
            ("c", Linear(np.full((3, 3), 4.0)), ("m",)),
            ("o", Neuron(1.0), ("c",)),
        ],
        "n",
        "o",
        x=VECTOR,
    )
    scales = choose_scales(before)
    assert "s" not in scales and "x" not in scales
    assert len({scales[n] for n in "abnm"}) == 1
    assert scales["c"] == scales["o"] != scales["a"]


def test_readout_in_units_of_its_scale() -> None:
    before = graph_of(
        [
            ("l", Linear([[0.5, 0.3, -0.25]], [0.125]), ("x",)),
            ("n", Neuron(np.inf, reset="none"), ("l",)),
        ],
        x=VECTOR,
    )
    after = quantize(before)
    assert choose_scales(before)["n"] == 254
    x = np.ones((3, 1, 3))
    assert run(after, x).values["n"][-1] == 3 * (127 + 76 - 64 + 32)
    assert run(before, x).values["n"][-1] == pytest.approx(3 * 0.675)


def test_a_readout_of_few_bits_keeps_them() -> None:
    before = graph_of(
        [
            ("l", Linear([[0.5, 0.25, -0.25]], [0.125]), ("x",)),
            ("n", Neuron(np.inf, reset="none"), ("l",)),
        ],
        x=VECTOR,
    )
    assert choose_scales(before)["n"] == 8
    x = np.ones((3, 1, 3))
    assert run(quantize(before), x).values["n"][-1] == 3 * (4 + 2 - 2 + 1)
    assert run(before, x).values["n"][-1] == 3 * 0.625


def test_host_nodes_keep_their_real_numbers() -> None:
    graph = graph_of(
        [
            ("e", Conv2d(np.full((1, 1, 1, 1), 0.3)), ("x",)),
            ("h", Neuron(0.3), ("e",)),
            ("c", Conv2d(np.full((1, 1, 1, 1), 0.6)), ("h",)),
            ("n", Neuron(0.3), ("c",)),
        ]
    )
    nodes = [replace(n, role="host") if n.name in "eh" else n for n in graph.nodes]
    after = quantize(graph.rebuilt(nodes))
    assert op_of(after, "e").weight == 0.3 and op_of(after, "h").fixed is None
    assert op_of(after, "c").weight == 126 and op_of(after, "n").threshold == 63


def test_delays_and_flattens_stay() -> None:
    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("d", Delay(1), ("x",)),
        ("f", Flatten(), ("d",)),
        ("l", Linear(np.ones((1, 16))), ("f",)),
        ("n", Neuron(3.0), ("l",)),
    ]
    before = graph_of(nodes)
    assert_same_outputs(before, quantize(before))


ONE = Conv2d(np.full((1, 1, 1, 1), 0.5))
LEFT = "this operation has no integer form"


@pytest.mark.parametrize(
    ("nodes", "message", "where"),
    [
        ([("c", ONE, ("x",))], "reaches no neuron", "c"),
        ([("c", ONE, ("x",)), ("d", ONE, ("c",)), ("n", Neuron(1.0), ("d",))],
         "reaches no neuron", "c"),
        ([("n", Neuron(1.0), ("x",))], "not a synapse feeds", "n"),
        ([("c", ONE, ("x",)), ("a", Add(), ("c", "x")), ("n", Neuron(1.0), ("a",))],
         "not a synapse feeds", "a"),
        ([("g", Gate("or"), ("x", "x")), ("c", ONE, ("g",)), ("n", Neuron(1.0), ("c",))],
         LEFT, "g"),
        ([("p", AvgPool2d((2, 2), (1, 1)), ("x",)), ("c", ONE, ("p",)), ("n", Neuron(1.0), ("c",))],
         LEFT, "p"),
        ([("p", MaxPool2d((2, 2), (1, 1)), ("x",)), ("c", ONE, ("p",)), ("n", Neuron(1.0), ("c",))],
         LEFT, "p"),
        ([("c", ONE, ("x",)), ("n", Neuron(1.0), ("c",)), ("m", TimeMean(3), ("n",))], LEFT, "m"),
        ([("r", Relu(), ("x",)), ("c", ONE, ("r",)), ("n", Neuron(1.0), ("c",))], LEFT, "r"),
        ([("b", BatchNorm(*(np.ones(1) for _ in range(4)), 0.0), ("x",)), ("c", ONE, ("b",)),
          ("n", Neuron(1.0), ("c",))], LEFT, "b"),
    ],
)  # fmt: skip
def test_refused(nodes: list[Any], message: str, where: str) -> None:
    with pytest.raises(QuantizeError, match=message) as e:
        quantize(graph_of(nodes))
    assert e.value.where == where
    assert "NoneType" not in str(e.value)


def test_sum_of_spikes_into_a_synapse_is_named() -> None:
    nodes: list[Any] = [
        ("a", Add(), ("x", "x")),
        ("c", ONE, ("a",)),
        ("n", Neuron(1.0), ("c",)),
    ]
    with pytest.raises(QuantizeError, match="not a synapse feeds") as e:
        quantize(graph_of(nodes))
    assert e.value.where == "a" and "the input x" in e.value.found


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.sampled_from([8, 6, 4]))
def test_random_graphs_become_integers_in_range(graph: Graph, bits: int) -> None:
    before = lower_gates(fold_scales(fuse_batchnorm(graph)))
    try:
        after = quantize(before, Grid(weight_bits=bits))
    except QuantizeError:
        return  # an average that cannot be folded
    verify(after)
    scales = choose_scales(before, Grid(weight_bits=bits))
    for old, new in zip(before.nodes, after.nodes, strict=True):
        assert (old.name, old.inputs) == (new.name, new.inputs)
        for name, array in new.op.arrays().items():
            assert_whole(array * (64 if name == "threshold" else 1))
            if name in ("weight", "factor"):
                assert np.abs(array).max() <= 2 ** (bits - 1) - 1
                error = np.abs(array - scales[new.name] * old.op.arrays()[name])
                assert error.max() <= 0.5
        if isinstance(new.op, Neuron):
            assert new.op.fixed == FIXED
        elif not isinstance(new.op, Flatten):
            assert new.output.domain <= INTEGER


def assert_whole(x: Array) -> None:
    assert bool((x == np.rint(x)).all())


def test_a_wide_readout_is_scaled_until_it_can_never_fire() -> None:
    """Found on a CIFAR-shape ResNet, whose 8-bit readout passed the highest threshold."""
    rng = np.random.default_rng(0)
    graph = build(
        (Edge("x", (4096,), SPIKE),),
        [
            ("fc.current", Linear(rng.uniform(0.2, 1.0, (10, 4096))), ("x",)),
            ("fc", Neuron(np.asarray(np.inf), reset="none"), ("fc.current",)),
        ],
        ("fc",),
        steps=4,
    )
    done = quantize(graph)
    highest = run(done, np.ones((4, 1, 4096))).values["fc"][-1].max()
    assert 0.9 * 131071 < highest <= 131071  # every input fires: the bound is reached, not passed
    x = (rng.random((4, 50, 4096)) < 0.2).astype(np.float64)
    real, whole = run(graph, x).values["fc"][-1], run(done, x).values["fc"][-1]
    scale = choose_scales(graph)["fc"]
    assert np.abs(whole / scale - real).max() < 0.02 * real.max()
