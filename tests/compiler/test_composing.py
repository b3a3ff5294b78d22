"""Layers of currents and maxima of currents: the same network on spikes, or none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_same_outputs, graph_of

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AvgPool2d,
    Conv2d,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.passes.fold_scales.composing import composed
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales

R = np.random.default_rng(0)
X = Edge("x", (2, 6, 7), SPIKE)
FIRE = Neuron(np.asarray(0.6), decay=0.5, reset="subtract")


def conv(outputs: int, inputs: int, kernel: int, bias: bool = True, **more: Any) -> Conv2d:
    weight = R.normal(size=(outputs, inputs, kernel, kernel))
    return Conv2d(weight, R.normal(size=outputs) if bias else None, **more)


def synapses_read_spikes(graph: Graph) -> bool:
    return all(
        graph.edge(n.inputs[0]).domain <= SPIKE for n in graph.nodes if isinstance(n.op, SYNAPSES)
    )


def shortcuts(down: Any) -> Graph:
    """A running current that a neuron and a downsampling read, as in MS-ResNet."""
    nodes = [
        ("stem", conv(3, 2, 3, padding=(1, 1)), ("x",)),
        ("n1", FIRE, ("stem",)),
        ("c1", conv(3, 3, 3, padding=(1, 1)), ("n1",)),
        ("sum", Add(), ("c1", "stem")),
        ("n2", FIRE, ("sum",)),
        ("c2", conv(4, 3, 1, stride=(2, 2)), ("n2",)),
        ("down", down, ("sum",)),
        ("sum2", Add(), ("c2", "down")),
        ("n3", FIRE, ("sum2",)),
    ]
    return graph_of(nodes, x=X, steps=4)


@pytest.mark.parametrize("bias", [True, False])
def test_downsampling_of_a_running_current(bias: bool) -> None:
    before = shortcuts(conv(4, 3, 1, bias, stride=(2, 2)))
    after = fold_scales(before)
    assert not synapses_read_spikes(before) and synapses_read_spikes(after)
    assert_same_outputs(before, after, 1e-9)


def test_a_pool_of_a_running_current() -> None:
    before = graph_of(
        [
            ("a", conv(3, 2, 3, padding=(1, 1)), ("x",)),
            ("n1", FIRE, ("a",)),
            ("b", conv(3, 3, 1), ("n1",)),
            ("sum", Add(), ("b", "a")),
            ("n2", FIRE, ("sum",)),
            ("p", AvgPool2d((6, 7), (6, 7)), ("sum",)),
            ("n3", FIRE, ("p",)),
        ],
        "n2",
        "n3",
        x=X,
        steps=4,
    )
    after = fold_scales(before)
    assert not any(isinstance(n.op, AvgPool2d) for n in after.nodes)
    assert synapses_read_spikes(after)
    assert_same_outputs(before, after, 1e-9)


def test_repconv_is_one_convolution() -> None:
    """1x1, padding behind its batch norm's value at zero, depthwise 3x3, pointwise (SDT V2)."""
    pad = Conv2d(np.ones((5, 1, 1, 1)), R.normal(size=5), padding=(1, 1), groups=5)
    deep = conv(5, 1, 3, bias=False, groups=5)
    nodes = [
        ("one", conv(5, 2, 1, bias=False), ("x",)),
        ("pad", pad, ("one",)),
        ("deep", deep, ("pad",)),
        ("point", conv(4, 5, 1), ("deep",)),
        ("n", FIRE, ("point",)),
    ]
    before = graph_of(nodes, x=X, steps=3)
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["point", "n"]
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.weight.shape == (4, 2, 3, 3) and op.padding == (1, 1)
    assert_same_outputs(before, after, 1e-9)


def test_linear_layers_that_share_a_current() -> None:
    x = Edge("x", (5,), SPIKE)
    first, second = Linear(R.normal(size=(4, 5)), R.normal(size=4)), Linear(R.normal(size=(3, 4)))
    nodes = [("a", first, ("x",)), ("n", FIRE, ("a",)), ("b", second, ("a",)), ("m", FIRE, ("b",))]
    before = graph_of(nodes, "n", "m", x=x, steps=3)
    after = fold_scales(before)
    assert synapses_read_spikes(after)
    assert_same_outputs(before, after, 1e-9)


