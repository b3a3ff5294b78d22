"""Every mutant of the published list is noticed, and the unmutated compiler raises no alarm."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mutants import MUTANTS, Mutant
from random_graphs import (
    Sample,
    captured,
    compiled,
    difference,
    executor_alarms,
    integer,
    pass_alarms,
)

from purespike.compiler.errors import PurespikeError
from purespike.compiler.interpret import Trace, run
from purespike.compiler.ir import Graph

QUICK, MANY = 24, 20
DOCS = Path(__file__).resolve().parents[2] / "docs" / "proofs.md"


@functools.cache
def sample(kind: str, seed: int, directed: bool) -> Sample:
    make = captured if kind == "captured" else integer
    return make(seed, directed=directed)


@functools.cache
def executed(kind: str, seed: int, directed: bool) -> tuple[Graph, np.ndarray, Trace]:
    """The integer graph of a network and what the unmutated interpreter makes of it.

    The executors agree with it (`test_control...` and `test_random_graphs`), so a mutant of the
    interpreter differs from them exactly where it differs from this.
    """
    s = sample(kind, seed, directed)
    graph = s.graph if kind == "integer" else compiled(s).graph
    return graph, s.x, run(graph, s.x)


def networks(count: int) -> Iterator[tuple[str, int]]:
    """Networks in integers first: they hold the saturations, drifts and extreme leaks."""
    for seed in range(count):
        yield "integer", seed
        yield "captured", seed


def noticed(mutant: Mutant, kind: str, seed: int, directed: bool = True) -> bool:
    """Does the comparison that has to notice the mutant notice it on one network?"""
    if mutant.seen_by == "passes":
        if kind == "integer":
            return False
        s = sample(kind, seed, directed)
        with mutant.patch():
            try:
                result = compiled(s)
            except PurespikeError:
                return True
            return any(pass_alarms(s, result))
    graph, x, expected = executed(kind, seed, directed)
    emitter = mutant.where.startswith("targets/")
    with mutant.patch():
        if emitter:
            return any(executor_alarms(graph, x, expected))
        try:
            return difference(expected, run(graph, x), graph) != ""
        except PurespikeError:  # a value outside its domain
            return True


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


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_directed_networks_notice_more_than_blind_ones() -> None:
    """The table of docs/proofs.md: networks of each sort that notice each mutant."""
    rows = {}
    for name, mutant in MUTANTS.items():
        rows[name] = [
            sum(noticed(mutant, *network, directed) for network in networks(MANY))
            for directed in (True, False)
        ]
        print(f"| {name} | {mutant.where} | {mutant.seen_by} | {rows[name][0]} | {rows[name][1]} |")
    assert all(directed >= 1 for directed, _ in rows.values())
    assert sum(d for d, _ in rows.values()) > sum(b for _, b in rows.values())
    assert rows["> for >="][0] > rows["> for >="][1]
