"""Integer graphs in Lava: every layer's spikes and the readout equal to the interpreter's.

Most cases run on ``lava_reference`` (a numpy simulation of a Lava program that
``test_lava_worker`` holds against Lava itself); a few of every kind run on Lava.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.lava_reference import simulate as simulate_program
from helpers.strategies import FIXED, LEAK, Draft, chip_graphs, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE, TERNARY, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.layout import EmitError
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.check import check
from purespike.targets.lava.run.simulate import simulate

MANY = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def reference(graph: Graph, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Spikes and readout membranes of the emitted program, in logical time and our layout."""
    plan = schedule(graph)
    program = emit(graph, plan, x)
    check(program)
    spiked, membranes = simulate_program(program)
    samples = x.shape[1]
    return (
        {n: from_lava(spiked[n], graph.steps, samples, plan.depth[n]) for n in program.record},
        {n: from_lava(membranes[n], graph.steps, samples, plan.depth[n]) for n in program.record_v},
    )


def assert_equal(graph: Graph, x: Array, found: tuple[Any, Any]) -> None:
    expected = run(graph, x)
    firing = [n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]
    assert sorted(found[0]) == sorted(firing)
    for values, wanted in ((found[0], expected.values), (found[1], expected.membranes)):
        for name, value in values.items():
            np.testing.assert_array_equal(value, wanted[name], err_msg=f"{name} of\n{graph}")


def assert_lava_equal(graph: Graph, x: Array) -> None:
    result = simulate(graph, x, timeout=120.0)
    assert_equal(graph, x, (result.spikes, result.membranes))


@settings(max_examples=60, deadline=None, suppress_health_check=MANY)
@given(chip_graphs(max_steps=3), st.integers(1, 3), st.integers(0, 2**16))
def test_random_graphs_mean_the_same_in_lavas_terms(graph: Graph, samples: int, seed: int) -> None:
    x = spikes(graph, samples, seed)
    assert schedule(graph).misaligned() == ()
    assert_equal(graph, x, reference(graph, x))


def test_one_to_one_synapse_on_a_flattened_image_keeps_the_order() -> None:
    draft = Draft((2, 3, 2), 2)
    flat = draft.put(Flatten(), "x")
    scaled = draft.put(Scale(np.arange(1.0, 13.0)), flat)
    layer = draft.put(Linear(np.eye(12)[::-1]), flat)
    out = draft.put(Neuron(np.arange(1.0, 13.0), fixed=FIXED), draft.put(Add(), layer, scaled))
    graph = draft.graph(out)
    x = spikes(graph, 2, 0)
    assert_equal(graph, x, reference(graph, x))


def neuron(threshold: Any, decay: float = 1.0, reset: Any = "zero", amount: Any = None) -> Neuron:
    return Neuron(threshold, decay, reset, amount, fixed=FIXED)


def readout() -> Neuron:
    return Neuron(np.inf, reset="none", fixed=FIXED)


def assert_reference_equal(draft: Draft, *outputs: str) -> None:
    graph = draft.graph(*outputs)
    x = spikes(graph, 3, 1)
    assert_equal(graph, x, reference(graph, x))


def test_one_synapse_of_two_neurons() -> None:
    draft = Draft((2, 3, 3), 2)
    shared = draft.put(Conv2d(np.ones((2, 2, 2, 2)), np.ones(2)), "x")
    low, high = (draft.put(neuron(t), shared) for t in (2.0, 5.0))
    assert_reference_equal(draft, low, high)


def test_one_synapse_of_two_neurons_held_back_for_one() -> None:
    draft = Draft((2, 3, 3), 3)
    shared = draft.put(Conv2d(np.ones((2, 2, 1, 1))), "x")
    first = draft.put(neuron(2.0), shared)
    again = draft.put(Conv2d(np.ones((2, 2, 1, 1))), first)
    second = draft.put(neuron(3.0), draft.put(Add(), shared, again))
    assert_reference_equal(draft, first, second)


def pooling(groups: int) -> Graph:
    """A grouped convolution that is not square in any respect, early and, delayed, late."""
    r = np.random.default_rng(7)
    weight = r.integers(-5, 9, (2 * groups, 1, 2, 3))
    draft = Draft((groups, 5, 4), 3)
    geometry: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    early = draft.put(Conv2d(weight, None, groups=groups, **geometry), "x")
    first = draft.put(neuron(6.0), early)
    again = draft.put(Scale(np.array(3.0)), first)
    out = draft.put(neuron(9.0), draft.put(Add(), again, early))
    return draft.graph(first, out)


