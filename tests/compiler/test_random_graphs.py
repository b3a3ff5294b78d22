"""2,000 random networks: interpreter, every pass, integers, every executor; zero differences.

Half are captured networks that go through every pass, half are in integers from the start, with
saturation, drift below zero, leaks at both ends of their grid and thresholds that are met exactly.
"""

from __future__ import annotations

import pytest
from helpers.random_graphs import (
    QUICK,
    captured,
    compiled,
    executor_alarms,
    integer,
    pass_alarms,
)

from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import AvgPool2d, BatchNorm, Conv2d, Delay, Gate, MaxPool2d

CHUNK = 50


def check(seeds: range) -> list[str]:
    """Every difference in the networks of two generators."""
    wrong = []
    for seed in seeds:
        names = (*QUICK, "NIR") if seed % 10 == 0 else QUICK  # NIR is read in a process
        sample = captured(seed)
        result = compiled(sample)
        wrong += [f"captured {seed}: {text}" for text in pass_alarms(sample, result)]
        graph = result.graph
        for who, text in executor_alarms(graph, sample.x, run(graph, sample.x), names):
            wrong.append(f"captured {seed}: {who}: {text}")
        sample = integer(seed)
        for who, text in executor_alarms(sample.graph, sample.x, run(sample.graph, sample.x)):
            wrong.append(f"integer {seed}: {who}: {text}")
    return wrong


def test_some_random_networks_are_equal_everywhere() -> None:
    assert check(range(6)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(1000 // CHUNK))
def test_two_thousand_random_networks_are_equal_everywhere(chunk: int) -> None:
    assert check(range(chunk * CHUNK, (chunk + 1) * CHUNK)) == []


def test_the_networks_hold_all_that_they_should() -> None:
    graphs = [captured(seed).graph for seed in range(60)]
    kinds = [type(n.op) for g in graphs for n in g.nodes]
    for kind in (BatchNorm, Gate, MaxPool2d, AvgPool2d, Delay):
        assert kinds.count(kind) >= 5, kind
    gates = {n.op.kind for g in graphs for n in g.nodes if isinstance(n.op, Gate)}
    convs = [n.op for g in graphs for n in g.nodes if isinstance(n.op, Conv2d)]
    assert gates == {"and", "or", "iand", "xor"}
    assert {c.groups for c in convs} == {1, 2, 4} and {c.dilation[0] for c in convs} == {1, 2}
