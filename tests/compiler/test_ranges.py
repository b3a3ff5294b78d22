"""The range proof attacked: no run may leave the bounds, and simple bounds are reached."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.onnx_cases import layout_of, realise
from helpers.strategies import FIXED, chip_graphs, spikes, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.proofs.firing import bound_flows
from purespike.compiler.proofs.ranges import Bounds, bound_neurons, tightness

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
    return kept / unit + arriving(graph, trace, name)


def arriving(graph: Graph, trace: Trace, name: str) -> Array:
    """What reaches the membrane in a step: the synapses' sum, and what it has left of before."""
    node = graph.producer(name)
    assert node is not None and isinstance(node.op, Neuron)
    if not node.op.current_decay:
        return trace.values[node.inputs[0]]
    return trace.currents[name] / (2**node.op.fixed.fraction_bits if node.op.fixed else 1)


def assert_sound(graph: Graph, x: Array, slack: float) -> None:
    trace = run(graph, x)
    for name, b in bound_neurons(graph, current_limit=LIMIT).items():
        node = graph.producer(name)
        assert node is not None
        if b.verdict == "unknown":
            continue
        for values, (low, high) in (
            (arriving(graph, trace, name), b.current),
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


# How much an edge carries over a sample, and what follows for membranes.


def most(graph: Graph, name: str) -> float:
    """The largest sum of an edge over a sample."""
    return float(bound_flows(graph)[name].most.max())


def assert_flows(graph: Graph, x: Array, slack: float = 0.0) -> None:
    """Every value, and every sum over an interval of steps, of every edge."""
    values, flows = run(graph, x).values, bound_flows(graph)
    for edge in graph.edges():
        flow, carried = flows[edge.name], values[edge.name]
        assert (flow.low - slack <= carried).all() and (carried <= flow.high + slack).all(), edge
        for begin in range(graph.steps):
            sums = np.cumsum(carried[begin:], axis=0)
            assert (flow.least - slack <= sums).all() and (sums <= flow.most + slack).all(), edge


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(chip_graphs(max_steps=5), st.integers(0, 2**16))
def test_flows_hold_on_integer_graphs(graph: Graph, seed: int) -> None:
    assert_flows(graph, attacks(graph, seed))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.integers(0, 2**16))
