"""Every mutant of the published list is noticed, and the unmutated compiler raises no alarm."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.mutant_search import executed, networks, noticed, sample
from helpers.mutants import MUTANTS
from helpers.random_graphs import compiled, executor_alarms, pass_alarms

QUICK = 24
DOCS = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"


def test_at_least_twenty_mutants_are_published() -> None:
    text = DOCS.read_text(encoding="utf-8")
    missing = [
        m.name for m in MUTANTS.values() if f"| {m.name} | {m.where} | {m.seen_by} |" not in text
    ]
    assert len(MUTANTS) >= 20 and not missing


def test_control_raises_no_alarm() -> None:
    for kind, seed in networks(3):
        s = sample(kind, seed, True)
        if kind == "captured":
            assert list(pass_alarms(s, compiled(s))) == []
        graph, x, expected = executed(kind, seed, True)
        assert list(executor_alarms(graph, x, expected, ("ONNX Runtime", "replay"))) == []
    assert list(executor_alarms(*executed("captured", 0, True), ("NIR",))) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed(name: str) -> None:
    assert any(noticed(MUTANTS[name], *network) for network in networks(QUICK))
