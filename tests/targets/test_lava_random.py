"""300 random networks on Lava itself: every spike and the membranes of the readouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.differential import difference
from helpers.kept_graphs import KEPT, load
from helpers.numbered import LAVA_SLICES, ON_LAVA, check_lava

from purespike.compiler.ir.interpret import Trace, run
from purespike.targets.lava.run.simulate import simulate


@pytest.mark.parametrize("path", sorted(KEPT.glob("*-Lava.json")), ids=lambda path: path.stem)
def test_networks_that_once_differed_are_equal_on_lava(path: Path) -> None:
    sample = load(path).sample
    found = simulate(sample.graph, sample.x, jobs=1)
    trace = Trace(found.spikes, found.membranes)
    compared, text = difference(run(sample.graph, sample.x), trace, sample.graph)
    assert compared and not text


@pytest.mark.slow
@pytest.mark.parametrize("part", range(LAVA_SLICES))
def test_three_hundred_networks_are_equal_on_lava(part: int) -> None:
    tally = check_lava(part)
    assert tally.mismatches == [] and tally.networks == ON_LAVA
