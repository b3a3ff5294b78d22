"""The range proof attacked: no run may leave the bounds, and simple bounds are reached."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_cases import graph_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import FIXED, chip_graphs, spikes, trained_graphs

from purespike.compiler.domain import ANALOG, SPIKE, Array, Domain
from purespike.compiler.interpret import Trace, run
from purespike.compiler.ir import Edge, Graph, build
from purespike.compiler.ops import Add, Conv2d, FixedPoint, Flatten, Linear, Neuron, Scale
from purespike.compiler.passes.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.ranges import Bounds, bound_neurons

LIMIT = 131071.0


def bound(graph: Graph, name: str = "n") -> Bounds:
    return bound_neurons(graph, current_limit=LIMIT)[name]


def before_reset(graph: Graph, trace: Trace, name: str) -> Array:
    """The membrane when it is compared, in units of a weight, before any clip."""
    node = graph.producer(name)
    assert node is not None and isinstance(node.op, Neuron)
    op, unit = node.op, 2**node.op.fixed.fraction_bits if node.op.fixed else 1
    kept = np.concatenate([np.full_like(trace.membranes[name][:1], op.initial * unit),
                           trace.membranes[name][:-1]]) * op.decay  # fmt: skip
    kept = np.trunc(kept) if op.fixed else kept
    return kept / unit + trace.values[node.inputs[0]]


def assert_sound(graph: Graph, x: Array, slack: float) -> None:
    trace = run(graph, x)
    for name, b in bound_neurons(graph, current_limit=LIMIT).items():
        node = graph.producer(name)
        assert node is not None
        if b.verdict == "unknown":
            continue
        for values, (low, high) in (
            (trace.values[node.inputs[0]], b.current),
            (before_reset(graph, trace, name), b.membrane),
        ):
            assert low - slack <= values.min() and values.max() <= high + slack, (name, b)


def attacks(graph: Graph, seed: int) -> Array:
    """Random trains, all on, all off, and inhibition first, then excitation, or the reverse."""
    (edge,) = graph.inputs
    steps = graph.steps
    reader = next(n for n in graph.nodes if edge.name in n.inputs)
    weight = reader.op.arrays().get("weight", np.ones((1, 1)))
    axes = tuple(k for k in range(weight.ndim) if k != 1)
    helps = np.ones(edge.shape)
    if weight.ndim == 4 and weight.shape[1] == edge.shape[0]:
        helps = helps * (weight.sum(axis=axes) > 0)[:, None, None]
    elif weight.ndim == 2 and weight.shape[1:] == edge.shape:
        helps = (weight[0] > 0).astype(float)
    trains = [np.broadcast_to(f, (steps, *edge.shape)) for f in (np.ones(edge.shape), helps,
                                                                 1 - helps)]  # fmt: skip
    for switch in range(1, steps):
        for first, then in ((helps, 1 - helps), (1 - helps, helps)):
            train = np.stack([first if t < switch else then for t in range(steps)])
            trains.append(train)
    random = spikes(graph, 6, seed)
    return np.concatenate([np.stack(trains, axis=1), random], axis=1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(chip_graphs(max_steps=6), st.integers(0, 2**16))
def test_bounds_of_integer_graphs_hold(graph: Graph, seed: int) -> None:
    assert_sound(graph, attacks(graph, seed), 0.0)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.integers(0, 2**16))
def test_bounds_of_real_graphs_hold(graph: Graph, seed: int) -> None:
    graph = fold_scales(fuse_batchnorm(graph))
    assert_sound(graph, attacks(graph, seed), 1e-9)


@st.composite
def single_neurons(draw: Any) -> Graph:
    """One neuron in fixed point, narrow enough to saturate, or in real numbers."""
    inputs = draw(st.integers(1, 5))
    weight = draw(st.lists(st.integers(-40, 40), min_size=inputs, max_size=inputs))
    fixed = draw(st.sampled_from([None, FIXED, FixedPoint(width=12), FixedPoint(6, 12, 9)]))
    decay = draw(st.sampled_from([0.0, 1 / 4096, 0.5, 0.9 if fixed is None else 3686 / 4096, 1.0]))
    reset = draw(st.sampled_from(["zero", "subtract", "none"]))
    neuron = Neuron(
        draw(st.integers(1, 60)) if reset != "none" else np.inf,
        decay,
        reset,
        np.array(float(draw(st.integers(1, 90)))),
        draw(st.sampled_from([0.0, 3.0, -2.0])),
        fixed,
    )
    bias = draw(st.none() | st.integers(-20, 20).map(lambda b: [float(b)]))
    domain = draw(st.sampled_from([SPIKE, Domain(-1, 1, 1), Domain(0, 2, 1)]))
    edge = Edge("x", (inputs,), domain)
    nodes = [("l", Linear([weight], bias), ("x",)), ("n", neuron, ("l",))]
    return build((edge,), nodes, ("n",), draw(st.integers(1, 8)))


@settings(max_examples=300, deadline=None)
@given(single_neurons(), st.integers(0, 2**16))
def test_bounds_of_one_neuron_hold_for_every_kind(graph: Graph, seed: int) -> None:
    (edge,) = graph.inputs
    r = np.random.default_rng(seed)
    op = graph.nodes[0].op
    assert isinstance(op, Linear)
    low, high = edge.domain.lo, edge.domain.hi
    most = np.where(op.weight[0] > 0, high, low)
    least = np.where(op.weight[0] > 0, low, high)
    trains = [np.where(r.random((graph.steps, 1)) < p, most, least) for p in r.random(12)]
    trains += [np.where(np.arange(graph.steps)[:, None] < k, a, b) for k in range(graph.steps)
               for a, b in ((most, least), (least, most))]  # fmt: skip
    trains += [r.integers(int(low), int(high) + 1, (graph.steps, *edge.shape)) for _ in range(20)]
    assert_sound(graph, np.stack(trains, axis=1).astype(float), 1e-9)
    b = bound(graph)
    neuron = graph.nodes[1].op
    assert isinstance(neuron, Neuron)
    if neuron.fixed and b.verdict == "proved":
        assert max(-b.membrane[0], b.membrane[1]) * 64 <= neuron.fixed.limit


WEIGHT = [[5.0, -3.0, 2.0]]
VECTOR = Edge("x", (3,), SPIKE)


def one(neuron: Neuron, bias: Any = None, steps: int = 4) -> Graph:
    nodes = [("l", Linear(WEIGHT, bias), ("x",)), ("n", neuron, ("l",))]
    return build((VECTOR,), nodes, ("n",), steps)


@pytest.mark.parametrize(
    ("neuron", "bias", "membrane"),
    [
        (Neuron(100.0), None, (-12.0, 28.0)),  # T steps of N and of P
        (Neuron(100.0), [1.0], (-8.0, 32.0)),
        (Neuron(100.0, 0.5), None, (-5.625, 13.125)),
        (Neuron(100.0, 0.0), None, (-3.0, 7.0)),
        (Neuron(np.inf, reset="none"), [-1.0], (-16.0, 24.0)),
        # From just below the threshold: 3 x 2 = 6, then 7 more.
        (Neuron(7.0), None, (-12.0, 14.0)),
        (Neuron(100.0, fixed=FIXED), None, (-12.0, 28.0)),
        (Neuron(1.0, reset="subtract", amount=np.array(1.0)), None, (-12.0, 25.0)),
    ],
)
def test_known_bounds(neuron: Neuron, bias: Any, membrane: tuple[float, float]) -> None:
    b = bound(one(neuron, bias))
    shift = bias[0] if bias else 0.0
    assert b.current == (-3.0 + shift, 7.0 + shift)
    assert b.membrane == membrane
    assert b.verdict == "proved"


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("fixed", [None, FIXED])
def test_bounds_are_reached(reset: Any, decay: float, fixed: Any) -> None:
    """All inhibition, and all excitation: integrators and silent neurons reach both ends."""
    threshold = np.inf if reset == "none" else 1000.0
    graph = one(Neuron(threshold, decay, reset, fixed=fixed))
    low = np.tile([0.0, 1.0, 0.0], (4, 1))
    x = np.stack([low, 1 - low], axis=1)
    v = before_reset(graph, run(graph, x), "n")
    assert (v.min(), v.max()) == bound(graph).membrane


def test_borders_of_a_convolution_stay_inside_the_bound_of_its_middle() -> None:
    # At a border, fewer weights meet: the inhibitory ones alone may be left, never more than all.
    weight = np.array([[[[1.0, -2.0, 4.0]]]])
    nodes = [("c", Conv2d(weight, None, (1, 1), (0, 1)), ("x",)), ("n", Neuron(100.0), ("c",))]
    graph = build((Edge("x", (1, 1, 3), Domain(1, 1, 1)),), nodes, ("n",), 1)
    b = bound(graph)
    assert b.current == (-2.0, 5.0)  # zeros of the padding included
    assert_sound(graph, np.ones((1, 1, 1, 1, 3)), 0.0)


def test_sums_one_to_one_synapses_and_channels() -> None:
    graph = graph_of(
        [
            ("c", Conv2d(np.array([[[[2.0]]], [[[-3.0]]]]), [1.0, 0.0]), ("x",)),
            ("d", Conv2d(np.ones((2, 1, 1, 1))), ("x",)),
            ("m", Neuron(1.0), ("d",)),
            ("s", Scale([[[4.0]], [[-1.0]]]), ("m",)),
            ("a", Add(), ("c", "s")),
            ("n", Neuron(100.0), ("a",)),
        ],
        steps=1,
    )
    assert bound(graph).current == (-4.0, 7.0)


@pytest.mark.parametrize(
    ("weights", "bias", "verdict"),
    [
        (1031, 0.0, "proved"),  # 130937
        (1033, 0.0, "may wrap"),  # 131191: beyond 2**23 / 64
        (1033, -4095.0, "may wrap"),  # the synapses alone wrap; the bias comes later
        (1033, 4095.0, "may wrap"),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_currents_that_may_wrap(weights: int, bias: float, verdict: str, sign: float) -> None:
    edge = Edge("x", (weights,), SPIKE)
    linear = Linear(np.full((1, weights), sign * 127.0), [bias])
    nodes = [("l", linear, ("x",)), ("n", Neuron(1000.0, fixed=FIXED), ("l",))]
    assert bound(build((edge,), nodes, ("n",), 1)).verdict == verdict


def test_membrane_that_saturates() -> None:
    edge = Edge("x", (500,), SPIKE)
    linear = Linear(np.full((1, 500), -127.0))

    def verdict(steps: int) -> str:
        nodes = [("l", linear, ("x",)), ("n", Neuron(9.0, fixed=FIXED), ("l",))]
        return bound(build((edge,), nodes, ("n",), steps)).verdict

    assert verdict(2) == "proved"  # 127000
    assert verdict(3) == "saturates"  # 190500 weights, beyond 131071


@pytest.mark.parametrize("weight", [[[1.0, 2.0, 3.0]], [[1.0, 0.0, -2.0]], [[0.0, 0.0, 1.0]]])
def test_unbounded_inputs_prove_nothing(weight: Any) -> None:
    nodes = [("l", Linear(weight), ("x",)), ("n", Neuron(1.0), ("l",))]
    assert bound(build((Edge("x", (3,), ANALOG),), nodes, ("n",), 2)).verdict == "unknown"
    nodes = [("l", Scale(weight[0]), ("x",)), ("n", Neuron(1.0), ("l",))]
    assert bound(build((Edge("x", (3,), ANALOG),), nodes, ("n",), 2)).verdict == "unknown"


def test_zero_weights_stop_unbounded_inputs() -> None:
    nodes = [("l", Linear(np.zeros((1, 3))), ("x",)), ("n", Neuron(1.0), ("l",))]
    assert bound(build((Edge("x", (3,), ANALOG),), nodes, ("n",), 2)).current == (0.0, 0.0)


def test_spikes_read_without_a_synapse_are_bounded() -> None:
    graph = graph_of([("f", Flatten(), ("x",)), ("n", Neuron(9.0), ("f",))])
    assert bound(graph).membrane == (0.0, 3.0)
    graph = graph_of([("n", Neuron(9.0), ("x",))])
    assert bound(graph).membrane == (0.0, 3.0)
