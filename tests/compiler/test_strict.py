"""Thresholds met but not exceeded: "greater than" and "at least" stay apart in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import FIXED
from hypothesis import given
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Linear, Neuron, Scale
from purespike.compiler.passes.quantize.calibrate import calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import choose_scales, quantize
from purespike.compiler.passes.quantize.scales import exact_scale

VECTOR = Edge("x", (3,), SPIKE)


def above(level: float) -> float:
    """The threshold of a neuron that fires above a level, not at it."""
    return float(np.nextafter(level, np.inf))


def spikes(seed: int, steps: int = 3, samples: int = 40) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, samples, 3)) < 0.5).astype(float)


@given(
    st.integers(0, 2**16),
    st.integers(0, 7),
    st.booleans(),
    st.sampled_from(["zero", "subtract"]),
    st.sampled_from([0.0, 1.0]),
)
def test_weights_on_a_binary_grid_lose_nothing(
    seed: int, power: int, strict: bool, reset: str, decay: float
) -> None:
    r = np.random.default_rng(seed)
    weight, bias = r.integers(-90, 91, (3, 3)) / 2**power, r.integers(-9, 10, 3) / 2**power
    level = float(r.integers(1, 60)) / 2**power  # sums meet it often
    threshold = above(level) if strict else level
    neuron = Neuron(threshold, decay=decay, reset=reset, amount=level)  # type: ignore[arg-type]
    before = graph_of([("l", Linear(weight, bias), ("x",)), ("n", neuron, ("l",))], x=VECTOR)
    x = spikes(seed)
    scales = choose_scales(before)
    assert scales == calibrate(before, None, Grid(), "percentile")
    after = quantize(before)
    wanted, found = run(before, x), run(after, x)
    np.testing.assert_array_equal(found.values["n"], wanted.values["n"])
    unit = 2**FIXED.fraction_bits * float(np.asarray(scales["n"]))
    np.testing.assert_array_equal(found.membranes["n"], wanted.membranes["n"] * unit)


def residual(threshold: float, seed: int, amount: float, reset: str = "zero") -> Graph:
    """A spike residual: a trained synapse and one that fires, or not, the neuron alone."""
    weight = np.random.default_rng(seed).normal(0, 0.3, (3, 3))
    neuron = Neuron(threshold, reset=reset, amount=amount)  # type: ignore[arg-type]
    nodes = [
        ("l", Linear(weight), ("y",)),
        ("i", Scale(0.7), ("x",)),
        ("s", Add(), ("l", "i")),
        ("n", neuron, ("s",)),
    ]
    return build((VECTOR, replace(VECTOR, name="y")), nodes, ("n",), 1)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@given(st.integers(0, 2**16), st.booleans())
def test_an_identity_synapse_alone_fires_as_in_real_numbers(
    reset: str, seed: int, strict: bool
) -> None:
    before = residual(above(0.7) if strict else 0.7, seed, 0.7, reset)
    alone = {"x": np.ones((1, 1, 3)), "y": np.zeros((1, 1, 3))}
    fired = run(before, alone).values["n"]
    np.testing.assert_array_equal(run(quantize(before), alone).values["n"], fired)
    assert (fired == (not strict)).all()


def test_the_highest_threshold_leaves_room_for_one_unit_more() -> None:
    grid = Grid(threshold_limit=50)
    after = quantize(residual(above(0.7), 0, 0.7), grid)
    neuron, identity = (node.op for name in "ni" if (node := after.producer(name)))
    assert isinstance(neuron, Neuron) and isinstance(identity, Scale)
    assert (float(identity.factor), float(neuron.threshold)) == (49, 50)


@pytest.mark.parametrize(
    ("neuron", "weight", "scale"),
    [
        (Neuron(0.7), 0.25, 4.0),
        (Neuron(3.0), 2.0, 1.0),
        (Neuron(3.5), 2.0, 1.0),  # sums are whole: 3.5 and 4 are the same
        (Neuron(0.75, decay=0.5), 0.25, None),  # a membrane that leaks wants a fine grid
        (Neuron(3.0, initial=0.5), 2.0, 2.0),
        (Neuron(0.7), 0.1, None),
        (Neuron(0.7), 2.0**-21, None),
        (Neuron(0.7), 200.0, None),
        (Neuron(np.inf, reset="none"), 0.25, 4.0),  # a readout
        (Neuron(np.inf, reset="none"), 0.1, None),
        (Neuron(np.inf, reset="none", current_decay=0.5), 0.25, None),
    ],
)
def test_which_scale_loses_nothing(neuron: Neuron, weight: float, scale: float | None) -> None:
    graph = graph_of(
        [("l", Linear(np.full((3, 3), weight)), ("x",)), ("n", neuron, ("l",))], x=VECTOR
    )
    assert exact_scale(graph, list(graph.nodes), Grid()) == scale
