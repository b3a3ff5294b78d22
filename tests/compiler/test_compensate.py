"""Weights rounded together: against brute force, a second implementation, and the interpreter."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.domain import SPIKE, Array
from purespike.compiler.ir import Edge, Graph, build
from purespike.compiler.ops import Add, Conv2d, Linear, Neuron, Scale
from purespike.compiler.passes import compensate
from purespike.compiler.passes.compensate import compensated, round_rows, squared_error
from purespike.compiler.passes.groups import group_members
from purespike.compiler.passes.quantize import quantize, quantized
from purespike.compiler.passes.replay_layers import Layers
from purespike.compiler.passes.rounding import choose_rounding
from purespike.compiler.passes.scales import Grid, choose_scales
from purespike.compiler.pipeline import compile_graph, standard_passes

STEPS = 4


def spikes(shape: tuple[int, ...], samples: int = 24, seed: int = 0) -> Array:
    """Spikes that come together: each follows its neighbour half of the time."""
    r = np.random.default_rng(seed)
    x = r.random((STEPS, samples, *shape)) < 0.4
    together = np.where(r.random(x.shape) < 0.5, x, np.roll(x, 1, axis=2))
    return together.astype(np.float64)


def moment_of(inputs: int, seed: int, biased: bool = False) -> Array:
    x = spikes((inputs,), 40, seed).reshape(-1, inputs)
    if biased:
        x[:, -1] = 1.0
    return x.T @ x / len(x)


def rounded(real: Array, limit: float, moment: Array, biased: bool = False) -> tuple[Array, Array]:
    near = np.clip(np.rint(real), -limit, limit)
    bounds = np.full_like(near, -limit), np.full_like(near, limit)
    return near, round_rows(real, near, moment, bounds, biased=biased)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.sampled_from((1, 3, 7, 127)), st.booleans())
def test_no_row_is_worse_than_to_the_nearest_and_all_stay_in_the_grid(
    seed: int, inputs: int, limit: int, biased: bool
) -> None:
    real = np.random.default_rng(seed).normal(0, 0.7 * limit, (5, inputs))
    moment = moment_of(inputs, seed, biased)
    near, found = rounded(real, limit, moment, biased)
    assert (found == np.rint(found)).all() and np.abs(found).max() <= limit
    before, after = (squared_error(w, real, moment) for w in (near, found))
    assert (after <= before + 1e-9).all()
    np.testing.assert_array_equal(found, rounded(real, limit, moment, biased)[1])


@pytest.mark.parametrize("biased", [False, True])
def test_a_tiny_layer_against_all_its_roundings(biased: bool) -> None:
    best, gained = 0, 0
    for seed in range(60):
        real = np.random.default_rng(seed).normal(0, 1.5, (1, 4))
        moment = moment_of(4, seed, biased)
        near, found = rounded(real, 3, moment, biased)
        every = np.array(list(product(range(-3, 4), repeat=4)), np.float64)
        errors = squared_error(every, real, moment)
        mine = squared_error(found, real, moment)[0]
        # No other whole number in the place of one weight is better.
        single = np.abs(every - found).astype(bool).sum(axis=1) == 1
        assert (errors[single] >= mine - 1e-9).all()
        best += bool(mine <= errors.min() + 1e-9)
        gained += bool(mine < squared_error(near, real, moment)[0] - 1e-9)
    assert best >= 45 and gained >= 15


def test_the_error_is_passed_on_as_optimal_brain_quantization_says() -> None:
    """Equation 2 of GPTQ with the inverse of what is left computed anew for every weight."""
    for seed in range(10):
        real, moment = np.random.default_rng(seed).normal(0, 3, (4, 8)), moment_of(8, seed)
        damped = moment + 0.01 * np.trace(moment) / 8 * np.eye(8)
        wanted = np.zeros_like(real)
        for row in range(4):
            left, open_ = real[row].copy(), list(np.argsort(-np.diag(moment), kind="stable"))
            while open_:
                inverse = np.linalg.inv(damped[np.ix_(open_, open_)])
                k = open_[0]
                wanted[row, k] = np.clip(np.rint(left[k]), -7, 7)
                left[open_] -= (left[k] - wanted[row, k]) / inverse[0, 0] * inverse[:, 0]
                open_ = open_[1:]
        bound = np.full_like(real, 7.0)
        found = compensate._passed_on(real, moment, -bound, bound)
        np.testing.assert_array_equal(found, wanted)


def layer(kind: str, seed: int = 5) -> Graph:
    """One layer of each shape that a synapse may have."""
    r = np.random.default_rng(seed)
    shape: tuple[int, ...] = (4, 6, 6)
    neuron = Neuron(np.asarray(1.0))
    conv = Conv2d(
        r.normal(0, 0.3, (6, 4, 3, 3)), r.normal(0.1, 0.1, 6), (2, 1), (1, 0), dilation=(1, 2)
    )
    grouped = Conv2d(r.normal(0, 0.4, (6, 2, 3, 3)), r.normal(0, 0.1, 6), groups=2)
    plain: list[Any] = [("a", conv, ("x",)), ("n", neuron, ("a",))]
    if kind == "grouped":
        plain[0] = ("a", grouped, ("x",))
    elif kind == "depthwise":
        plain[0] = ("a", Conv2d(r.normal(0, 0.4, (4, 1, 3, 3)), groups=4), ("x",))
    elif kind == "two":
        second = Conv2d(r.normal(0, 0.4, (6, 4, 3, 3)), r.normal(0, 0.1, 6))
        plain = [
            ("a", grouped, ("x",)),
            ("b", second, ("x",)),
            ("s", Add(), ("a", "b")),
            ("n", neuron, ("s",)),
        ]
    elif kind == "identity":
        same = Conv2d(r.normal(0, 0.3, (4, 4, 3, 3)), r.normal(0, 0.1, 4), padding=(1, 1))
        plain = [
            ("a", same, ("x",)),
            ("i", Scale(1.0), ("x",)),
            ("s", Add(), ("a", "i")),
            ("n", neuron, ("s",)),
        ]
    elif kind in ("linear", "shared", "readout"):
        shape = (12,)
        weight = r.normal(0, 0.3, (5, 6 if kind == "shared" else 12))
        bias = r.normal(0, 0.1, 5)
        op = Linear.shared(weight, bias, 2) if kind == "shared" else Linear(weight, bias)
        out = Neuron(np.asarray(np.inf), reset="none") if kind == "readout" else neuron
        plain = [("a", op, ("x",)), ("n", out, ("a",))]
    return build((Edge("x", shape, SPIKE),), plain, ("n",), STEPS)


KINDS = ("conv", "grouped", "depthwise", "two", "identity", "linear", "shared", "readout")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_sums_that_the_interpreter_makes_come_closer(kind: str, per_channel: bool) -> None:
    """The error is measured on currents, not on the second moments that the choice was made by."""
    graph, grid = layer(kind), Grid(4, per_channel=per_channel)
    x = spikes(graph.inputs[0].shape)
    scales = choose_scales(graph, grid)
    (nodes,) = group_members(graph).values()
    node = next(n for n in nodes if n.name == "n")
    ops = {n.name: quantized(n.op, scales[n.name], grid) for n in nodes}
    layers = Layers.start(graph, x)
    assert layers is not None

    def miss(chosen: Any) -> Array:
        scale = scales["n"]
        error = layers.current(node.inputs[0], ops | chosen)
        error = error - layers.current(node.inputs[0], {}) * scale
        if kind == "identity":  # it rounds to the threshold, and stays
            gap = ops["i"].factor - graph.producer("i").op.factor * scale  # type: ignore
            error = error - layers.carried["x"] * gap
        error = np.cumsum(error, axis=0) if kind == "readout" else error
        return np.square(np.moveaxis(error, 2, 0).reshape(error.shape[2], -1)).mean(axis=1)

    list(layers.neurons())  # carries the inputs on
    chosen = compensated(layers, node, nodes, ops, scales["n"], grid)
    before, after = miss({}), miss(chosen)
    assert (after <= before + 1e-9).all() and after.mean() < 0.9 * before.mean()
    assert set(chosen) <= {"a", "b"}
    for name, op in chosen.items():
        for array in op.arrays().values():
            assert (array == np.rint(array)).all()
        weight = op.kept if isinstance(op, Linear) else op.arrays()["weight"]
        assert np.abs(weight).max() <= grid.weight_limit, name
        assert (op.arrays().get("bias") is None) == ("bias" not in ops[name].arrays())
    again = compensated(layers, node, nodes, ops, scales["n"], grid)
    for name, op in chosen.items():
        for key, array in op.arrays().items():
            np.testing.assert_array_equal(array, again[name].arrays()[key])


def test_what_stays_to_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = layer("readout")
    x = spikes((12,))
    scales = choose_scales(graph, Grid(4))

    def weight(grid: Grid) -> Array:
        chosen = choose_rounding(graph, x, grid, scales, weights=True)
        op = quantize(graph, grid, scales, chosen).producer("a").op  # type: ignore[union-attr]
        return op.arrays()["weight"]

    plain = quantize(graph, Grid(4), scales).producer("a").op.arrays()["weight"]  # type: ignore
    assert not np.array_equal(weight(Grid(4)), plain)
    np.testing.assert_array_equal(weight(Grid(4, fit_membranes=True)), plain)  # case 5
    monkeypatch.setattr(compensate, "LARGEST", 11)
    np.testing.assert_array_equal(weight(Grid(4)), plain)  # case 4


def test_without_data_weights_round_to_the_nearest() -> None:
    graph = layer("conv")
    done = compile_graph(graph, standard_passes(grid=Grid(4)), spikes((4, 6, 6), 4)).graph
    wanted = quantize(graph, Grid(4), choose_scales(graph, Grid(4)))
    for name in ("a", "n"):
        for key, array in wanted.producer(name).op.arrays().items():  # type: ignore[union-attr]
            np.testing.assert_array_equal(array, done.producer(name).op.arrays()[key])  # type: ignore


def test_a_readout_that_could_then_fire_stays() -> None:
    """Its scale leaves room for half a unit a weight, not for more."""
    graph, x = layer("readout"), spikes((12,))
    for limit in (60, 80, 100, 150):
        grid = Grid(4, threshold_limit=limit)
        scales = choose_scales(graph, grid)
        done = quantize(graph, grid, scales, choose_rounding(graph, x, grid, scales, weights=True))
        op = done.producer("a").op  # type: ignore[union-attr]
        weight, bias = op.arrays()["weight"], op.arrays()["bias"]
        most = np.maximum(weight, 0).sum(axis=1) + bias
        least = np.minimum(weight, 0).sum(axis=1) + bias
        assert (STEPS * np.maximum(most, -least) <= limit).all(), limit
