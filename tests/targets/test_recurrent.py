"""Loops and delays: every executor gives the interpreter's spikes and states, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.lava_reference import simulate as simulate_program
from helpers.nir_cases import differences
from helpers.nir_targets import agree_on_replay
from helpers.onnx_cases import difference
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.nir.describe import restore
from purespike.targets.nir.emit import to_document
from purespike.targets.nir.read import _metadata
from purespike.targets.onnx import run_onnx, sequence_model, step_model

MANY: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def check_executors(graph: Graph, samples: int, seed: int, folder: Path) -> None:
    """ONNX in both forms, the numpy replay, and the graph that comes back from NIR."""
    verify(graph)
    x = spikes(graph, samples, seed)
    expected = run(graph, x)
    for model in (step_model(graph), sequence_model(graph)):
        assert difference(expected, run_onnx(model, graph, x), graph) == ""
    agree_on_replay(graph, x, folder)
    document = to_document(graph)
    again = restore(_metadata(document), document.nodes)
    assert differences(graph, again) == []


@settings(max_examples=30, **MANY)
@given(graph=recurrent_graphs(clocked=False), samples=st.integers(1, 3), seed=st.integers(0, 99))
def test_random_loops_in_every_executor(
    graph: Graph, samples: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_executors(graph, samples, seed, tmp_path_factory.mktemp("loops"))


def trained(current_decay: float) -> Graph:
    """Real numbers: batch norm, a convolution that closes a loop, a gate, a factor, a mean."""
    r = np.random.default_rng(11)
    same: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1)}
    gone = 1 - current_decay  # what arrives adds up to so much more
    nodes: list[Any] = [
        ("late", Delay(2), ("n",)),
        ("in", Conv2d(r.normal(0.2, 0.5, (4, 2, 3, 3)), r.normal(size=4), **same), ("x",)),
        ("bn", BatchNorm(*(r.uniform(0.5, 1.5, (4, 4))), 1e-5), ("in",)),
        ("back", Conv2d(r.normal(0.0, 0.4, (4, 4, 3, 3)), **same), ("late",)),
        ("sum", Add(), ("bn", "back")),
        ("n", Neuron(1.3 / gone, 0.9, current_decay=current_decay), ("sum",)),
        ("c", Conv2d(r.normal(0.1, 0.5, (4, 4, 3, 3)), **same), ("n",)),
        ("half", Scale(0.5), ("c",)),
        ("m", Neuron(0.7 / gone, 1.0, "subtract", current_decay=current_decay), ("half",)),
        ("join", Gate("or"), ("m", "n")),
        ("f", Flatten(), ("join",)),
        ("head", Linear(r.normal(size=(3, 4 * 3 * 3)), r.normal(size=3)), ("f",)),
        ("out", TimeMean(6), ("head",)),
        ("probe", Linear(r.normal(size=(2, 4 * 3 * 3))), ("f",)),
    ]
    loops = [Edge("n", (4, 3, 3), SPIKE)]
    graph = build((Edge("x", (2, 3, 3), SPIKE),), nodes, ("out", "probe"), 6, loops=loops)
    names = {"probe": "auxiliary"}
    marked = [replace(n, role=names.get(n.name, n.role)) for n in graph.nodes]
    return replace(graph, nodes=tuple(marked))


@pytest.mark.parametrize("current_decay", [0.0, 0.6])
def test_a_trained_loop_goes_through_every_pass_to_every_target(
    current_decay: float, tmp_path: Path
) -> None:
    graph = trained(current_decay)
    compiled = compile_graph(graph, standard_pipeline(), spikes(graph, 8, 0))
    assert all(line.deviation <= 1e-9 for line in compiled.ledger[:-1])
    assert compiled.ledger[-1].agreement > 0.95
    chip = compiled.graph
    (loop,) = [n for n in chip.nodes if isinstance(n.op, Delay)]
    assert str(loop).startswith("%late: 4x3x3 spike = Delay(%n, 2 steps)")
    check_executors(chip, 4, 1, tmp_path)
    x = spikes(chip, 4, 1)
    plan = schedule(chip)
    program = emit(chip, plan, x)
    spiked, membranes = simulate_program(program)
    expected = run(chip, x)
    rates = [expected.values[name].mean() for name in program.record]
    assert 0.02 < min(rates) and max(rates) < 0.98
    rows = {n: (spiked[n], expected.values[n]) for n in program.record}
    rows |= {n: (membranes[n], expected.membranes[n]) for n in program.record_v}
    for name, (found, wanted) in rows.items():
        value = from_lava(found, chip.steps, 4, plan.depth[name], plan.gap)
        np.testing.assert_array_equal(value, wanted, err_msg=name)


@pytest.mark.slow
@settings(max_examples=400, **MANY)
@given(graph=recurrent_graphs(clocked=False), samples=st.integers(1, 3), seed=st.integers(0, 99))
def test_many_random_loops_in_every_executor(
    graph: Graph, samples: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_executors(graph, samples, seed, tmp_path_factory.mktemp("loops"))
