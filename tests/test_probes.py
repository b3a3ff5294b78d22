"""How much of the test inputs a network is probed with, and what the ledger says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.graph import build as build_graph
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.flow import probe as probes
from purespike.flow.build import Options, build
from purespike.flow.probe import choose_probe
from purespike.subject import Subject
from purespike.trainer.nn import layers
from purespike.trainer.nn.neuron import Neuron as TorchNeuron


@pytest.mark.parametrize(
    ("runs", "samples", "steps"),  # how many steps of one sample are allowed
    [(1e9, 16, 10), (160, 16, 10), (159, 15, 10), (25, 2, 10), (9.5, 1, 9), (1, 1, 1), (0.1, 1, 1)],
)
def test_samples_go_first_then_steps(
    runs: float, samples: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes: list[Any] = [
        ("a", Linear(np.ones((8, 6))), ("x",)),
        ("n", Neuron(1.0), ("a",)),
        ("b", Linear(np.ones((3, 8))), ("n",)),
        ("m", Neuron(1.0), ("b",)),
    ]
    graph = build_graph((Edge("x", (6,), SPIKE),), nodes, ("m",), 10)
    x = np.random.default_rng(0).integers(0, 2, (10, 20, 6)).astype(np.uint8)
    monkeypatch.setattr(probes, "OPERATIONS", runs * (8 * 6 + 3 * 8))
    probe, note = choose_probe(graph, x)
    assert probe.dtype == np.uint8  # spikes stay bytes, numbers are those of the interpreter
    assert choose_probe(graph, x.astype(np.float32))[0].dtype == np.float64
    np.testing.assert_array_equal(probe, x[:steps, :samples])
    assert note == "" if samples == 16 else note.startswith(f"compared on {samples} of 16 samples")


def test_a_short_probe_says_so_and_the_verdict_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    parts = nn.Linear(6, 8), TorchNeuron(), nn.Linear(8, 3), layers.TimeMean()
    x = np.random.default_rng(0).integers(0, 2, (4, 20, 6)).astype(np.uint8)
    subject = Subject("small", nn.Sequential(*parts).eval(), (6,), x, np.zeros(20, np.int64), SPIKE)
    for operations, notes, first in (
        (1e10, False, "of 4 steps"),
        (1.0, True, "first 1 of 4 steps"),
    ):
        monkeypatch.setattr(probes, "OPERATIONS", operations)
        built = build(subject, Options(lava="none", golden=2))
        ledger = built.report.ledger
        assert any("compared on 1 of 16 samples" in n for n in ledger[0].notes) == notes
        assert all((first in str(line.notes)) == notes for line in ledger)
        assert built.report.executors[0].name == "torch, captured"