def test_more_groups_than_lavas_convolution_can_hold() -> None:
    graph = pooling(128)
    x = spikes(graph, 2, 1)
    plan = schedule(graph)
    assert max(a.delay for a in plan.arrivals) == 1
    kinds = [type(p).__name__ for p in emit(graph, plan, x).processes]
    assert kinds.count("Sparse") == 3 and kinds.count("Conv") == 0
    assert_equal(graph, x, reference(graph, x))
    assert_lava_equal(graph, x)
    # The same network with fewer groups goes through Conv.
    few = pooling(3)
    kinds = [type(p).__name__ for p in emit(few, schedule(few), spikes(few, 1, 1)).processes]
    assert kinds.count("Conv") == 2


def test_one_current_added_to_itself() -> None:
    draft = Draft((2, 3, 3), 2)
    current = draft.put(Conv2d(np.ones((2, 2, 2, 2)), np.ones(2)), "x")
    assert_reference_equal(draft, draft.put(neuron(7.0), draft.put(Add(), current, current)))


def test_memoryless_neuron_forgets_what_a_soft_reset_leaves() -> None:
    # Lava's longest leak keeps 1 / 4096: of -10000 weights that is more than two weights.
    draft = Draft((4,), 6)
    current = draft.put(Linear(np.full((3, 4), 4.0)), "x")
    assert_reference_equal(draft, draft.put(neuron(12.0, 0.0, "subtract", 10000.0), current))


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (np.ones((4, 1, 4)), "(4, 1, 4)"),
        (np.ones((2, 4)), "(2, 4)"),
        (np.ones((2, 1, 5)), "(2, 1, 5)"),
        (np.full((2, 1, 4), 0.5), "0.5"),
        (np.full((2, 1, 4), 256.0), "256"),
    ],
)
def test_frames_that_are_no_input_of_the_graph(frames: Array, found: str) -> None:
    draft = Draft((4,), 2)
    graph = draft.graph(draft.put(neuron(10.0), draft.put(Linear(np.ones((3, 4))), "x")))
    with pytest.raises(EmitError) as e:
        emit(graph, schedule(graph), frames)
    assert found in e.value.found
    assert e.value.where == "x"


# On Lava itself: every layer's spikes and the readout, several samples back to back.


