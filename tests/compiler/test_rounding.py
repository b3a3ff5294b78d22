"""Methods of calibration, scales by channel, and rounding of biases and thresholds together."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, AvgPool2d, Conv2d, Flatten, Linear, Neuron, Scale
from purespike.compiler.passes.quantize.calibrate import Method, calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import QuantizeError
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.passes.quantize.rounding import choose_rounding
from purespike.compiler.passes.quantize.scales import choose_scales
from purespike.compiler.pipeline import compile_graph, standard_pipeline

STEPS = 4
SHAPE = (3, 5, 5)


def op_of(graph: Graph, name: str) -> Any:
    node = graph.producer(name)
    assert node is not None
    return node.op


def spikes(samples: int, seed: int = 0) -> Array:
    r = np.random.default_rng(seed)
    return (r.random((STEPS, samples, *SHAPE)) < 0.3).astype(np.float64)


def network(
    seed: int = 3, *, decay: float = 1.0, uneven: float = 1.0, identity: bool = False
) -> Graph:
    """Two layers of neurons and a readout; ``uneven`` spreads the channels' weights."""
    r = np.random.default_rng(seed)
    first = r.normal(0, 0.3, (3, 3, 3, 3)) * uneven ** np.arange(3).reshape(3, 1, 1, 1)
    neuron = Neuron(np.asarray(1.0), decay)
    nodes: list[Any] = [("c1", Conv2d(first, r.normal(0.1, 0.2, 3), padding=(1, 1)), ("x",))]
    if identity:
        nodes += [("i", Scale(1.0), ("x",)), ("a", Add(), ("c1", "i")), ("n1", neuron, ("a",))]
    else:
        nodes += [("n1", neuron, ("c1",))]
    nodes += [
        ("f", Flatten(), ("n1",)),
        ("c2", Linear(r.normal(0, 0.2, (8, 75)), r.normal(0.1, 0.2, 8)), ("f",)),
        ("n2", Neuron(np.asarray(1.0), decay), ("c2",)),
        ("c3", Linear(r.normal(0, 0.2, (4, 8)), r.normal(0, 0.2, 4)), ("n2",)),
        ("out", Neuron(np.asarray(np.inf), reset="none"), ("c3",)),
    ]
    return build((Edge("x", SHAPE, SPIKE),), nodes, ("out",), STEPS)


def agreement(graph: Graph, integers: Graph, x: Array, name: str) -> float:
    return float((run(graph, x).values[name] == run(integers, x).values[name]).mean())


# Methods.


def test_an_unknown_method_and_agreement_without_data_are_refused() -> None:
    with pytest.raises(UsageError, match="calibration") as e:
        calibrate(network(), method="entropy")  # type: ignore[arg-type]
    assert e.value.found == "'entropy' (str)"
    assert e.value.allowed == "max, percentile, mse, agreement"
    with pytest.raises(UsageError, match="needs data"):
        calibrate(network())


def test_what_has_no_integer_form_is_named_before_any_layer_runs() -> None:
    nodes: list[Any] = [
        ("p", AvgPool2d((2, 2), (1, 1)), ("x",)),
        ("c", Conv2d(np.full((1, 3, 1, 1), 0.3)), ("p",)),
        ("n", Neuron(np.asarray(1.0)), ("c",)),
    ]
    graph = build((Edge("x", SHAPE, SPIKE),), nodes, ("n",), STEPS)
    for choose in (calibrate, lambda g, x: choose_rounding(g, x, Grid(), choose_scales(g))):
        with pytest.raises(QuantizeError, match="no integer form") as e:
            choose(graph, spikes(4))  # type: ignore[operator]
        assert e.value.where == "p"


def test_a_fading_current_is_rounded_to_the_grid_and_bounds_the_readout() -> None:
    nodes: list[Any] = [
        ("l", Linear(np.full((1, 100), 0.7)), ("x",)),
        ("o", Neuron(np.asarray(np.inf), reset="none", current_decay=0.9), ("l",)),
    ]
    graph = build((Edge("x", (100,), SPIKE),), nodes, ("o",), STEPS)
    plain = [*nodes[:1], ("o", Neuron(np.asarray(np.inf), reset="none"), ("l",))]
    without = build(graph.inputs, plain, ("o",), STEPS)
    grid = Grid(threshold_limit=5000)
    done = quantize(graph, grid)
    assert op_of(done, "o").current_decay == round(0.9 * 4096) / 4096
    assert run(done, np.ones((STEPS, 1, 100))).values["o"].max() <= 5000
    assert choose_scales(graph, grid)["o"] < choose_scales(without, grid)["o"]


