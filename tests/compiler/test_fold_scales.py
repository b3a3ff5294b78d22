"""Averages and factors fold into weights and thresholds; what cannot fold stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import conv_geometry, convolution, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.ops import (
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
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales, unfolded
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.rules.graph_rules import check_operations

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
        # Something else reads one of the layers behind the sum.
        [
            ("c", CONV, ("x",)),
            ("d", CONV, ("x",)),
            ("a", Add(), ("c", "d")),
            ("s", Scale([[[2.0]], [[0.5]]]), ("a",)),
            ("b", Add(), ("d", "s")),
            ("n", FIRE, ("b",)),
        ],
        # The factor varies within a channel of a sum.
        [
            ("a", Add(), ("x", "x")),
            ("s", Scale(R.random((1, 4, 4))), ("a",)),
            ("n", FIRE, ("s",)),
        ],
        # On spikes it is a synapse already.
        [("s", Scale(0.5), ("x",)), ("n", FIRE, ("s",))],
        # Max pooling of something that is not a spike.
        [("c", CONV, ("x",)), ("p", MaxPool2d((2, 2), (2, 2)), ("c",)), ("n", FIRE, ("p",))],
        # The mean over time of a layer that a neuron reads too.
        [
            ("c", CONV, ("x",)),
            ("n", FIRE, ("c",)),
            ("m", TimeMean(3), ("c",)),
            ("a", Add(), ("m", "n")),
        ],
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


def test_case_5_average_flatten_linear() -> None:
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
def test_case_5_any_pool(geometry: Any) -> None:
    kernel, stride, padded = geometry
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    pool = AvgPool2d(kernel, stride, padding)
    (c, h, w), _ = pool.infer(TWO)
    linear = Linear(R.normal(size=(3, c * h * w)), R.normal(size=3))
    before = graph_of([("p", pool, ("x",)), ("f", Flatten(), ("p",)), ("l", linear, ("f",))], x=TWO)
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["f", "l"]
    assert_same_outputs(before, after, CLOSE)


def test_case_6_average_convolution() -> None:
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
def test_case_6_folds_exactly_when_it_may(geometry: Any, data: Any) -> None:
    kernel, stride, padded = geometry
    padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
    pool = AvgPool2d(kernel, stride, padding)
    shape, _ = pool.infer(TWO)
    conv = convolution(conv_geometry(data.draw, shape), shape[0], lambda s: R.normal(size=s), True)
    before = graph_of([("p", pool, ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))], x=TWO)
    after = fold_scales(before)
    if all(_one_padding(pool, conv, shape, axis) for axis in (0, 1)):
        assert [n.name for n in after.nodes] == ["c", "n"]
        assert_same_outputs(before, after)
    else:
        assert str(after) == str(before)
        (why,) = unfolded(before, after)
        assert "pads the pooled map, which is not padding of the full map" in why


def _one_padding(pool: AvgPool2d, conv: Conv2d, pooled: Any, axis: int) -> bool:
    """By looking: every place that a padded window of the convolution sums, on the full map."""
    size, places = TWO.shape[1 + axis], pooled[1 + axis]
    if not conv.padding[axis]:
        return True
    if pool.padding[axis]:
        return False
    for out in range(conv.infer(Edge("p", pooled, SPIKE))[0][1 + axis]):
        for tap in range(conv.weight.shape[2 + axis]):
            place = out * conv.stride[axis] + tap * conv.dilation[axis] - conv.padding[axis]
            window = range(place * pool.stride[axis], place * pool.stride[axis] + pool.kernel[axis])
            if not 0 <= place < places and any(0 <= row < size for row in window):
                return False  # padding, of which one layer would read the map
    return True


@pytest.mark.parametrize(
    ("size", "window", "stride", "step", "folds", "pads"),
    [
        (17, 2, 2, 1, False, 0),  # 34 to 17 to 8: the padding reads the row that was left out
        (17, 2, 2, 2, True, 0),  # 8 places: a stride of 2 ends at the last of them
        (7, 2, 2, 1, False, 0),  # 28 to 14 to 7 to 3
        (7, 2, 2, 2, False, 0),  # 3 places: a stride of 2 reads padding behind them
        (16, 2, 2, 1, True, 0),
        (18, 2, 2, 1, True, 0),
        (
            9,
            2,
            3,
            1,
            True,
            0,
        ),  # gaps between windows: the last gap is left out, and nobody reads it
        (10, 2, 3, 1, False, 0),
        (9, 3, 2, 1, False, 0),  # windows overlap
        (9, 3, 1, 1, False, 1),  # both are padded
        (8, 2, 2, 1, False, 1),
    ],
)
def test_case_6_rows_that_are_left_out(
    size: int, window: int, stride: int, step: int, folds: bool, pads: int
) -> None:
    pool = AvgPool2d((window, window), (stride, stride), (pads, pads))
    conv = Conv2d(R.normal(size=(2, 1, 3, 3)), None, (step, step), (1, 1))
    x = Edge("x", (1, size, size), SPIKE)
    before = graph_of([("p", pool, ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))], x=x)
    after = fold_scales(before)
    assert (len(after.nodes) == 2) == folds
    if folds:
        assert_same_outputs(before, after)
        return
    (why,) = unfolded(before, after)
    assert "leave out the last" in why or "overlap" in why or "padded, too" in why
    (remedy,) = {f.remedy for f in check_operations(after) if f.status == "FAIL"}
    assert "padding 0 in the convolution" in remedy and "MaxPool2d" in remedy
    # Both work: padding 0 in the convolution; the pool that is an OR.
    plain = replace(conv, padding=(0, 0))
    maximum = MaxPool2d((window, window), (stride, stride), (pads, pads))
    for other_pool, other_conv in ((pool, plain), (maximum, conv)):
        tried = graph_of(
            [("p", other_pool, ("x",)), ("c", other_conv, ("p",)), ("n", FIRE, ("c",))], x=x
        )
        folded = fold_scales(tried)
        assert not [f for f in check_operations(folded) if f.status == "FAIL"]
        assert_same_outputs(tried, folded)
    if "leave out" in why:  # a map that fits, as it names it
        assert f"a map of {size - size % stride} or {size - size % stride + stride} rows" in remedy


def test_case_6_windows_that_overlap_add_up() -> None:
    conv = Conv2d(np.array([[[[4.0, 8.0]]]]))
    before = graph_of(
        [("p", AvgPool2d((1, 2), (1, 1)), ("x",)), ("c", conv, ("p",)), ("n", FIRE, ("c",))]
    )
    after = fold_scales(before)
    op = after.nodes[0].op
    assert isinstance(op, Conv2d)
    np.testing.assert_array_equal(op.weight, [[[[2.0, 6.0, 4.0]]]])
    assert_same_outputs(before, after)


def test_case_8_average_into_neurons() -> None:
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


def test_case_8_channels_stay_apart() -> None:
    before = graph_of([("p", AvgPool2d((2, 3), (2, 3)), ("x",)), ("n", FIRE, ("p",))], x=TWO)
    after = fold_scales(before)
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.groups == 2
    assert_same_outputs(before, after)


@pytest.mark.parametrize("first", ["mean", "flatten", "pool"])
def test_case_9_mean_over_time_before_the_linear_layer(first: str) -> None:
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


def test_case_9_mean_over_time_after_the_linear_layer() -> None:
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


def test_case_9_the_output_of_a_mean_between_two_linear_layers() -> None:
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


def test_case_10_max_pooling_of_spikes() -> None:
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


# Cases 3 and 4: factors after sums and on spikes.


@pytest.mark.parametrize("factor", [-0.5, 0.25, [[[2.0]], [[-0.5]]]])
def test_case_3_into_each_part_of_a_sum(factor: Any) -> None:
    before = graph_of(
        [
            ("c", Conv2d(R.normal(size=(2, 2, 1, 1)), R.normal(size=2)), ("x",)),
            ("a", Add(), ("x", "c", "x")),
            ("s", Scale(factor), ("a",)),
            ("o", Neuron(np.inf, reset="none"), ("s",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [(n.name, type(n.op).__name__) for n in after.nodes] == [
        ("c", "Conv2d"), ("s.in0", "Scale"), ("s.in2", "Scale"), ("a", "Add"), ("o", "Neuron")
    ]  # fmt: skip
    assert_same_outputs(before, after, CLOSE)
    assert unfolded(before, after) == ()


def test_case_3_a_scaled_sum_that_is_an_output_too() -> None:
    nodes: list[Any] = [("a", Add(), ("x", "x")), ("s", Scale(0.5), ("a",)), ("n", FIRE, ("s",))]
    before = graph_of(nodes, "n", "s")
    after = fold_scales(before)
    assert after.outputs == ("n", "a")
    assert_same_outputs(before, after, CLOSE)


def test_case_4_a_factor_on_spikes_in_front_of_layers() -> None:
    before = graph_of(
        [
            ("s", Scale([[[0.5]], [[-2.0]]]), ("x",)),
            ("c", Conv2d(R.normal(size=(3, 2, 3, 3)), R.normal(size=3), padding=(1, 1)), ("s",)),
            ("n", FIRE, ("c",)),
            ("f", Flatten(), ("s",)),
            ("l", Linear(R.normal(size=(2, 48))), ("f",)),
        ],
        "n",
        "l",
        x=TWO,
    )
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["c", "n", "f", "l"]
    assert_same_outputs(before, after, CLOSE)


def test_case_4_a_factor_for_each_place_goes_into_a_linear_layer() -> None:
    nodes: list[Any] = [
        ("s", Scale(R.normal(size=(2, 4, 6))), ("x",)),
        ("f", Flatten(), ("s",)),
        ("l", Linear(R.normal(size=(3, 48)), R.normal(size=3)), ("f",)),
    ]
    before = graph_of(nodes, x=TWO)
    assert [n.name for n in fold_scales(before).nodes] == ["f", "l"]
    assert_same_outputs(before, fold_scales(before), CLOSE)


def test_case_4_two_factors_and_a_pool_between() -> None:
    before = graph_of(
        [
            ("s", Scale(0.5), ("x",)),
            ("t", Scale(3.0), ("s",)),
            ("p", AvgPool2d((2, 2), (2, 2), (1, 1)), ("t",)),
            ("c", Conv2d(R.normal(size=(3, 2, 2, 2)), R.normal(size=3)), ("p",)),
            ("n", FIRE, ("c",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["c", "n"]
    assert_same_outputs(before, after)


# Case 7: pools behind layers.


@settings(max_examples=60, deadline=None)
@given(GEOMETRIES, st.data())
def test_case_7_any_convolution_before_any_pool(geometry: Any, data: Any) -> None:
    values = conv_geometry(data.draw, TWO.shape)
    conv = convolution(values, 2, lambda s: R.normal(size=s), True)
    edge = Edge("c", conv.infer(TWO)[0], SPIKE)
    pool = AvgPool2d(*(tuple(min(k, n) for k, n in zip(g, edge.shape[1:], strict=True))
                       for g in geometry[:2]))  # fmt: skip
    before = graph_of([("c", conv, ("x",)), ("p", pool, ("c",)), ("n", FIRE, ("p",))], x=TWO)
    after = fold_scales(before)
    assert [(n.name, type(n.op).__name__) for n in after.nodes] == [
        ("p", "Conv2d"), ("n", "Neuron")
    ]  # fmt: skip
    assert_same_outputs(before, after)
    assert after.edge("p").shape == before.edge("p").shape


def test_case_7_printed() -> None:
    before = graph_of(
        [
            ("c", Conv2d(np.full((1, 1, 2, 2), 4.0), [1.0]), ("x",)),
            ("p", AvgPool2d((2, 2), (1, 1)), ("c",)),
            ("n", FIRE, ("p",)),
        ]
    )
    after = fold_scales(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %p: 1x2x2 int[1, 17] = Conv2d(%x, 1x1x3x3, stride (1, 1), pad (0, 0))
        %n: 1x2x2 spike = Neuron(%p, threshold 0.7, decay 0.5, reset subtract)
        } -> %n
        """,
    )
    op = after.nodes[0].op
    assert isinstance(op, Conv2d)
    np.testing.assert_array_equal(op.weight[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_case_7_a_sum_is_pooled_part_by_part() -> None:
    before = graph_of(
        [
            ("c", Conv2d(R.normal(size=(2, 2, 3, 3)), R.normal(size=2), padding=(1, 1)), ("x",)),
            ("a", Add(), ("c", "x")),
            ("p", AvgPool2d((2, 2), (2, 2)), ("a",)),
            ("n", FIRE, ("p",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [(n.name, type(n.op).__name__) for n in after.nodes] == [
        ("p.in0", "Conv2d"), ("p.in1", "Conv2d"), ("p", "Add"), ("n", "Neuron")
    ]  # fmt: skip
    assert_same_outputs(before, after)


def test_pool_after_pool_into_neurons() -> None:
    before = graph_of(
        [
            ("p", AvgPool2d((2, 2), (1, 1)), ("x",)),
            ("q", AvgPool2d((2, 3), (2, 2)), ("p",)),
            ("n", FIRE, ("q",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [(n.name, type(n.op).__name__) for n in after.nodes] == [
        ("q", "Conv2d"), ("n", "Neuron")
    ]  # fmt: skip
    assert_same_outputs(before, after)


def test_a_pool_a_factor_and_a_neuron() -> None:
    before = graph_of(
        [
            ("p", AvgPool2d((2, 2), (2, 2)), ("x",)),
            ("s", Scale([[[2.0]], [[-0.5]]]), ("p",)),
            ("n", FIRE, ("s",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [n.name for n in after.nodes] == ["p", "n"]
    assert_same_outputs(before, after)


# Case 9: the mean itself is the output.


@pytest.mark.parametrize("flat", [False, True])
def test_case_9_the_mean_of_spikes_is_the_output(flat: bool) -> None:
    tail: list[Any] = [("f", Flatten(), ("m",))] if flat else []
    before = graph_of([("n", FIRE, ("x",)), ("m", TimeMean(3), ("n",)), *tail], x=TWO)
    after = fold_scales(before)
    assert [type(n.op).__name__ for n in after.nodes] == (
        ["Neuron", *(["Flatten"] if flat else []), "Scale", "Neuron"]
    )
    assert_same_outputs(before, after, CLOSE)


def test_case_9_the_mean_of_a_sum() -> None:
    before = graph_of(
        [
            ("c", Conv2d(R.normal(size=(2, 2, 1, 1)), R.normal(size=2)), ("x",)),
            ("a", Add(), ("c", "x")),
            ("m", TimeMean(3), ("a",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert not any(isinstance(n.op, TimeMean) for n in after.nodes) and not unfolded(before, after)
    assert_same_outputs(before, after, CLOSE)


# Case 11: a head without a linear layer.


@pytest.mark.parametrize("groups", [1, 2])
def test_case_11_pooled_convolution_as_a_readout(groups: int) -> None:
    conv = Conv2d(R.normal(size=(4, 2 // groups, 1, 1)), R.normal(size=4), groups=groups)
    before = graph_of(
        [
            ("c", conv, ("x",)),
            ("p", AvgPool2d((4, 6), (1, 1)), ("c",)),
            ("f", Flatten(), ("p",)),
            ("m", TimeMean(3), ("f",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert [type(n.op).__name__ for n in after.nodes] == ["Flatten", "Linear", "Neuron"]
    assert_same_outputs(before, after, CLOSE)


# Why something stays.

CONV2 = Conv2d(R.normal(size=(2, 2, 1, 1)), R.normal(size=2))
HALF = AvgPool2d((2, 2), (2, 2))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (
            [("c", CONV2, ("x",)), ("p", MaxPool2d((2, 2), (2, 2)), ("c",)), ("n", FIRE, ("p",))],
            "left MaxPool2d p: the maximum of analog",
        ),
        (
            [("c", CONV2, ("x",)), ("p", AvgPool2d((2, 2), (2, 2), (1, 1)), ("c",)),
             ("n", FIRE, ("p",))],
            "left AvgPool2d p: it pads what a layer makes, bias included: pool without padding",
        ),
        (
            [("s", Scale(R.random((2, 4, 6))), ("x",)), ("p", HALF, ("s",)), ("n", FIRE, ("p",))],
            "left AvgPool2d p: what it averages is not made by convolutions alone",
        ),
        ([("p", HALF, ("x",))], "left AvgPool2d p: the average itself is an output"),
        (
            [("p", HALF, ("x",)), ("c", CONV2, ("p",)), ("n", FIRE, ("c",)), ("m", FIRE, ("p",)),
             ("a", Add(), ("n", "m"))],
            "left AvgPool2d p: several layers read it: give each its own pool",
        ),
        (
            [("p", HALF, ("x",)), ("f", Flatten(), ("p",)), ("n", FIRE, ("f",))],
            "left AvgPool2d p: Flatten reads it",
        ),
        (
            [("m", TimeMean(3), ("x",)), ("n", FIRE, ("m",))],
            "left TimeMean m: Neuron reads the mean over time: end in it, or in a linear layer",
        ),
        (
            [("c", CONV2, ("x",)), ("s", Scale(R.random((2, 4, 6))), ("c",)), ("n", FIRE, ("s",))],
            "left Scale s: its factor varies within a channel: use one per channel",
        ),
        (
            [("c", CONV2, ("x",)), ("s", Scale(-1.0), ("c",)), ("a", Add(), ("c", "s")),
             ("n", FIRE, ("a",))],
            "left Scale s: what it multiplies is read by something else too",
        ),
    ],
)  # fmt: skip
def test_unfolded_says_why(nodes: list[Any], reason: str) -> None:
    before = graph_of(nodes, x=TWO)
    reasons = unfolded(before, fold_scales(before))
    assert any(r.startswith(reason) for r in reasons), reasons
