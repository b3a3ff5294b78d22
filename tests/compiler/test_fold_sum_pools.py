"""Sum pooling, a depthwise convolution of ones, goes into the layer beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales

R = np.random.default_rng(3)
X = Edge("x", (2, 6, 8), SPIKE)


def whole(*shape: int) -> Any:
    return R.integers(-4, 6, shape)


def ones(*kernel: int, value: float = 1.0, **geometry: Any) -> Conv2d:
    return Conv2d(np.full((2, 1, *kernel), value), None, groups=2, **geometry)


def chain(*ops: Op) -> Graph:
    names = ["x", *(f"n{i}" for i in range(len(ops)))]
    nodes = [(n, op, (before,)) for before, n, op in zip(names, names[1:], ops, strict=False)]
    return build((X,), nodes, (names[-1],), 4)


FOLDED = {
    "tiles, then a padded convolution": (
        ones(2, 2, stride=(2, 2)),
        Conv2d(whole(3, 2, 3, 3), whole(3), (1, 1), (1, 1)),
    ),
    "windows that overlap, then a dilated convolution": (
        ones(3, 2, stride=(1, 2), value=3.0),
        Conv2d(whole(4, 1, 2, 2), None, (1, 1), (0, 0), (2, 1), 2),
    ),
    "a convolution with a bias, then sums": (
        Conv2d(whole(2, 2, 3, 3), whole(2), (1, 2), (1, 1)),
        ones(2, 3, stride=(2, 1)),
    ),
    "sums, flatten, a linear layer": (
        ones(3, 3, stride=(2, 2), padding=(1, 1)),
        Flatten(),
        Linear(whole(5, 24), whole(5)),
    ),
    "padded sums that the padding of a convolution does not reach": (
        ones(2, 2, stride=(2, 2), padding=(1, 1)),
        Conv2d(whole(3, 2, 3, 3), padding=(1, 1)),
    ),
    "two weights of a group, a convolution": (
        Conv2d([[[[1, 1]]], [[[1, 2]]]], groups=2),
        Conv2d(whole(3, 2, 3, 3)),
    ),
    "sums of everything, flatten, a linear layer": (
        ones(6, 8),
        Flatten(),
        Linear(whole(5, 2), None),
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_they_fold_to_the_last_bit(name: str) -> None:
    graph = chain(*FOLDED[name], Neuron(7.0))
    folded = fold_scales(graph)
    assert sum(isinstance(n.op, Conv2d | Linear) for n in folded.nodes) == 1
    x = R.integers(0, 2, (4, 5, 2, 6, 8)).astype(np.float64)
    layer = graph.nodes[-1].inputs[0]
    a, b = run(graph, x), run(folded, x)
    current = b.values[folded.nodes[-1].inputs[0]]
    np.testing.assert_array_equal(a.values[layer], current)
    assert 0 < a.values[graph.outputs[0]].mean() < 1
    np.testing.assert_array_equal(a.values[graph.outputs[0]], b.values[folded.outputs[0]])


@pytest.mark.parametrize(
    "ops",
    [
        (ones(2, 3, stride=(2, 3)), Conv2d(whole(3, 2, 3, 3), padding=(1, 1))),  # 8 columns
        (Conv2d(whole(2, 2, 3, 3)), ones(2, 2, padding=(1, 1))),
        (ones(2, 2), Neuron(1.0), Conv2d(whole(3, 2, 3, 3))),
    ],
)
def test_they_stay_where_it_would_not_be_exact(ops: Any) -> None:
    graph = chain(*ops, Neuron(3.0))
    assert [n.op for n in fold_scales(graph).nodes] == [n.op for n in graph.nodes]