def squared_error(weight: Array, scale: float, limit: int) -> float:
    return float(np.square(weight - np.clip(np.rint(weight * scale), -limit, limit) / scale).sum())


@pytest.mark.parametrize("bits", [4, 8])
def test_methods_on_a_layer_with_an_outlier(bits: int) -> None:
    r = np.random.default_rng(0)
    weight = r.normal(0, 0.1, (8, 1000))
    weight[0, 0] = 3.0
    graph = build(
        (Edge("x", (1000,), SPIKE),),
        [("l", Linear(weight), ("x",)), ("n", Neuron(np.asarray(1.0)), ("l",))],
        ("n",),
        STEPS,
    )
    grid, limit = Grid(bits), 2 ** (bits - 1) - 1
    scale = {m: calibrate(graph, None, grid, m)["l"] for m in get_args(Method)[:3]}
    assert scale["max"] <= limit / 3.0
    top = np.sort(np.abs(weight).ravel())[-9:]  # 99.9 % of 8000 weights leave 8 above
    assert limit / top[1] - 1 <= scale["percentile"] <= limit / top[0]
    errors = {m: squared_error(weight, float(s), limit) for m, s in scale.items()}  # type: ignore[arg-type]
    assert errors["mse"] == min(errors.values())
    assert errors["mse"] < errors["max"] if bits == 4 else errors["mse"] <= errors["max"]
    for s in scale.values():
        assert (
            np.abs(op_of(quantize(graph, grid, dict.fromkeys("ln", s)), "l").weight).max() <= limit
        )


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("per_channel", [False, True])
def test_whole_groups_stay_whatever_the_method(method: Method, per_channel: bool) -> None:
    graph = build(
        (Edge("x", SHAPE, SPIKE),),
        [
            ("c", Conv2d(np.ones((1, 3, 1, 1))), ("x",)),
            ("n", Neuron(np.asarray(2.0), 0.0), ("c",)),
        ],
        ("n",),
        STEPS,
    )
    grid = Grid(8, per_channel=per_channel)
    assert calibrate(graph, spikes(4), grid, method) == {"c": 1.0, "n": 1.0}


# Scales by channel.


def test_each_channel_uses_all_levels_and_its_own_threshold() -> None:
    graph = network(uneven=5.0)
    grid = Grid(8, per_channel=True)
    scales = choose_scales(graph, grid)
    done = quantize(graph, grid, scales)
    weight = op_of(done, "c1").weight
    # All but what a whole threshold costs: at most one unit of it.
    peak = np.abs(weight).reshape(3, -1).max(axis=1)
    units = np.ravel(op_of(done, "n1").threshold)
    assert (peak >= np.floor(127 * units / (units + 1))).all() and peak.max() == 127
    threshold = op_of(done, "n1").threshold
    assert threshold.shape == (3, 1, 1) and len(set(threshold.flat)) == 3
    real = op_of(graph, "c1")
    np.testing.assert_allclose(threshold.ravel(), np.ravel(scales["n1"]), rtol=1e-9)  # level 1
    error = np.abs(weight / np.reshape(scales["c1"], (-1, 1, 1, 1)) - real.weight)
    assert (error <= 0.5 / np.reshape(scales["c1"], (-1, 1, 1, 1)) + 1e-12).all()
    np.testing.assert_array_equal(
        op_of(done, "c1").bias, np.rint(real.bias * np.ravel(scales["c1"]))
    )
    assert isinstance(scales["out"], float)  # the readout's channels are compared: one scale


def test_channels_keep_more_spikes_than_the_layer_at_few_bits() -> None:
    graph, x = network(uneven=5.0), spikes(64, 1)
    layer, channels = (quantize(graph, Grid(4, per_channel=p)) for p in (False, True))
    assert agreement(graph, channels, x, "n1") > agreement(graph, layer, x, "n1") + 0.01


