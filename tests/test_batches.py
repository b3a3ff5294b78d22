"""Test sets run in batches that fit into memory; how large they are changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.strategies import FIXED, Draft, spikes

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.compiler.rules import measure as module
from purespike.compiler.rules.measure import BATCH, batch_size, measure
from purespike.judge.executors import make_golden


def network() -> Graph:
    r = np.random.default_rng(0)
    draft = Draft((2, 4, 3), 3)
    conv = draft.put(Conv2d(r.integers(-20, 40, (3, 2, 2, 2)).astype(float)), "x")
    hidden = draft.put(Neuron(60.0, fixed=FIXED), conv)
    flat = draft.put(Flatten(), hidden)
    scores = draft.put(Linear(r.integers(-50, 50, (4, 18)).astype(float)), flat)
    return draft.graph(draft.put(Neuron(np.inf, reset="none", fixed=FIXED), scores))


# x 24, convolution 18, spikes and membranes 18 each, flat 18, linear 4, readout 4 and 4.
VALUES = 24 + 18 + 2 * 18 + 18 + 4 + 2 * 4


@pytest.mark.parametrize(
    ("room", "batch"), [(0, 1), (1, 1), (2.99, 2), (7, 7), (64.5, 64), (1000, BATCH)]
)
def test_a_batch_is_as_many_samples_as_fit(
    room: float, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BYTES", int(room * VALUES * 3 * 8))
    assert batch_size(network()) == batch


def test_only_what_is_recorded_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES", 24 * 3 * 8)
    assert batch_size(network(), {"x"}) == 1
    monkeypatch.setattr(module, "BYTES", 5 * 24 * 3 * 8)
    assert batch_size(network(), {"x"}) == 5


def test_small_batches_measure_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    x, labels = spikes(graph, 70, 0), np.zeros(70, np.int64)
    whole, golden = measure(graph, x), make_golden(graph, x, labels)
    steps: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "BYTES", 3 * VALUES * 3 * 8)
    small = measure(graph, x, lambda done, total: steps.append((done, total)))
    assert steps == [(min(3 * k, 70), 70) for k in range(25)]
    np.testing.assert_array_equal(small.decisions, whole.decisions)
    assert small.membranes == whole.membranes and small.findings == whole.findings
    assert small.rates == pytest.approx(whole.rates, rel=1e-12)
    for name, count in whole.counts.items():
        assert vars(small.counts[name]) == pytest.approx(vars(count), rel=1e-12)
    again = make_golden(graph, x, labels)
    for ours, theirs in ((again.spikes, golden.spikes), (again.membranes, golden.membranes)):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name])
