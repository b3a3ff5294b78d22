"""Averages and factors fold into weights and thresholds; what cannot fold stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_cases import assert_printed, assert_same_outputs, graph_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import conv_geometry, convolution, trained_graphs

from purespike.compiler.domain import SPIKE
from purespike.compiler.ir import Edge
from purespike.compiler.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.passes.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm

R = np.random.default_rng(0)
CONV = Conv2d(R.normal(size=(2, 1, 3, 3)), R.normal(size=2), (1, 1), (1, 1))
FIRE = Neuron(0.7, 0.5, "subtract", 0.6, 0.2)
TWO = Edge("x", (2, 4, 6), SPIKE)
CLOSE = 1e-9


def test_case_1_factor_after_a_convolution() -> None:
    before = graph_of(
        [("c", CONV, ("x",)), ("s", Scale([[[2.0]], [[0.5]]]), ("c",)), ("n", FIRE, ("s",))]
    )
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["c", "n"]
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.bias is not None and CONV.bias is not None
    np.testing.assert_array_equal(op.weight, CONV.weight * np.reshape([2, 0.5], (2, 1, 1, 1)))
    np.testing.assert_array_equal(op.bias, CONV.bias * [2, 0.5])
    assert_same_outputs(before, after)


def test_case_1_factor_after_a_linear_layer_that_is_the_output() -> None:
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("l", Linear(np.ones((2, 16))), ("f",)),
            ("s", Scale([0.5, 2.0]), ("l",)),
        ]
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %f: 16 spike = Flatten(%x)
        %l: 2 analog[0, 32] = Linear(%f, 2x16)
        } -> %l
        """,
    )
    assert_same_outputs(before, after, CLOSE)


@pytest.mark.parametrize(
    "nodes",
    [
        # The factor varies within a channel.
        [("c", CONV, ("x",)), ("s", Scale(R.random((2, 4, 4))), ("c",)), ("n", FIRE, ("s",))],
        # Another node reads the layer before the factor.
        [
            ("c", CONV, ("x",)),
            ("s", Scale([[[2.0]], [[0.5]]]), ("c",)),
            ("a", Add(), ("c", "s")),
            ("n", FIRE, ("a",)),
        ],
        # Factors in front of a neuron that differ by channel, behind a sum.
        [
            ("c", CONV, ("x",)),
            ("d", CONV, ("x",)),
            ("a", Add(), ("c", "d")),
            ("s", Scale([[[2.0]], [[0.5]]]), ("a",)),
            ("n", FIRE, ("s",)),
        ],
        # A negative factor would turn the comparison around.
        [
            ("c", CONV, ("x",)),
            ("a", Add(), ("c", "c")),
            ("s", Scale(-0.5), ("a",)),
            ("n", FIRE, ("s",)),
        ],
        # On spikes it is a synapse already.
        [("s", Scale(0.5), ("x",)), ("n", FIRE, ("s",))],
        # An integrator has no threshold to fold it into.
        [
            ("a", Add(), ("x", "x")),
            ("s", Scale(0.5), ("a",)),
            ("n", Neuron(np.inf, reset="none"), ("s",)),
        ],
        # The scaled current is an output.
        [("a", Add(), ("x", "x")), ("s", Scale(0.5), ("a",)), ("n", FIRE, ("s",))],
        # Max pooling of something that is no spike.
        [("c", CONV, ("x",)), ("p", MaxPool2d((2, 2), (2, 2)), ("c",)), ("n", FIRE, ("p",))],
        # The mean over time of spikes: no linear layer to carry the factor.
        [("n", FIRE, ("x",)), ("m", TimeMean(3), ("n",))],
        # An average that two read, one of them no neuron.
        [
            ("p", AvgPool2d((2, 2), (2, 2)), ("x",)),
            ("n", FIRE, ("p",)),
            ("f", Flatten(), ("p",)),
        ],
    ],
)
def test_what_fits_no_case_stays(nodes: list[Any]) -> None:
    outputs = {"f": ("n", "f")}.get(nodes[-1][0], (nodes[-1][0],))
    if [n[0] for n in nodes] == ["a", "s", "n"] and nodes[-1][1] is FIRE:
        outputs = ("n", "s")
    before = graph_of(nodes, *outputs)
    assert str(fold_scales(before)) == str(before)