def test_flows_hold_on_trained_graphs(graph: Graph, seed: int) -> None:
    assert_flows(graph, attacks(graph, seed), 1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_flows_and_bounds_hold_in_loops_gates_and_pools(seed: int) -> None:
    case = realise(layout_of(seed))
    x = np.concatenate([case.x, np.ones_like(case.x), attacks(case.graph, seed)], axis=1)
    assert_flows(case.graph, x)
    assert_sound(case.graph, x, 0.0)


@st.composite
def slow_chains(draw: Any) -> Graph:
    """Three layers of few inputs with thresholds that take several steps to reach."""
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inputs, steps = draw(st.sampled_from([(1, 8), (2, 4), (3, 3)]))
    nodes: list[Any] = []
    source, size = "x", inputs
    for k in range(3):
        out = draw(st.integers(1, 3))
        weight = r.integers(-6, 8, (out, size)).astype(float)
        bias = r.integers(-2, 3, out).astype(float) if draw(st.booleans()) else None
        nodes.append((f"l{k}", Linear(weight, bias), (source,)))
        reset = draw(st.sampled_from(["zero", "zero", "subtract"]))
        decay = draw(st.sampled_from([1.0, 1.0, 0.0, 0.5, 3000 / 4096]))
        initial = draw(st.sampled_from([0.0, 0.0, 2.0, -3.0]))
        theta = r.integers(1, 25, out).astype(float)
        amount = np.array(float(draw(st.integers(1, 30))))
        fades = draw(st.sampled_from([0.0, 0.0, 0.5, 3000 / 4096]))
        neuron = Neuron(theta, decay, reset, amount, initial, FIXED, fades)
        nodes.append((f"n{k}", neuron, (f"l{k}",)))
        source, size = f"n{k}", out
        if draw(st.booleans()):
            nodes.append((f"d{k}", Delay(draw(st.integers(1, 2))), (source,)))
            source = f"d{k}"
    nodes.append(("read", Linear(r.integers(-6, 8, (1, size)).astype(float)), (source,)))
    nodes.append(("out", Neuron(np.inf, reset="none", fixed=FIXED), ("read",)))
    return build((Edge("x", (inputs,), SPIKE),), nodes, ("out",), steps)


def every_input(graph: Graph) -> Array:
    """All spike trains of a small input: (T, 2 ** (T * inputs), inputs)."""
    (edge,) = graph.inputs
    bits = graph.steps * edge.shape[0]
    table = (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1
    return np.moveaxis(table.reshape(-1, graph.steps, edge.shape[0]), 0, 1).astype(float)


@settings(max_examples=60, deadline=None)
@given(slow_chains())
def test_bounds_hold_for_every_single_input(graph: Graph) -> None:
    """No attack can be better than all of them."""
    x = every_input(graph)
    assert_flows(graph, x)
    assert_sound(graph, x, 0.0)


def test_counting_spikes_reaches_what_an_exhaustive_search_finds() -> None:
    """Sources that need three steps to fire move a membrane a third as far."""
    nodes = [
        ("l0", Linear([[2.0], [3.0]]), ("x",)),
        ("n0", Neuron(6.0, fixed=FIXED), ("l0",)),
        ("l1", Linear([[-5.0, -7.0]]), ("n0",)),
        ("n1", Neuron(1.0, fixed=FIXED), ("l1",)),
    ]
    graph = build((Edge("x", (1,), SPIKE),), nodes, ("n1",), 9)
    low, _ = bound(graph, "n1").membrane
    assert low == -(3 * 5.0 + 4 * 7.0)  # every third and every second step; not 9 x 12
    assert low == before_reset(graph, run(graph, every_input(graph)), "n1").min()


@pytest.mark.parametrize(
    ("neuron", "count"),
    [
        (Neuron(6.0), 3.0),  # 2 a step: steps 2, 5, 8
        (Neuron(6.0, reset="subtract"), 3.0),
        (Neuron(5.0, reset="subtract", amount=np.array(5.0)), 3.0),  # 18 / 5
        (Neuron(1.0, reset="subtract", amount=np.array(6.0)), 3.0),
        (Neuron(2.0), 9.0),
        (Neuron(19.0), 0.0),
        (Neuron(4.0, 0.5), 0.0),  # leaks as fast as it fills, below 4
        (Neuron(3.0, 0.5), 4.0),
        (Neuron(5.0, initial=3.0), 3.0),  # 5, then every third: steps 0, 3, 6
        (Neuron(np.inf), 0.0),
    ],
)
def test_known_spike_counts(neuron: Neuron, count: float) -> None:
    nodes = [("l", Linear([[2.0]]), ("x",)), ("n", neuron, ("l",))]
    graph = build((Edge("x", (1,), SPIKE),), nodes, ("n",), 9)
    assert most(graph, "n") == count
    assert run(graph, every_input(graph)).values["n"].sum(axis=0).max() == count


def test_few_input_spikes_bound_all_that_follows() -> None:
    """Charge: a layer that fires twice at most cannot make the next one fire more often."""
    nodes = [
        ("l0", Linear([[2.0]]), ("x",)),
        ("n0", Neuron(9.0, fixed=FIXED), ("l0",)),  # twice in ten steps
        ("l1", Linear([[8.0]]), ("n0",)),
        ("n1", Neuron(7.0, fixed=FIXED), ("l1",)),  # at each of them; not at every step
        ("l2", Linear([[-3.0]]), ("n1",)),
        ("n2", Neuron(1.0, fixed=FIXED), ("l2",)),
    ]
    graph = build((Edge("x", (1,), SPIKE),), nodes, ("n2",), 10)
    assert most(graph, "n0") == most(graph, "n1") == 2.0
    assert bound(graph, "n2").membrane[0] == -6.0


def test_what_never_fires_moves_nothing() -> None:
    for silent in (Neuron(7.0, 0.0), Neuron(9.0, 0.5), Neuron(99.0, initial=-1.0)):
        weight = [[4.0]] if silent.decay < 1 else [[-4.0]]
        nodes = [
            ("l0", Linear(weight), ("x",)),
            ("n0", silent, ("l0",)),
            ("l1", Linear([[-5.0]]), ("n0",)),
            ("n1", Neuron(1.0), ("l1",)),
        ]
        graph = build((Edge("x", (1,), SPIKE),), nodes, ("n1",), 4)
        assert bound(graph, "n1") == Bounds((0.0, 0.0), (0.0, 0.0), "proved")


def test_too_slow_for_one_sample_is_not_never() -> None:
    # On a chip samples follow each other: between two, a slow source may fire after all.
    nodes = [
        ("l0", Linear([[1.0]]), ("x",)),
        ("n0", Neuron(9.0, fixed=FIXED), ("l0",)),
        ("l1", Linear([[-5.0]]), ("n0",)),
        ("n1", Neuron(1.0, fixed=FIXED), ("l1",)),
    ]
    b = bound(build((Edge("x", (1,), SPIKE),), nodes, ("n1",), 4), "n1")
    assert b.current == (-5.0, 0.0) and b.membrane == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "count"), [("and", 2.0), ("or", 5.0), ("xor", 5.0), ("iand", 3.0)]
)
def test_gates_fire_as_often_as_their_inputs_let_them(kind: Any, count: float) -> None:
    nodes = [
        ("l", Linear([[2.0]]), ("x",)),
        ("two", Neuron(5.0), ("l",)),
        ("three", Neuron(4.0), ("l",)),
        ("g", Gate(kind), ("two", "three")),
    ]
    graph = build((Edge("x", (1,), SPIKE),), nodes, ("g",), 7)
    assert most(graph, "g") == count