def fixed_image(draft: Draft, r: np.random.Generator, channels: int, **geometry: Any) -> str:
    """A convolution of random integers and a neuron that fires now and then."""
    shape = (channels, draft.shapes["x"][0] // geometry.get("groups", 1), 3, 2)
    weight = r.integers(-4, 7, shape).astype(float)
    current = draft.put(Conv2d(weight, r.integers(-2, 3, channels), **geometry), "x")
    return draft.put(neuron(r.integers(2, 9, (channels, 1, 1))), current)


def net_geometry() -> Graph:
    """Stride, padding, dilation, groups, a kernel and an image that are not square."""
    r = np.random.default_rng(1)
    draft = Draft((4, 7, 5), 3)
    image = fixed_image(draft, r, 6, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2)
    flat = draft.put(Flatten(), image)
    (size,) = draft.shapes[flat]
    current = draft.put(Linear(r.integers(-9, 15, (5, size)), r.integers(-9, 9, 5)), flat)
    hidden = draft.put(neuron(np.arange(60.0, 65.0)), current)
    out = draft.put(Linear(r.integers(-127, 128, (3, 5)), [5.0, -6.0, 7.0]), hidden)
    return draft.graph(draft.put(readout(), out))


def net_gates() -> Graph:
    """All four gates of two layers, in chip form."""
    r = np.random.default_rng(2)
    draft = Draft((2, 4, 3), 4)
    a = fixed_image(draft, r, 2, padding=(1, 1), dilation=(1, 2))
    b = fixed_image(draft, r, 2, padding=(1, 1), dilation=(1, 2))
    gates = [draft.put(Gate(kind), a, b) for kind in ("and", "or", "iand", "xor")]
    gates.append(draft.put(Gate("xor"), *gates))
    return quantize(lower_gates(draft.graph(*gates)))


def net_residual() -> Graph:
    """SN residual: identity and a convolution on the short branch, both held back."""
    r = np.random.default_rng(3)
    draft = Draft((3, 4, 5), 3)
    stem = draft.put(neuron(4.0), draft.put(Conv2d(r.integers(-2, 5, (3, 3, 1, 1))), "x"))
    first = draft.put(neuron(5.0), draft.put(same_size(r), stem))
    second = draft.put(neuron(6.0), draft.put(same_size(r), first))
    current = draft.put(
        Add(),
        draft.put(same_size(r), second),
        draft.put(same_size(r), stem),
        draft.put(Conv2d(r.integers(-2, 5, (3, 3, 1, 1)), [1.0, -1.0, 0.0]), "x"),
        draft.put(Scale(r.integers(1, 5, (3, 4, 5))), first),
    )
    return draft.graph(draft.put(neuron(9.0), current))


def same_size(r: np.random.Generator) -> Conv2d:
    return Conv2d(r.integers(-3, 5, (3, 3, 3, 3)), None, (1, 1), (1, 1))


def net_neurons() -> Graph:
    """Soft resets, leaks on the chip's grid, biases, a memoryless neuron, thresholds by neuron."""
    r = np.random.default_rng(4)
    draft = Draft((6,), 6)
    kinds = [
        neuron(r.integers(5, 20, 8), 1.0, "subtract", r.integers(3, 30, 8)),
        neuron(9 + 2.0**-6, 3686 * LEAK),
        neuron(9 + 2.0**-6, 4095 * LEAK, "subtract", 12.0),
        neuron(9 + 2.0**-6, 1 * LEAK, "subtract", 40.0),
        neuron(9.0, 0.0),
    ]
    outputs = []
    for kind in kinds:
        weight = r.integers(-4, 10, (8, 6))
        current = draft.put(Linear(weight, r.integers(-3, 4, 8)), "x")
        fired = draft.put(kind, current)
        leaky = Neuron(np.inf, 0.5, "none", fixed=FIXED) if kind.decay == 1 else readout()
        outputs.append(draft.put(leaky, draft.put(Linear(r.integers(-9, 9, (2, 8))), fired)))
    return draft.graph(*outputs)


def net_memoryless() -> Graph:
    """Memoryless neurons just below and above the size at which Lava's decay forgets by itself."""
    r = np.random.default_rng(9)
    draft = Draft((8,), 5)
    outputs = []
    for weight, threshold in ((7, 9.0), (8, 9.0), (127, 60.0)):
        current = draft.put(Linear(r.integers(-weight, weight + 1, (8, 8))), "x")
        fired = draft.put(neuron(threshold, 0.0), current)
        outputs.append(draft.put(readout(), draft.put(Linear(r.integers(-9, 9, (2, 8))), fired)))
    return draft.graph(*outputs)


def net_flat_residual() -> Graph:
    """One-to-one synapses on a flattened image, beside a linear layer, held back."""
    r = np.random.default_rng(5)
    draft = Draft((2, 3, 2), 2)
    flat = draft.put(Flatten(), "x")
    first = draft.put(neuron(4.0), draft.put(Linear(r.integers(-3, 6, (12, 12))), flat))
    current = draft.put(
        Add(),
        draft.put(Scale(np.arange(1.0, 13.0)), flat),
        draft.put(Linear(r.integers(-3, 6, (12, 12))), first),
        draft.put(Linear(r.integers(-3, 6, (12, 12))), flat),
    )
    return draft.graph(draft.put(neuron(np.arange(3.0, 15.0)), current))


def net_shared() -> Graph:
    """One synapse of two neurons, one of them later, and of one neuron twice."""
    r = np.random.default_rng(6)
    draft = Draft((2, 3, 3), 3)
    shared = draft.put(Conv2d(r.integers(-2, 5, (2, 2, 2, 2)), [1.0, 2.0], (1, 1), (1, 0)), "x")
    first = draft.put(neuron(4.0), draft.put(Add(), shared, shared))
    again = draft.put(Conv2d(r.integers(-2, 5, (2, 2, 1, 1))), first)
    return draft.graph(draft.put(neuron(5.0), draft.put(Add(), shared, again)))


NETS = [
    net_geometry,
    net_gates,
    net_residual,
    net_neurons,
    net_memoryless,
    net_flat_residual,
    net_shared,
]


@pytest.mark.parametrize("net", NETS)
def test_on_lava(net: Any) -> None:
    graph = net()
    x = spikes(graph, 4, 7)
    trace = run(graph, x)
    for node in graph.nodes:  # a layer that is silent, or fires always, shows nothing
        if isinstance(node.op, Neuron) and node.op.fires:
            assert 0 < trace.values[node.name].mean() < 1, node.name
    assert_equal(graph, x, reference(graph, x))
    assert_lava_equal(graph, x)


def test_on_lava_one_step_a_sample() -> None:
    graph = replace(net_geometry(), steps=1)
    assert_lava_equal(graph, spikes(graph, 5, 0))


def test_on_lava_with_its_own_convolution() -> None:
    graph = net_geometry()
    x = spikes(graph, 2, 3)
    result = simulate(graph, x, conv="stock", timeout=120.0, jobs=1)
    assert_equal(graph, x, (result.spikes, result.membranes))
    assert result.steps == 2 * graph.steps + result.plan.latency


def test_on_lava_a_membrane_that_saturates() -> None:
    draft = Draft((600,), 4)
    weights = [np.full(600, 127.0), np.full(600, -127.0), np.r_[[127.0] * 300, [-127.0] * 300]]
    currents = draft.put(Linear(np.stack(weights)), "x")
    out = draft.put(neuron(1000.0, 1.0, "subtract", 100.0), currents)
    graph = draft.graph(out)
    x = np.ones((4, 2, 600))
    x[2:, 0, 300:] = 0.0
    x[1:, 1, :299] = 0.0
    assert bound_neurons(graph, current_limit=131071)[out].verdict == "saturates"
    assert_lava_equal(graph, x)


def test_on_lava_a_trained_network_through_all_passes() -> None:
    r = np.random.default_rng(8)
    conv = Conv2d(r.normal(0.1, 0.5, (4, 2, 3, 3)), None, (1, 1), (1, 1))
    draft = Draft((2, 6, 4), 3)
    stem = draft.put(Neuron(0.6, 0.8), draft.put(conv, "x"))
    pooled = draft.put(MaxPool2d((2, 2), (2, 2)), stem)
    same = Conv2d(r.normal(0.1, 0.4, (4, 4, 3, 3)), r.normal(0, 0.1, 4), (1, 1), (1, 1))
    inner = draft.put(Neuron(0.7, 1.0, "subtract"), draft.put(same, pooled))
    joined = draft.put(Gate("iand"), inner, pooled)
    residual = draft.put(Neuron(1.0), draft.put(Add(), draft.put(same, joined), joined))
    averaged = draft.put(AvgPool2d((3, 2), (1, 1)), residual)
    flat = draft.put(TimeMean(3), draft.put(Flatten(), averaged))
    out = draft.put(Linear(r.normal(size=(3, 4)), r.normal(size=3)), flat)
    graph = draft.graph(out)
    compiled = compile_graph(graph, standard_pipeline(), spikes(graph, 4, 0))
    assert_lava_equal(compiled.graph, spikes(graph, 4, 1))


# What has no exact form.


def one_layer(
    neuron: Neuron, weight: Any = ((1.0, 2.0),), bias: Any = None, steps: int = 2
) -> Graph:
    linear = Linear(np.array(weight), bias)
    edge = Edge("x", (linear.weight.shape[1],), SPIKE)
    return build((edge,), [("l", linear, ("x",)), ("n", neuron, ("l",))], ("n",), steps)


@pytest.mark.parametrize(
    ("graph", "message", "found"),
    [
        (
            one_layer(Neuron(9.0, 0.0, current_decay=0.5, fixed=FIXED), [[40.0, 24.0]]),
            "memoryless neuron of this size",
            "a synaptic current",
        ),
        (one_layer(Neuron(9.0, initial=2.0, fixed=FIXED)), "resets the membrane", "membrane 2"),
        (
            one_layer(readout(), np.full((1, 600), 127.0)),
            "readout could fire",
            "membrane up to 152400",
        ),
        (one_layer(neuron(9.0), [[0.5, 1.0]]), "whole numbers only", ""),
        (one_layer(neuron(9.0), bias=[0.5]), "whole numbers only", ""),
        (one_layer(neuron(9.0, 1.0, "subtract", 2.5)), "whole numbers only", ""),
        (one_layer(neuron(9.5, 0.5)), "cannot compare with this threshold", "9.5"),
        (one_layer(neuron(9.0, 0.5)), "cannot compare with this threshold", "9.0"),
    ],
)
def test_refused(graph: Graph, message: str, found: str) -> None:
    with pytest.raises(EmitError, match=message) as e:
        emit(graph, schedule(graph), np.ones((2, 1, *graph.inputs[0].shape)))
    assert found in e.value.found
    assert e.value.where in ("n", "l")


@pytest.mark.parametrize("domain", [ANALOG, TERNARY])
def test_refused_inputs(domain: Domain) -> None:
    edge = Edge("x", (2,), domain)
    graph = build((edge,), [("l", Linear([[1.0, 1.0]]), ("x",)), ("n", neuron(1.0), ("l",))],
                  ("n",), 1)  # fmt: skip
    with pytest.raises(EmitError, match="exactly one input of spikes"):
        emit(graph, schedule(graph), np.ones((1, 1, 2)))


def test_a_threshold_between_two_sums_is_the_next_sum() -> None:
    graph = one_layer(neuron(2.5))  # sums are whole: 2 does not fire, 3 does
    program = emit(graph, schedule(graph), np.ones((2, 1, 2)))
    assert program.processes[1].vth == 2  # type: ignore[union-attr]
    x = spikes(graph, 8, 0)
    assert_equal(graph, x, reference(graph, x))