def test_case_2_factor_in_front_of_a_neuron() -> None:
    before = graph_of(
        [
            ("c", CONV, ("x",)),
            ("d", CONV, ("x",)),
            ("a", Add(), ("c", "d")),
            ("s", Scale(0.25), ("a",)),
            ("n", FIRE, ("s",)),
        ]
    )
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["c", "d", "a", "n"]
    op = after.nodes[-1].op
    assert isinstance(op, Neuron)
    assert (op.threshold, op.amount, op.initial, op.decay) == (2.8, 2.4, 0.8, 0.5)
    assert_same_outputs(before, after)


def test_case_3_average_flatten_linear() -> None:
    before = graph_of(
        [
            ("p", AvgPool2d((2, 2), (2, 2)), ("x",)),
            ("f", Flatten(), ("p",)),
            ("l", Linear(np.array([[4.0, 8.0, 12.0, 16.0]]), [1.0]), ("f",)),
        ]
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %f: 16 spike = Flatten(%x)
        %l: 1 int[1, 41] = Linear(%f, 1x16)
        } -> %l
        """,
    )
    op = after.nodes[-1].op
    assert isinstance(op, Linear)
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(op.weight, np.reshape(rows, (1, 16)))
    assert_same_outputs(before, after)


GEOMETRIES = st.tuples(
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(GEOMETRIES)
def test_case_3_any_pool(geometry: Any) -> None:
    kernel, stride, padded = geometry
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    pool = AvgPool2d(kernel, stride, padding)
    (c, h, w), _ = pool.infer(TWO)
    linear = Linear(R.normal(size=(3, c * h * w)), R.normal(size=3))
    before = graph_of([("p", pool, ("x",)), ("f", Flatten(), ("p",)), ("l", linear, ("f",))], x=TWO)
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["f", "l"]
    assert_same_outputs(before, after, CLOSE)


def test_case_4_average_convolution() -> None:
    conv = Conv2d(np.full((1, 1, 3, 3), 4.0), [1.0], (1, 2), (1, 1))
    before = graph_of(
        [("p", AvgPool2d((2, 2), (2, 2)), ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))]
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %c: 1x2x1 int[1, 37] = Conv2d(%x, 1x1x6x6, stride (2, 4), pad (2, 2))
        %n: 1x2x1 spike = Neuron(%c, threshold 0.7, decay 0.5, reset subtract)
        } -> %n
        """,
    )
    assert_same_outputs(before, after)


@settings(max_examples=150, deadline=None)
@given(GEOMETRIES, st.data())
def test_case_4_folds_exactly_when_it_may(geometry: Any, data: Any) -> None:
    kernel, stride, padded = geometry
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    pool = AvgPool2d(kernel, stride, padding)
    shape, _ = pool.infer(TWO)
    conv = convolution(conv_geometry(data.draw, shape), shape[0], lambda s: R.normal(size=s), True)
    before = graph_of([("p", pool, ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))], x=TWO)
    after = fold_scales(before)
    tiles = kernel == stride and 4 % kernel[0] == 0 and 6 % kernel[1] == 0
    if padding == (0, 0) and (tiles or conv.padding == (0, 0)):
        assert [n.name for n in after.nodes] == ["c", "n"]
        assert_same_outputs(before, after)
    else:
        assert str(after) == str(before)


def test_case_4_windows_that_overlap_add_up() -> None:
    conv = Conv2d(np.array([[[[4.0, 8.0]]]]))
    before = graph_of(
        [("p", AvgPool2d((1, 2), (1, 1)), ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))]
    )
    after = fold_scales(before)
    op = after.nodes[0].op
    assert isinstance(op, Conv2d)
    np.testing.assert_array_equal(op.weight, [[[[2.0, 6.0, 4.0]]]])
    assert_same_outputs(before, after)


