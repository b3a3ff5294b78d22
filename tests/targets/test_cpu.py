"""The cpu executor equals the interpreter: every spike, membrane and synaptic current."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_graphs
from helpers.recurrent_cases import recurrent_graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Neuron
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.portable import run_portable
from purespike.targets.cpu.run import run_cpu


def differences(graph: Graph, x: Any, found: Trace, expected: Trace) -> list[str]:
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


def check(graph: Graph, x: Any) -> None:
    expected = run(graph, x)
    for kept in (True, False):
        for threads, lookups in ((1, True), (3, False)):
            found = run_cpu(graph, x, membranes=kept, threads=threads, lookups=lookups)
            assert not differences(graph, x, found, expected), (kept, threads, str(plan(graph)))
    if not isinstance(x, dict):
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
        assert not differences(graph, x, Trace(*shaped), expected)


@given(graph=recurrent_graphs(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_recurrent_graphs(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.random((graph.steps, 3, *graph.inputs[0].shape)) < 0.4).astype(float)
    check(graph, x)


@pytest.mark.parametrize("seed", range(40))
def test_integer_graphs(seed: int) -> None:
    sample = random_graphs.integer(seed)
    check(sample.graph, sample.x)


@pytest.mark.parametrize("seed", range(30))
def test_compiled_graphs(seed: int) -> None:
    sample = random_graphs.captured(seed)
    try:
        graph = random_graphs.compiled(sample).graph
    except PurespikeError:
        pytest.skip("refused")
    check(graph, sample.x)
