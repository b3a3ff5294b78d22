"""Every planted fault is noticed within the slice, and what is unmutated raises no alarm.

Which network of the slice is the first to notice each is kept in tests/data/mutants.json
(`benchmarks/mutants.py --write`): the quick tests plant each on this one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.mutant_search import executed, finder, networks, noticed, sample, takes
from helpers.mutants import MUTANTS
from helpers.random_graphs import compiled, executor_alarms, pass_alarms

FOUND = json.loads((Path(__file__).parents[1] / "data" / "mutants.json").read_text("utf-8"))
DOCS = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"
ORDER = {network: k for k, network in enumerate(networks(), start=1)}


def test_at_least_sixty_mutants_are_published_with_what_was_measured() -> None:
    text = DOCS.read_text(encoding="utf-8")
    rows = [
        f"| {m.name} | {m.where} | {m.seen_by} | {FOUND[m.name][1]} {FOUND[m.name][2]} "
        f"| {FOUND[m.name][0]} |"
        for m in MUTANTS.values()
    ]
    assert [row for row in rows if row not in text] == []
    assert len(MUTANTS) >= 60 and {*MUTANTS} == {*FOUND}


def test_each_was_found_within_the_slice() -> None:
    assert all(ORDER[kind, seed] == k for k, kind, seed in FOUND.values())


def test_control_raises_no_alarm() -> None:
    """On every network on which a fault is planted: no fault, no alarm."""
    for kind, seed in sorted({(kind, seed) for _, kind, seed in FOUND.values()}):
        s = sample(kind, seed)
        if kind != "integer":
            assert list(pass_alarms(s, compiled(s))) == []
    assert list(executor_alarms(*executed("captured", 0), ("NIR",))) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed(name: str) -> None:
    _, kind, seed = FOUND[name]
    mutant = MUTANTS[name]
    if mutant.seen_by not in ("passes", "executors"):
        assert takes(mutant.seen_by, kind, seed)  # the control
    assert noticed(mutant, kind, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_slice_finds_it_where_it_is_kept(name: str) -> None:
    assert finder(MUTANTS[name]) == tuple(FOUND[name])
