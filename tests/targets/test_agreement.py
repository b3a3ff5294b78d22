"""Timing and agreement findings: a late branch and a wrong spike are named, wherever they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Gate, Neuron
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.targets.agreement import agreement, compare, timing
from purespike.targets.lava.lower.schedule import schedule


def residual() -> Graph:
    weight = np.ones((2, 2, 1, 1))
    graph = build(
        (Edge("x", (2, 3, 3), SPIKE),),
        [
            ("c1", Conv2d(weight), ("x",)),
            ("n1", Neuron(np.asarray(1.0)), ("c1",)),
            ("c2", Conv2d(weight), ("n1",)),
            ("n2", Neuron(np.asarray(2.0)), ("c2",)),
            ("g", Gate("iand"), ("n2", "n1")),
        ],
        ("g",),
        steps=3,
    )
    return lower_gates(graph)


def test_every_branch_of_a_join_is_a_finding() -> None:
    found = list(timing(schedule(residual())))
    assert [(f.where, f.status) for f in found] == [("n2 -> g", "PASS"), ("n1 -> g", "PASS")]


def test_a_join_that_is_off_by_one_step_fails_at_its_branch() -> None:
    plan = schedule(residual())
    arrivals = tuple(
        replace(a, delay=a.delay - 1) if a.source == "n1" and a.neuron == "g" else a
        for a in plan.arrivals
    )
    found = list(timing(replace(plan, arrivals=arrivals)))
    assert [(f.where, f.status) for f in found] == [("n2 -> g", "PASS"), ("n1 -> g", "FAIL")]
    assert found[1].remedy == "delay the shorter branch"


def test_a_late_synapse_outside_every_join_fails_too() -> None:
    plan = schedule(residual())
    arrivals = tuple(replace(a, delay=1) if a.neuron == "n2" else a for a in plan.arrivals)
    found = list(timing(replace(plan, arrivals=arrivals)))
    assert [f.where for f in found if f.status == "FAIL"] == ["n1 -> n2"]


def test_one_wrong_spike_is_counted_and_placed() -> None:
    graph = residual()
    x = (np.random.default_rng(0).random((3, 4, 2, 3, 3)) < 0.5).astype(float)
    trace = run(graph, x)
    wrong = trace.values["n2"].copy()
    wrong[1, 2, 0, 1, 1] = 1 - wrong[1, 2, 0, 1, 1]
    rows = compare(trace, {"n1": trace.values["n1"], "n2": wrong}, {})
    right, broken = agreement("Lava", 4, rows)
    assert (right.status, broken.status) == ("PASS", "FAIL")
    assert "1 of 216 spikes differ" in broken.measured and "(1, 2, 0, 1, 1)" in broken.measured
