"""The cpu executor equals the interpreter: every spike, membrane and synaptic current."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers import random_graphs
from helpers.cpu_cases import network
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import FIXED, Draft, chip_graphs, spikes, trained_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Add, Conv2d, FixedPoint, Flatten, Linear, Neuron
from purespike.compiler.passes.quantize.quantize import QuantizeError
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.targets.cpu import program
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.portable import run_portable
from purespike.targets.cpu.run import run_cpu

SEEDS = st.integers(0, 2**32 - 1)
# Recorded membranes take the general way through the neurons; without, the short ones run.
WAYS = (
    {"membranes": False, "threads": 1, "lookups": True},
    {"membranes": False, "threads": 3, "lookups": False},
    {"membranes": True, "threads": 2},
)


@pytest.fixture(autouse=True, scope="module")
def small_networks_get_threads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "THREAD_CYCLES", 1)
        yield


def differences(graph: Graph, found: Trace, expected: Trace) -> list[str]:
    wrong = []
    for node in graph.nodes:
        if not isinstance(node.op, Neuron) and node.name not in graph.outputs:
            continue
        for what in ("values", "membranes", "currents"):
            a, b = getattr(expected, what), getattr(found, what)
            if node.name in a and node.name in b and not np.array_equal(a[node.name], b[node.name]):
                at = np.argwhere(a[node.name] != b[node.name])[0]
                wrong.append(f"{what} of {node}, first at {at}")
    return wrong


def check(graph: Graph, x: Any, *, portable: bool = True) -> None:
    expected = run(graph, x)
    for way in WAYS:
        found = run_cpu(graph, x, **way)
        assert not differences(graph, found, expected), (way, str(plan(graph)))
    if portable and not isinstance(x, dict):
        made = plan(graph)
        held = run_portable(made, [x.astype(np.uint8)], {v.name for v in made.neurons()})
        shaped = [
            {
                n: v.reshape(*v.shape[:2], *made.shapes[n])
                for n, v in part.items()
                if n in made.shapes
            }
            for part in held
        ]
        assert not differences(graph, Trace(*shaped), expected)


def check_numbered(seed: int) -> bool:
    """Compare network number ``seed``; False if 32 bits are too few for it."""
    graph, x = network(seed)
    try:
        plan(graph)
    except CpuError as error:
        assert "32 bits" in str(error)
        return False
    check(graph, x, portable=seed % 4 == 0)
    return True


def test_networks_of_every_kind() -> None:
    ran = sum(check_numbered(seed) for seed in range(230))
    assert ran > 200


@given(graph=recurrent_graphs(), seed=SEEDS)
@settings(max_examples=100)
def test_recurrent_graphs(graph: Graph, seed: int) -> None:
    check(graph, spikes(graph, 3, seed), portable=seed % 4 == 0)


@given(graph=chip_graphs(), seed=SEEDS)
@settings(max_examples=100)
def test_chip_graphs(graph: Graph, seed: int) -> None:
    check(graph, spikes(graph, 2, seed), portable=seed % 4 == 0)


@pytest.mark.slow
@given(graph=trained_graphs(), seed=SEEDS)
@settings(max_examples=2000)
def test_what_the_compiler_makes_of_random_networks(graph: Graph, seed: int) -> None:
    compare_compiled(graph, seed)


def compare_compiled(graph: Graph, seed: int) -> None:
    x = spikes(graph, 2, seed)
    try:
        compiled = compile_graph(graph, standard_pipeline(), x).graph
    except QuantizeError:  # an average that cannot be folded stays
        return
    assert not differences(compiled, run_cpu(compiled, x), run(compiled, x))


def test_integer_graphs() -> None:
    for seed in range(40):
        sample = random_graphs.integer(seed)
        check(sample.graph, sample.x)


def compiled(seed: int) -> bool:
    sample = random_graphs.captured(seed)
    try:
        graph = random_graphs.compiled(sample).graph
    except PurespikeError:
        return False
    check(graph, sample.x)
    return True


def test_compiled_graphs() -> None:
    assert sum(compiled(seed) for seed in range(30)) > 20


def test_weights_that_all_places_share_are_kept_once_whoever_wrote_them_out() -> None:
    r = np.random.default_rng(2)
    kept, unit = r.integers(-9, 10, (5, 6)).astype(np.float64), FixedPoint()
    nodes = [
        ("stem", Conv2d(r.integers(-5, 9, (6, 2, 2, 2))), ("x",)),
        ("n", Neuron(np.array(4.0), fixed=unit), ("stem",)),
        ("flat", Flatten(), ("n",)),
        ("fc", Linear(np.repeat(kept, 9, axis=1), r.integers(-5, 6, 5)), ("flat",)),
        ("out", Neuron(np.array(np.inf), reset="none", fixed=unit), ("fc",)),
    ]
    graph = build((Edge("x", (2, 4, 4), SPIKE),), nodes, ("out",), 4)
    (arm,) = plan(graph).layers[1].arms
    assert arm.shared and arm.weight.size == kept.size
    check(graph, spikes(graph, 5, 0))


@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (1, 3)])
@pytest.mark.parametrize("arms", [1, 2])
def test_one_spike_a_neuron_from_another_place(
    arms: int, stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    """A maximum over 1x1 windows is no copy of its input where it strides or pads."""
    draft = Draft((5, 6, 7), 3)
    kept = [
        draft.put(Conv2d(np.ones((5, 1, 1, 1)), None, stride, padding, groups=5), "x")
        for _ in range(arms)
    ]
    current = kept[0] if arms == 1 else draft.put(Add(), *kept)
    graph = draft.graph(draft.put(Neuron(float(arms), 0.0, fixed=FIXED), current))
    check(graph, spikes(graph, 3, 0))
