"""10,000 random networks: every pass, the interpreter, and every executor; zero differences.

`helpers/numbered.py` lists them. A network on which two differ is shrunk and kept in
tests/data/graphs, and every network kept there runs again in each quick suite.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from helpers.differential import ALL, WITH_GATES, compare, execute
from helpers.kept_graphs import KEPT, Kept, load, save
from helpers.mutants import MUTANTS, SMALL
from helpers.numbered import COUNT, KINDS, SLICE, check, numbered
from helpers.random_graphs import Sample, captured
from helpers.shrinking import again, shrunk

from purespike.compiler.ir.ops import AvgPool2d, BatchNorm, Conv2d, Delay, Gate, MaxPool2d

QUICK, SEARCHED = 20, 60
# One of each place where a fault can be: the interpreter, a pass, the emitters.
PLANTED = ("> for >=", "a pass loses a bias", "ONNX: threshold + 1", "bundle: resets left out")


def test_some_networks_of_each_kind_are_equal_everywhere(tmp_path: Path) -> None:
    tally = check(range(QUICK), tmp_path)
    assert tally.mismatches == [] and tally.networks == QUICK
    assert {numbered(k)[0] for k in range(QUICK)} == {*KINDS}
    assert {*ALL} <= {*tally.values}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(COUNT // SLICE))
def test_ten_thousand_networks_are_equal_everywhere(part: int) -> None:
    tally = check(range(part * SLICE, (part + 1) * SLICE))
    assert tally.mismatches == []
    assert sum(tally.refused.values()) < SLICE / 2, tally.refused
    # A refusal that no list has is none of a difference; many would be a compiler that refuses.
    assert tally.unlisted <= SLICE / 10, tally.refused


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_networks_that_once_differed_are_equal(path: Path) -> None:
    kept = load(path)
    outcome = compare(kept.sample)
    gates = any(isinstance(n.op, Gate | MaxPool2d) for n in kept.sample.graph.nodes)
    execute(kept.sample.graph, kept.sample.x, WITH_GATES if gates else ALL, outcome)
    assert outcome.mismatches == []


@cache
def sample(k: int) -> Sample:
    kind, number = numbered(k)
    return KINDS[kind](number)


def planted(name: str, folder: Path) -> None:
    """A planted fault is found, shrunk, kept, seen again in the file, and not seen without it.

    A fault can hide that what is left of a network is no network: then it takes the next one.
    """
    for k in range(SEARCHED):  # made before, by what is right
        sample(k)
    for k in range(SEARCHED):
        with MUTANTS[name].patch():
            found = compare(sample(k)).mismatches
            if not found:
                continue
            small, said = shrunk(sample(k), found[0])
            path = save(Kept(small, *numbered(k), found[0].between, said), folder)
            kept = load(path)
            assert again(kept.sample, found[0]), path.read_text()
        assert again(kept.sample, found[0]) is None
        if not compare(kept.sample).mismatches:
            break
    else:
        raise AssertionError(f"{name} was not noticed, or on no network that is one without it")
    graph, x = kept.sample.graph, kept.sample.x
    numbers = sum(a.size for n in graph.nodes for a in n.op.arrays().values())
    assert len(graph.nodes) <= 8 and numbers <= 60 and x.size <= 60, str(graph)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_becomes_a_small_network_that_is_kept(name: str, tmp_path: Path) -> None:
    planted(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in SMALL if n not in PLANTED])
def test_every_planted_fault_does(name: str, tmp_path: Path) -> None:
    planted(name, tmp_path)


def test_the_networks_hold_all_that_they_should() -> None:
    graphs = [captured(seed).graph for seed in range(60)]
    kinds = [type(n.op) for g in graphs for n in g.nodes]
    for kind in (BatchNorm, Gate, MaxPool2d, AvgPool2d, Delay):
        assert kinds.count(kind) >= 5, kind
    gates = {n.op.kind for g in graphs for n in g.nodes if isinstance(n.op, Gate)}
    convs = [n.op for g in graphs for n in g.nodes if isinstance(n.op, Conv2d)]
    assert gates == {"and", "or", "iand", "xor"}
    assert {c.groups for c in convs} >= {1, 2, 4} and {c.dilation[0] for c in convs} == {1, 2}
