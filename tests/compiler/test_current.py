"""The synaptic current of CubaLIF: its arithmetic, its bounds, its place on the chip's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import FIXED, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, INTEGER, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, IRError, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.proofs.ranges import bound_neurons

LIMIT = 131071
SLOW: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
def test_real_numbers_against_a_loop(reset: Any) -> None:
    r = np.random.default_rng(3)
    op = Neuron(1.0, 0.9, reset, 0.7, 0.2, current_decay=0.6)
    state = op.start(2, (3,))
    v, u = np.full((2, 3), 0.2), np.zeros((2, 3))
    for _ in range(20):
        x = r.normal(0.3, 0.5, (2, 3))
        state, y = op.step(state, x)
        u = 0.6 * u + x
        v = 0.9 * v + u
        fires = (v >= 1.0) & (reset != "none")
        np.testing.assert_array_equal(y, v if reset == "none" else fires)
        v = np.where(fires, 0.0 if reset == "zero" else v - 0.7, v)
        np.testing.assert_allclose(op.parts(state)[0], v, atol=1e-12)
        np.testing.assert_allclose(op.parts(state)[1], u, atol=1e-12)


@settings(max_examples=60, **SLOW)
@given(st.integers(0, 4095), st.integers(1, 4096), st.integers(0, 2**32 - 1))
def test_fixed_point_is_lavas_lif(du: int, keep: int, seed: int) -> None:
    """With Python's integers, as lava-nc's PyLifModelBitAcc does it."""
    r = np.random.default_rng(seed)
    op = Neuron(40 + 2**-6, keep / 4096, fixed=FIXED, current_decay=(4095 - du) / 4096)
    state = op.start(1, (1,))
    u = v = 0
    for x in r.integers(-60, 90, 30).tolist():
        state, y = op.step(state, np.array([[float(x)]]))
        u = (1 if u >= 0 else -1) * (abs(u) * (4096 - (du + 1)) >> 12) + (x << 6)
        v = (1 if v >= 0 else -1) * (abs(v) * keep >> 12) + u
        fires = v > 40 << 6
        v = 0 if fires else v
        held, current = op.parts(state)
        assert (y.item(), held.item()) == (fires, v)
        assert current is None or current.item() == u


def test_a_current_decay_of_zero_changes_nothing() -> None:
    plain, cuba = Neuron(3.0, 0.5, fixed=FIXED), Neuron(3.0, 0.5, fixed=FIXED, current_decay=0.0)
    assert plain.start(2, (3,)).shape == cuba.start(2, (3,)).shape == (2, 3)
    assert plain.details() == cuba.details() and not Neuron(3.0).leaks
    assert Neuron(3.0, current_decay=0.5).leaks
    assert "decay 1, current decay 0.5, reset zero" in Neuron(3.0, current_decay=0.5).details()
    x = Edge("x", (3,), INTEGER)
    for op, domain in ((Neuron(3.0, reset="none"), INTEGER),
                       (Neuron(3.0, reset="none", current_decay=0.5), ANALOG)):  # fmt: skip
        assert op.infer(x)[1] == domain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"current_decay": -0.1}, "the decay of a neuron's current is a factor"),
        ({"current_decay": 1.5}, "the decay of a neuron's current is a factor"),
        ({"current_decay": 0.3, "fixed": FIXED}, "decay of the current is off the chip's grid"),
        ({"current_decay": 1.0, "fixed": FIXED}, "a chip's current fades"),
    ],
)
def test_decays_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(IRError, match=message):
        Neuron(1.0, **options)


def layer(op: Neuron, weight: Any, steps: int = 6) -> Graph:
    weight = np.array(weight)
    nodes: list[Any] = [("l", Linear(weight), ("x",)), ("n", op, ("l",))]
    return build((Edge("x", (weight.shape[1],), SPIKE),), nodes, ("n",), steps)


def test_the_trace_holds_the_currents_of_those_that_keep_one() -> None:
    graph = layer(Neuron(np.inf, reset="none", current_decay=0.5), [[4.0]], 3)
    trace = run(graph, np.array([1.0, 0, 1]).reshape(3, 1, 1))
    assert trace.currents["n"].ravel().tolist() == [4, 2, 5]
    assert trace.membranes["n"].ravel().tolist() == [4, 6, 11]
    assert run(layer(Neuron(1.0), [[4.0]], 3), np.ones((3, 1, 1))).currents == {}


def test_a_current_costs_an_addition_and_a_multiplication_more() -> None:
    plain, cuba = (layer(Neuron(1.0, 0.5, current_decay=d), [[1.0]]) for d in (0.0, 0.5))
    a, b = (dense_counts(g, g.nodes[1]) for g in (plain, cuba))
    assert (b.add - a.add, b.mul - a.mul, b.cmp - a.cmp) == (1, 1, 0)


# The range proof.


@settings(max_examples=50, **SLOW)
@given(recurrent_graphs(clocked=False), st.integers(0, 99))
def test_no_run_leaves_the_bounds(graph: Graph, seed: int) -> None:
    x = np.concatenate([spikes(graph, 4, seed), np.ones_like(spikes(graph, 1, 0))], axis=1)
    trace = run(graph, x)
    for name, b in bound_neurons(graph, current_limit=LIMIT).items():
        op = graph.producer(name).op  # type: ignore[union-attr]
        assert isinstance(op, Neuron)
        u = trace.currents.get(name, trace.values[graph.producer(name).inputs[0]] * 64)  # type: ignore[union-attr]
        before = np.concatenate([np.full_like(u[:1], op.initial * 64), trace.membranes[name][:-1]])
        v = np.trunc(before * op.decay) + u
        assert b.current[0] * 64 <= u.min() and u.max() <= b.current[1] * 64
        assert b.membrane[0] * 64 <= v.min() and v.max() <= b.membrane[1] * 64


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("decay", [1.0, 0.0])
def test_bounds_are_reached(sign: float, decay: float) -> None:
    op = Neuron(np.inf, decay, "none", fixed=FIXED, current_decay=0.75)
    graph = layer(op, [[7.0 * sign, 9.0 * sign]])
    trace = run(graph, np.ones((6, 1, 2)))
    b = bound_neurons(graph, current_limit=LIMIT)["n"]
    furthest = max if sign > 0 else min
    assert furthest(b.current) * 64 == furthest(trace.currents["n"].ravel())
    assert furthest(b.membrane) * 64 == furthest(trace.membranes["n"].ravel())
    assert b.verdict == "proved"


@pytest.mark.parametrize(("decay", "wraps"), [(0.0, False), (0.25, False), (0.75, True)])
def test_a_current_that_adds_up_may_wrap(decay: float, wraps: bool) -> None:
    weight = np.full((1, 600), 127.0)  # 76,200 a step
    graph = layer(Neuron(9.0, fixed=FIXED, current_decay=decay), weight, 2)
    bounds = bound_neurons(graph, current_limit=LIMIT)["n"]
    assert bounds.current == (0.0, 76200.0 * (1 + decay))
    assert (bounds.verdict == "may wrap") == wraps


def test_a_current_makes_a_neuron_fire_that_one_step_could_not() -> None:
    nodes: list[Any] = [
        ("a.l", Linear([[3.0]]), ("x",)),
        ("a", Neuron(5.0 + 2**-6, 0.0, fixed=FIXED, current_decay=0.5), ("a.l",)),
        ("b.l", Linear([[2.0]]), ("a",)),
        ("b", Neuron(np.inf, reset="none", fixed=FIXED), ("b.l",)),
    ]
    graph = build((Edge("x", (1,), SPIKE),), nodes, ("b",), 4)
    assert run(graph, np.ones((4, 1, 1))).values["a"].any()
    assert bound_neurons(graph, current_limit=LIMIT)["b"].membrane[1] >= 2.0


# Quantization.


@pytest.mark.parametrize(("real", "whole"), [(0.6, 2458), (0.9999, 4095), (1.0, 4095), (1e-5, 0)])
def test_quantize_puts_the_current_on_the_grid(real: float, whole: int) -> None:
    graph = layer(Neuron(0.5, 1.0, current_decay=real), [[0.3, -0.2]])
    op = quantize(graph).nodes[1].op
    assert isinstance(op, Neuron) and op.current_decay * 4096 == whole
    units = op.threshold * 64
    # Where the membrane moves in 64ths, the chip fires from k + 1/64 on.
    assert float(units) % 64 == (1 if whole else 0)


def test_quantized_currents_fire_as_real_ones_do() -> None:
    r = np.random.default_rng(1)
    graph = graph_of(
        [
            ("l", Linear(r.normal(0.1, 0.3, (8, 6))), ("x",)),
            ("n", Neuron(1.0, 0.9, current_decay=0.7), ("l",)),
        ],
        x=Edge("x", (6,), SPIKE),
        steps=10,
    )
    x = spikes(graph, 40, 2)
    a, b = run(graph, x).values["n"], run(quantize(graph), x).values["n"]
    assert 0.05 < a.mean() < 0.95 and (a == b).mean() > 0.97
