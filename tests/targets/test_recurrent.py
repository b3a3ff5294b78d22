"""Loops and delays: every executor gives the interpreter's spikes and states, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nir_cases import differences
from onnx_cases import difference
from recurrent_cases import recurrent_graphs
from strategies import spikes

from purespike.compiler.interpret import run
from purespike.compiler.ir import Graph
from purespike.compiler.verify import verify
from purespike.evidence import make_golden
from purespike.targets.golden_network import write_golden_network
from purespike.targets.nir.describe import restore
from purespike.targets.nir.emit import to_document
from purespike.targets.nir.read import _metadata
from purespike.targets.onnx import run_onnx, sequence_model, step_model
from purespike.targets.replay import replay

MANY: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def check_executors(graph: Graph, samples: int, seed: int, folder: Path) -> None:
    """ONNX in both forms, the numpy replay, and the graph that comes back from NIR."""
    verify(graph)
    x = spikes(graph, samples, seed)
    expected = run(graph, x)
    for model in (step_model(graph), sequence_model(graph)):
        assert difference(expected, run_onnx(model, graph, x), graph) == ""
    golden = make_golden(graph, x, np.zeros(samples, np.int64))
    arrays: dict[str, Any] = {"inputs": golden.inputs}
    arrays |= {f"spikes/{n}": a for n, a in golden.spikes.items()}
    arrays |= {f"membranes/{n}": a for n, a in golden.membranes.items()}
    np.savez(folder / "golden.npz", **arrays)
    write_golden_network(graph, folder)
    assert [row for row in replay(folder) if row.different] == []
    document = to_document(graph)
    again = restore(_metadata(document), document.nodes)
    assert differences(graph, again) == []


@settings(max_examples=40, **MANY)
@given(graph=recurrent_graphs(clocked=False), samples=st.integers(1, 3), seed=st.integers(0, 99))
def test_random_loops_in_every_executor(
    graph: Graph, samples: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_executors(graph, samples, seed, tmp_path_factory.mktemp("loops"))


@pytest.mark.slow
@settings(max_examples=400, **MANY)
@given(graph=recurrent_graphs(clocked=False), samples=st.integers(1, 3), seed=st.integers(0, 99))
def test_many_random_loops_in_every_executor(
    graph: Graph, samples: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_executors(graph, samples, seed, tmp_path_factory.mktemp("loops"))
