"""Integer graphs in Lava: every layer's spikes and the readout equal to the interpreter's.

Most cases run on ``lava_reference`` (a numpy simulation of a Lava program that
``test_lava_worker`` holds against Lava itself); a few of every kind run on Lava.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava_reference import simulate as simulate_program
from strategies import FIXED, Draft, chip_graphs, spikes

from purespike.compiler.domain import Array
from purespike.compiler.interpret import run
from purespike.compiler.ir import Graph
from purespike.compiler.ops import Add, Conv2d, Flatten, Linear, Neuron, Scale
from purespike.targets.lava.emit import EmitError, emit, from_lava
from purespike.targets.lava.program_check import check
from purespike.targets.lava.schedule import schedule
from purespike.targets.lava.simulate import simulate

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
