"""Other tools' columns, against numbers that the tools themselves printed, and worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.ops import Conv2d, Linear, Neuron
from purespike.compiler.rules.conventions import (
    Column,
    aap_cost,
    neurobench_layer,
    syops_layer,
)
from purespike.compiler.rules.measure import measure

SAMPLES = 4


def graph_of(op: Op, shape: tuple[int, ...], domain: object = SPIKE, steps: int = 1) -> Graph:
    x = Edge("x", shape, domain)  # type: ignore[arg-type]
    nodes = [("layer", op, ("x",)), ("n", Neuron(np.asarray(1.0)), ("layer",))]
    return build((x,), nodes, ("n",), steps)


def events(values: float = 1.0) -> np.ndarray:
    """Four samples of 100 inputs, 82 of the 400 are not zero."""
    x = np.zeros(400)
    x[np.random.default_rng(0).permutation(400)[:82]] = values
    return x.reshape(1, SAMPLES, 100)


def per_sample(column: Column) -> tuple[float, float]:
    return column.ac / SAMPLES, column.mac / SAMPLES


# syops-counter 0.0.5, measured on Linear(100, 50) with four samples: (what, input, AC, MAC).
MEASURED = [
    ("spikes", events(), 1025.0, 0.0),
    ("half spikes", events(0.5), 512.5, 0.0),
    ("constant 0.3", np.full((1, 4, 100), 0.3), 1500.0, 0.0),
    ("one 2 among them", np.where(np.arange(400).reshape(1, 4, 100) == 7, 2, events()), 0, 5000.0),
    ("all zeros", np.zeros((1, 4, 100)), 0.0, 0.0),
]


@pytest.mark.parametrize(("what", "x", "ac", "mac"), MEASURED, ids=[m[0] for m in MEASURED])
def test_syops_columns_are_what_syops_printed(
    what: str, x: np.ndarray, ac: float, mac: float
) -> None:
    node = graph_of(Linear(np.ones((50, 100))), (100,)).nodes[0]
    assert per_sample(syops_layer(node, x)) == pytest.approx((ac, mac))


def test_the_bias_is_multiplied_by_the_rate_once_a_call() -> None:
    node = graph_of(Linear(np.ones((50, 100)), np.ones(50)), (100,)).nodes[0]
    assert per_sample(syops_layer(node, events()))[0] == pytest.approx(1027.5625)  # printed 1027.6
    steps = np.concatenate([events()] * 3)
    assert per_sample(syops_layer(node, steps))[0] == pytest.approx(3 * 1027.5625)


def test_neurobench_takes_ternary_and_zeros_for_spikes_and_skips_zero_weights() -> None:
    weight = np.ones((50, 100))
    weight[:25] = 0
    node = graph_of(Linear(weight, np.ones(50)), (100,)).nodes[0]
    signs = events() * np.where(np.arange(400).reshape(1, 4, 100) % 2, 1, -1)
    assert per_sample(neurobench_layer(node, signs)) == (20.5 * 25, 0)
    assert per_sample(neurobench_layer(node, np.zeros((1, 4, 100)))) == (0, 0)
    assert per_sample(neurobench_layer(node, events(2.0))) == (0, 20.5 * 25)


def test_a_padded_convolution_differs_by_its_border_and_its_bias() -> None:
    graph = graph_of(Conv2d(np.ones((2, 1, 3, 3)), np.ones(2), padding=(1, 1)), (1, 4, 4))
    x = np.zeros((1, 1, 1, 4, 4))
    x[..., 0, 0] = 1  # a corner: 4 of 9 taps lie inside, for 2 channels
    data = measure(graph, x).conventions
    row = next(r for r in data["layers"] if r["name"] == "layer")
    assert row["purespike"] == {"ac": 8.0, "mac": 0.0}
    assert row["NeuroBench"] == {"ac": 8.0, "mac": 0.0}
    assert row["syops-counter 0.0.5"] == {"ac": (2 * 16 * 9 + 32) / 16, "mac": 0.0}
    # The neuron: one AC for each of 32 values.
    assert data["total"]["syops-counter 0.0.5"]["ac"] == 20.0 + 32
    assert "border" in data["why"]["syops-counter 0.0.5"]


def test_the_papers_costs_by_hand() -> None:
    x = Edge("x", (10,), ANALOG)
    nodes = [
        ("first", Linear(np.ones((8, 10))), ("x",)),
        ("n1", Neuron(np.asarray(1.0)), ("first",)),
        ("second", Linear(np.ones((5, 8))), ("n1",)),
        ("n2", Neuron(np.asarray(1.0)), ("second",)),
    ]
    graph = build((x,), nodes, ("n2",), 2)
    data = np.ones((2, 3, 10))
    data[1] = -30  # silent in the second step
    counts = measure(graph, data).counts
    assert (counts["first"].mac, counts["second"].ac) == (160, 40)  # one step of spikes
    cost = aap_cost(graph, counts)
    assert cost["dc_nanojoule"] == pytest.approx((4.6 * 160 + 0.9 * 40) / 1000)
    assert cost["ec_nanojoule"] == pytest.approx([4.6 * 160 / 1000, (4.6 * 160 + 0.9 * 80) / 1000])
    assert cost["firing_rate"] == 0.5
    assert cost["snn_to_ann"] == pytest.approx(2 * 0.5 * 0.9 / 4.6)