def test_an_identity_synapse_still_fires_each_channel_alone() -> None:
    grid = Grid(6, per_channel=True)
    done = quantize(network(uneven=3.0, identity=True), grid)
    np.testing.assert_array_equal(op_of(done, "i").factor, op_of(done, "n1").threshold)


def test_memoryless_neurons_and_those_that_start_elsewhere_keep_one_scale() -> None:
    for neuron in (Neuron(np.asarray(1.3), 0.0), Neuron(np.asarray(1.3), initial=0.5)):
        nodes: list[Any] = [("l", Linear(np.diag([1.0, 0.3, 0.1])), ("x",)), ("n", neuron, ("l",))]
        graph = build((Edge("x", (3,), SPIKE),), nodes, ("n",), STEPS)
        assert isinstance(choose_scales(graph, Grid(per_channel=True))["n"], float)


# Rounding biases and thresholds together.


@pytest.mark.parametrize("decay", [1.0, 0.75])
@pytest.mark.parametrize("per_channel", [False, True])
def test_no_layer_keeps_fewer_spikes_and_the_integers_stay_legal(
    decay: float, per_channel: bool
) -> None:
    graph, x, grid = network(decay=decay), spikes(48), Grid(4, per_channel=per_channel)
    scales = choose_scales(graph, grid)
    chosen = choose_rounding(graph, x, grid, scales)
    assert chosen
    plain, better = quantize(graph, grid, scales), quantize(graph, grid, scales, chosen)
    assert agreement(graph, better, x, "n1") >= agreement(graph, plain, x, "n1")
    fresh = spikes(200, 9)
    assert agreement(graph, better, fresh, "n2") > agreement(graph, plain, fresh, "n2")
    for before, after in zip(plain.nodes, better.nodes, strict=True):
        for name, array in after.op.arrays().items():
            unit = 64 if name == "threshold" else 1
            assert (array * unit == np.rint(array * unit)).all(), (after.name, name)
            if name == "bias":
                assert np.abs(array).max() <= grid.bias_limit
            elif name == "threshold":
                assert np.abs(array - before.op.arrays()[name]).max() <= 1
                assert len(set(array.flat)) == 1 or per_channel
            else:
                np.testing.assert_array_equal(array, before.op.arrays()[name])


def test_the_choice_is_the_best_of_all_pairs() -> None:
    """One neuron, every pair tried by hand in the interpreter."""
    r = np.random.default_rng(7)
    graph = build(
        (Edge("x", (30,), SPIKE),),
        [
            ("l", Linear(r.normal(0, 0.3, (1, 30)), [0.21]), ("x",)),
            ("n", Neuron(np.asarray(1.0)), ("l",)),
        ],
        ("n",),
        STEPS,
    )
    x = (r.random((STEPS, 300, 30)) < 0.4).astype(np.float64)
    grid = Grid(3)
    scales = choose_scales(graph, grid)
    plain = quantize(graph, grid, scales)
    flips = {}
    for bias in range(-12, 13):
        for threshold in (-1, 0, 1):
            linear, neuron = op_of(plain, "l"), op_of(plain, "n")
            pair = {
                "l": Linear(linear.weight, linear.bias + bias),
                "n": Neuron(neuron.threshold + threshold, fixed=neuron.fixed),
            }
            if neuron.threshold + threshold < 1:
                continue
            tried = quantize(graph, grid, scales, pair)
            flips[bias, threshold] = 1 - agreement(graph, tried, x, "n")
    rounding = choose_rounding(graph, x, grid, scales)
    chosen = quantize(graph, grid, scales, rounding)
    found = 1 - agreement(graph, chosen, x, "n")
    least = min(flips.values())
    assert least <= found <= least + np.sqrt(least * (1 - least) / (STEPS * 300))
    assert found < flips[0, 0]


def test_case_2_beside_an_identity_the_threshold_stays() -> None:
    graph, grid = network(identity=True), Grid(3)
    scales = choose_scales(graph, grid)
    chosen = choose_rounding(graph, spikes(48), grid, scales)
    assert "n1" not in chosen and "c1" in chosen


