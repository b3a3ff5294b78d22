"""Calibration by spike agreement: better than the safe scale where an outlier costs resolution."""

from __future__ import annotations

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Delay, Flatten, Linear, Neuron
from purespike.compiler.passes.quantize.calibrate import PERCENTILE, _held, calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import choose_scales, quantize

RNG = np.random.default_rng(3)


def network(outlier: float) -> Graph:
    first = RNG.normal(0, 0.3, (6, 3, 3, 3))
    first[0, 0, 0, 0] = outlier
    bias = RNG.normal(0, 0.2, 6)
    return build(
        (Edge("x", (3, 5, 5), SPIKE),),
        [
            ("c1", Conv2d(first, bias, padding=(1, 1)), ("x",)),
            ("n1", Neuron(np.asarray(1.0)), ("c1",)),
            ("f", Flatten(), ("n1",)),
            ("c2", Linear(RNG.normal(0, 0.2, (8, 150))), ("f",)),
            ("n2", Neuron(np.asarray(1.0)), ("c2",)),
            ("c3", Linear(RNG.normal(0, 0.2, (4, 8))), ("n2",)),
            ("out", Neuron(np.asarray(np.inf), reset="none"), ("c3",)),
        ],
        ("out",),
        steps=4,
    )


def agreement(graph: Graph, scales: dict[str, float], x: np.ndarray, name: str) -> float:
    a, b = run(graph, x).values, run(quantize(graph, Grid(4), scales), x).values
    return float((a[name] == b[name]).mean())


def spikes(samples: int) -> np.ndarray:
    return (RNG.random((4, samples, 3, 5, 5)) < 0.3).astype(np.float64)


def test_an_outlier_is_clipped_and_fresh_data_keeps_more_spikes() -> None:
    graph = network(outlier=6.0)
    safe, chosen = choose_scales(graph, Grid(4)), calibrate(graph, spikes(64), Grid(4))
    assert chosen["c1"] == chosen["n1"] > 1.5 * safe["n1"]
    assert np.abs(quantize(graph, Grid(4), chosen).producer("c1").op.weight).max() == 7  # type: ignore[union-attr]
    fresh = spikes(200)
    assert agreement(graph, chosen, fresh, "n1") > agreement(graph, safe, fresh, "n1") + 0.02


def test_it_is_never_worse_than_the_safe_scale_on_its_own_data() -> None:
    for outlier in (0.3, 1.0, 3.0):
        graph, x = network(outlier), spikes(32)
        chosen = calibrate(graph, x, Grid(4))
        safe = choose_scales(graph, Grid(4))
        assert agreement(graph, chosen, x, "n1") >= agreement(graph, safe, x, "n1")


def test_the_integers_stay_legal_and_the_threshold_whole() -> None:
    graph = network(outlier=6.0)
    for bits in (8, 4, 2):
        done = quantize(graph, Grid(bits), calibrate(graph, spikes(16), Grid(bits)))
        for node in done.nodes:
            for name, array in node.op.arrays().items():
                assert (array == np.rint(array)).all(), (node.name, name)
                if name == "weight":
                    assert np.abs(array).max() <= 2 ** (bits - 1) - 1
                if name == "bias":
                    assert np.abs(array).max() <= 4095


def test_gates_and_recurrent_graphs_keep_their_scales() -> None:
    edge = Edge("late", (3, 5, 5), SPIKE)
    loop = Graph(
        (Edge("x", (3, 5, 5), SPIKE),),
        (
            Node(Delay(1), ("n",), edge),
            Node(Conv2d(RNG.normal(0, 1, (3, 3, 1, 1))), ("late",), Edge("c", (), SPIKE)),
            Node(Neuron(np.asarray(1.0)), ("c",), Edge("n", (3, 5, 5), SPIKE)),
        ),
        ("n",),
        4,
    )
    graph = loop.rebuilt(loop.nodes)
    assert calibrate(graph, spikes(4)) == choose_scales(graph)
    whole = build(
        (Edge("x", (3, 5, 5), SPIKE),),
        [
            ("c", Conv2d(np.ones((1, 3, 1, 1))), ("x",)),
            ("n", Neuron(np.asarray(2.0)), ("c",)),
        ],
        ("n",),
        4,
    )
    assert calibrate(whole, spikes(4)) == pytest.approx({"c": 1.0, "n": 1.0})


@pytest.mark.parametrize("size", [1, 2, 999, 1001, 2001, 50_001])
def test_the_held_weight_is_numpys_percentile(size: int) -> None:
    for seed in range(5):
        w = np.random.default_rng(seed).normal(size=size)
        kept = w.copy()
        assert _held(w) == np.percentile(np.abs(w), PERCENTILE, method="higher")
        assert np.array_equal(w, kept)
