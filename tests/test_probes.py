"""How much of the test inputs a network is probed with, and what the ledger says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purespike import probes
from purespike.build import Options, build
from purespike.compiler.domain import SPIKE
from purespike.compiler.ir import Edge
from purespike.compiler.ir import build as build_graph
from purespike.compiler.ops import Linear, Neuron
from purespike.probes import choose_probe
from purespike.subjects import digits_subject

CHECKPOINT = Path(__file__).parent / "data" / "event-digits"


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
    assert probe.dtype == np.float64
    np.testing.assert_array_equal(probe, x[:steps, :samples])
    assert note == "" if samples == 16 else note.startswith(f"compared on {samples} of 16 samples")


def test_a_short_probe_says_so_and_the_verdict_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digits_subject(CHECKPOINT)
    subject = replace(whole, spikes=whole.spikes[:, :20], labels=whole.labels[:20])
    monkeypatch.setattr(probes, "OPERATIONS", 1.0)
    built = build(subject, Options(lava="none", golden=2))
    ledger = built.report.ledger
    assert any("compared on 1 of 16 samples" in note for note in ledger[0].notes)
    assert all("first 1 of 10 steps" in str(line.notes) for line in ledger)
    assert built.report.executors["torch, captured"]