def test_pools_pass_counts_on() -> None:
    nodes = [
        ("c", Conv2d(np.full((1, 1, 1, 1), 2.0)), ("x",)),
        ("n", Neuron(5.0), ("c",)),
        ("m", MaxPool2d((1, 2), (1, 2)), ("n",)),
        ("a", AvgPool2d((2, 2), (2, 2)), ("n",)),
    ]
    graph = graph_of(nodes, "m", "a", steps=7)
    assert most(graph, "m") == 4.0  # twice for each of two
    assert most(graph, "a") == 7.0  # nothing better is known than its domain
    assert_flows(graph, attacks(graph, 0))


def test_tightness() -> None:
    assert tightness((-10.0, 10.0), (-2.0, 3.0)) == 4.0
    assert tightness((-1.0, 1.0), (0.0, 0.0)) == np.inf


def ratios(seeds: range) -> Array:
    """Of each neuron layer of some networks: proved range of the membrane over the observed one."""
    found = []
    for seed in seeds:
        case = realise(layout_of(seed))
        x = np.concatenate([case.x, np.ones_like(case.x), attacks(case.graph, seed)], axis=1)
        trace = run(case.graph, x)
        for name, b in bound_neurons(case.graph, current_limit=LIMIT).items():
            v = before_reset(case.graph, trace, name)
            found.append(tightness(b.membrane, (min(0.0, v.min()), max(0.0, v.max()))))
    return np.array([ratio for ratio in found if np.isfinite(ratio)])


def test_bounds_are_tight_enough_to_be_useful() -> None:
    few = ratios(range(12))
    assert few.min() >= 1.0 and np.median(few) < 4.0


@pytest.mark.slow
def test_tightness_that_the_documentation_states() -> None:
    many = ratios(range(60))
    print(len(many), np.percentile(many, [25, 50, 75, 90]))
    assert many.min() >= 1.0 and np.median(many) < 2.5


def test_bounds_are_computed_once_a_graph() -> None:
    """What a caller does to its bounds, other limits and other graphs change nothing."""

    def made(threshold: float) -> Graph:
        nodes = [("l", Linear(np.array([[3.0, -2.0]])), ("x",)), ("n", Neuron(threshold), ("l",))]
        return build((Edge("x", (2,), SPIKE),), nodes, ("n",), 4)

    graph = made(4.0)
    first = bound_neurons(graph, current_limit=LIMIT)
    kept = dict(first)
    first.clear()
    assert bound_neurons(graph, current_limit=LIMIT) == kept
    assert bound_neurons(graph, current_limit=1.0)["n"].verdict == "may wrap"
    assert bound_neurons(made(40.0), current_limit=LIMIT) != kept
    assert replace(graph, steps=9) != graph
    assert bound_neurons(replace(graph, steps=9), current_limit=LIMIT) != kept
    assert bound_neurons(pickle.loads(pickle.dumps(graph)), current_limit=LIMIT) == kept