def test_every_geometry_is_exact_or_refused() -> None:
    """Random pairs, of which both outcomes happen."""
    r, outcomes = np.random.default_rng(1), {True: 0, False: 0}
    for _ in range(60):
        groups = int(r.choice([1, 2]))
        inner = Conv2d(
            r.normal(size=(4, 2 // groups, *r.integers(1, 4, 2))),
            r.normal(size=4) if r.random() < 0.5 else None,
            tuple(r.integers(1, 3, 2).tolist()),
            tuple(r.integers(0, 2, 2).tolist()),
            tuple(r.integers(1, 3, 2).tolist()),
            groups,
        )
        depth = int(r.choice([1, 4]))
        outer = Conv2d(
            r.normal(size=(4, 4 // depth, *r.integers(1, 3, 2))),
            r.normal(size=4) if r.random() < 0.5 else None,
            tuple(r.integers(1, 3, 2).tolist()),
            tuple((r.integers(0, 3, 2) // 2).tolist()),
            (1, 1),
            depth,
        )
        edge = Edge("x", (2, 9, 8), SPIKE)
        mid = Edge("m", *inner.infer(edge))
        shape, _ = outer.infer(mid)
        both = composed(outer, inner, edge.shape[1:], mid.shape[1:])
        outcomes[both is not None] += 1
        if both is not None:
            x = r.normal(size=(2, *edge.shape))
            wanted = outer.step(None, inner.step(None, x)[1])[1]
            assert both.infer(edge)[0] == shape
            np.testing.assert_allclose(both.step(None, x)[1], wanted, atol=1e-9)
    assert min(outcomes.values()) > 5


def test_padding_that_means_something_else_stays() -> None:
    """The second layer's padding would have to hold the first one's bias."""
    nodes = [
        ("a", conv(3, 2, 1), ("x",)),
        ("b", conv(3, 3, 3, padding=(1, 1)), ("a",)),
        ("n", FIRE, ("b",)),
    ]
    before = graph_of(nodes, x=X, steps=2)
    assert fold_scales(before) is before


def test_a_host_weighs_its_own_currents() -> None:
    nodes = [("a", conv(3, 2, 1), ("x",)), ("b", conv(3, 3, 3), ("a",)), ("n", FIRE, ("b",))]
    before = graph_of(nodes, x=Edge("x", (2, 6, 7), ANALOG), steps=2)
    assert fold_scales(before) is before


def pooled(neuron: Any, steps: int) -> Graph:
    nodes = [
        ("c", conv(3, 2, 3, padding=(1, 1)), ("x",)),
        ("p", MaxPool2d((3, 3), (2, 2), (1, 1)), ("c",)),
        ("n", neuron, ("p",)),
        ("l", conv(2, 3, 1), ("n",)),
        ("m", Neuron(np.asarray(0.3), decay=0.0), ("l",)),
    ]
    return graph_of(nodes, "n", "m", x=X, steps=steps)


LEVELS = Levels(np.array([0.2, 0.9, 1.4]).reshape(3, 1, 1, 1) * np.ones((3, 3, 1, 1)))


@pytest.mark.parametrize(
    ("neuron", "steps", "fits"),
    [
        (FIRE, 1, True),
        (Neuron(R.random((3, 1, 1)) + 0.2, decay=0.0), 3, True),
        (LEVELS, 3, True),
        (FIRE, 2, False),
        (Neuron(R.random((3, 3, 4)) + 0.2, decay=0.0), 1, False),
        (Levels(np.array([0.5]), below=np.array([0.5])), 1, False),
    ],
)
def test_a_maximum_in_front_of_neurons_without_memory(neuron: Any, steps: int, fits: bool) -> None:
    before = pooled(neuron, steps)
    after = fold_scales(before)
    left = [n for n in after.nodes if isinstance(n.op, MaxPool2d)]
    counts = isinstance(neuron, Levels)
    assert bool(left) == (not fits or counts)  # of counts `unroll_levels` makes an OR each
    assert (after.producer("n.each") is not None) == fits
    assert_same_outputs(before, after)


def test_padding_of_a_maximum_never_wins() -> None:
    pool, x = MaxPool2d((3, 3), (2, 2), (1, 1)), -1 - R.random((1, 2, 5, 5))
    assert (pool.step(None, x)[1] < -1).all()
    assert pool.step(None, np.ones((1, 1, 5, 5), np.uint8))[1].max() == 1
    wide = MaxPool2d((2, 2), (1, 1), (2, 2))
    with pytest.raises(Exception, match="nothing but padding"):
        wide.infer(Edge("x", (1, 4, 4), ANALOG))
    assert wide.infer(Edge("x", (1, 4, 4), SPIKE))[1] <= SPIKE


def test_a_one_to_one_synapse_goes_into_a_convolution() -> None:
    nodes = [
        ("s", Scale(np.array([0.5, 2.0]).reshape(2, 1, 1)), ("x",)),
        ("n", FIRE, ("s",)),
        ("c", conv(3, 2, 3), ("s",)),
        ("m", FIRE, ("c",)),
    ]
    before = graph_of(nodes, "n", "m", x=X, steps=2)
    after = fold_scales(before)
    assert synapses_read_spikes(after)
    assert_same_outputs(before, after, 1e-9)