def test_case_3_no_bias_is_invented() -> None:
    r = np.random.default_rng(1)
    nodes: list[Any] = [
        ("l", Linear(r.normal(0, 0.3, (6, 30))), ("x",)),
        ("n", Neuron(np.asarray(1.0)), ("l",)),
    ]
    graph = build((Edge("x", (30,), SPIKE),), nodes, ("n",), STEPS)
    x = (r.random((STEPS, 100, 30)) < 0.4).astype(np.float64)
    chosen = choose_rounding(graph, x, Grid(3), choose_scales(graph, Grid(3)))
    assert set(chosen) <= {"n"}


def test_thresholds_that_no_weight_bits_resolve_stay_as_they_are() -> None:
    """Leaky neurons beside an identity, some with a threshold of less than one unit."""
    thresholds = np.array([0.5, 2.0, 40.0]).reshape(1, 3, 1)
    graph = build(
        (Edge("x", (1, 3, 3), SPIKE),),
        [
            ("c", Conv2d(np.full((1, 1, 1, 1), 100.0), np.ones(1)), ("x",)),
            ("i", Scale(np.ones(())), ("x",)),
            ("s", Add(), ("c", "i")),
            ("n", Neuron(thresholds, 0.75), ("s",)),
        ],
        ("n",),
        3,
    )
    x = (np.random.default_rng(0).random((3, 8, 1, 3, 3)) < 0.5).astype(float)
    for bits in (2, 3, 5):
        grid = Grid(bits)
        scales = choose_scales(graph, grid)
        rounded = choose_rounding(graph, x, grid, scales)
        plain, chosen = quantize(graph, grid, scales), quantize(graph, grid, scales, rounded)
        kept = [op_of(g, "n").threshold for g in (plain, chosen)]
        assert kept[0].min() < 1 and np.array_equal(*kept)


def test_case_4_the_readout_takes_back_what_rounding_took() -> None:
    graph, x, grid = network(), spikes(64), Grid(3)
    scales = choose_scales(graph, grid)
    chosen = choose_rounding(graph, x, grid, scales)
    hidden = {k: v for k, v in chosen.items() if k != "c3"}
    real = run(graph, x).values["out"][-1]

    def miss(ops: Any) -> float:
        y = run(quantize(graph, grid, scales, ops), x).values["out"][-1]
        return float(np.square(y / scales["out"] - real).mean())

    assert "c3" in chosen and miss(chosen) < miss(hidden)


def test_biases_that_meet_stay_within_the_chips_range() -> None:
    nodes: list[Any] = [
        ("a", Linear(np.full((2, 3), 0.37), [9.9, -9.9]), ("x",)),
        ("b", Linear(np.full((2, 3), 0.11), [9.9, -9.9]), ("x",)),
        ("s", Add(), ("a", "b")),
        ("n", Neuron(np.asarray(20.0)), ("s",)),
    ]
    graph = build((Edge("x", (3,), SPIKE),), nodes, ("n",), STEPS)
    r = np.random.default_rng(0)
    x = (r.random((STEPS, 64, 3)) < 0.5).astype(np.float64)
    grid = Grid(8, bias_limit=200)
    scales = choose_scales(graph, grid)
    done = quantize(graph, grid, scales, choose_rounding(graph, x, grid, scales))
    assert np.abs(op_of(done, "a").bias + op_of(done, "b").bias).max() <= 200


def test_the_pipeline_rounds_together_where_there_is_data() -> None:
    graph, x = network(), spikes(32)
    for method in get_args(Method):
        passes = standard_pipeline(grid=Grid(4), calibration=x, method=method)
        done = compile_graph(graph, passes, spikes(8, 2))
        front = done.stages["split_host"]
        scales = calibrate(front, x, Grid(4), method)
        wanted = quantize(front, Grid(4), scales, choose_rounding(front, x, Grid(4), scales))
        assert str(done.graph) == str(wanted)
        np.testing.assert_array_equal(op_of(done.graph, "c1").bias, op_of(wanted, "c1").bias)
        assert done.ledger[-1].scales == scales
    channels = standard_pipeline(grid=Grid(4, per_channel=True), calibration=x)
    line = compile_graph(graph, channels, spikes(8, 2)).ledger[-1]
    assert set(line.scales) == {"c3", "out"}  # one each; channels with their own are not listed