def test_case_5_average_into_neurons() -> None:
    pool = AvgPool2d((2, 2), (2, 1), (1, 0))
    before = graph_of(
        [
            ("p", pool, ("x",)),
            ("c", Conv2d(np.ones((1, 1, 2, 2)), None, (2, 1), (1, 0)), ("x",)),
            ("a", Add(), ("p", "c")),
            ("n", FIRE, ("a",)),
            ("m", FIRE, ("p",)),
        ],
        "n",
        "m",
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %p: 1x3x3 analog[0, 1] = Conv2d(%x, 1x1x2x2, stride (2, 1), pad (1, 0))
        %c: 1x3x3 int[0, 4] = Conv2d(%x, 1x1x2x2, stride (2, 1), pad (1, 0))
        %a: 1x3x3 analog[0, 5] = Add(%p, %c)
        %n: 1x3x3 spike = Neuron(%a, threshold 0.7, decay 0.5, reset subtract)
        %m: 1x3x3 spike = Neuron(%p, threshold 0.7, decay 0.5, reset subtract)
        } -> %n, %m
        """,
    )
    assert_same_outputs(before, after)


def test_case_5_channels_stay_apart() -> None:
    before = graph_of([("p", AvgPool2d((2, 3), (2, 3)), ("x",)), ("n", FIRE, ("p",))], x=TWO)
    after = fold_scales(before)
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.groups == 2
    assert_same_outputs(before, after)


@pytest.mark.parametrize("first", ["mean", "flatten", "pool"])
def test_case_6_mean_over_time_before_the_linear_layer(first: str) -> None:
    linear = Linear(np.array([[3.0], [6.0]]), [1.5, 3.0])
    orders: dict[str, list[Any]] = {
        "mean": [
            ("m", TimeMean(3), ("x",)),
            ("p", AvgPool2d((4, 4), (4, 4)), ("m",)),
            ("f", Flatten(), ("p",)),
            ("l", linear, ("f",)),
        ],
        "flatten": [
            ("p", AvgPool2d((4, 4), (4, 4)), ("x",)),
            ("f", Flatten(), ("p",)),
            ("m", TimeMean(3), ("f",)),
            ("l", linear, ("m",)),
        ],
        "pool": [
            ("p", AvgPool2d((4, 4), (4, 4)), ("x",)),
            ("m", TimeMean(3), ("p",)),
            ("f", Flatten(), ("m",)),
            ("l", linear, ("f",)),
        ],
    }
    before = graph_of(orders[first])
    after = fold_scales(before)
    assert [type(n.op).__name__ for n in after.nodes] == ["Flatten", "Linear", "Neuron"]
    assert str(after.nodes[-1]) == "%l: 2 analog = Neuron(%l.current, integrates, decay 1)"
    current = after.nodes[-2].op
    assert isinstance(current, Linear) and current.bias is not None
    np.testing.assert_allclose(current.weight, np.repeat([[1 / 16], [2 / 16]], 16, axis=1))
    np.testing.assert_allclose(current.bias, [0.5, 1.0])
    assert_same_outputs(before, after, CLOSE)


def test_case_6_mean_over_time_after_the_linear_layer() -> None:
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("l", Linear(np.full((2, 16), 3.0), [6.0, 3.0]), ("f",)),
            ("m", TimeMean(3), ("l",)),
        ]
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %f: 16 spike = Flatten(%x)
        %l: 2 int[1, 18] = Linear(%f, 2x16)
        %m: 2 int[-inf, inf] = Neuron(%l, integrates, decay 1)
        } -> %m
        """,
    )
    assert_same_outputs(before, after, CLOSE)


def test_case_6_the_output_of_a_mean_between_two_linear_layers() -> None:
    a, b = Linear(R.normal(size=(3, 16)), R.normal(size=3)), Linear(R.normal(size=(2, 3)))
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("a", a, ("f",)),
            ("m", TimeMean(3), ("a",)),
            ("b", b, ("m",)),
        ]
    )
    assert_same_outputs(before, fold_scales(before), CLOSE)


def test_case_7_max_pooling_of_spikes() -> None:
    before = graph_of([("p", MaxPool2d((2, 3), (2, 1), (1, 1)), ("x",))], x=TWO)
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 2x4x6 spike = input
        %p.count: 2x3x6 int[0, 6] = Conv2d(%x, 2x1x2x3, stride (2, 1), pad (1, 1), groups 2)
        %p: 2x3x6 spike = Neuron(%p.count, threshold 1, decay 0, reset zero)
        } -> %p
        """,
    )
    assert_same_outputs(before, after)


def test_a_dilated_convolution_after_an_average() -> None:
    conv = Conv2d(R.normal(size=(1, 1, 2, 2)), None, (1, 1), (1, 1), (2, 2))
    nodes = [("p", AvgPool2d((2, 2), (2, 2)), ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))]
    before = graph_of(nodes, x=Edge("x", (1, 8, 8), SPIKE))
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["c", "n"]
    assert_same_outputs(before, after)
    assert "dilation (2, 2)" in str(before) and "dilation" not in str(after)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trained_graphs())
def test_random_graphs(graph: Any) -> None:
    fused = fuse_batchnorm(graph)
    assert_same_outputs(graph, fused, CLOSE)
    after = fold_scales(fused)
    assert_same_outputs(fused, after, CLOSE)
    assert str(fold_scales(after)) == str(after)
    assert not any(isinstance(n.op, MaxPool2d | TimeMean) for n in after.nodes)
