"""Batch norms on either side of a layer: folded exactly, against torch and the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import conv_geometry, convolution
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, IRError
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Neuron,
)
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import BatchNormError, fuse_batchnorm

R = np.random.default_rng(0)
FIRE = Neuron(0.7)
TWO = Edge("x", (2, 4, 6), SPIKE)
CLOSE = 1e-9


def norm(channels: int, seed: int = 0, *, shifted: bool = True) -> BatchNorm:
    r = np.random.default_rng(seed)
    gamma, beta, mean = (r.normal(size=channels) for _ in range(3))
    if not shifted:
        beta, mean = np.zeros(channels), np.zeros(channels)
    return BatchNorm(gamma, beta, mean, r.random(channels), 1e-5)


def op_of(graph: Graph, name: str) -> Any:
    node = graph.producer(name)
    assert node is not None
    return node.op


def currents(graph: Graph, name: str, x: Any) -> Any:
    return run(graph, x).values[name]


# Case 1: after the layer, any geometry, against torch in double precision.


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("variance", [1.0, 1e-8, 0.0])
def test_after_a_convolution_against_torch(groups: int, affine: bool, variance: float) -> None:
    torch.manual_seed(groups)
    conv = torch.nn.Conv2d(4, 8, 3, 2, 1, groups=groups, bias=affine).double()
    bn = torch.nn.BatchNorm2d(8, affine=affine).double().eval()
    with torch.no_grad():
        bn.running_mean.normal_()  # type: ignore[union-attr]
        bn.running_var.fill_(variance)  # type: ignore[union-attr]
        for p in (bn.weight, bn.bias):
            if affine:
                p.normal_()
    x = torch.rand(3, 4, 5, 5, dtype=torch.float64).round()
    wanted = bn(conv(x)).detach().numpy()

    def array(t: Any, fallback: float) -> Any:
        return np.full(8, fallback) if t is None else t.detach().numpy()

    op = Conv2d(
        conv.weight.detach().numpy(),
        None if conv.bias is None else conv.bias.detach().numpy(),
        (2, 2),
        (1, 1),
        groups=groups,
    )
    stats = (array(bn.running_mean, 0.0), array(bn.running_var, 0.0))
    layer = BatchNorm(array(bn.weight, 1.0), array(bn.bias, 0.0), *stats, bn.eps)
    edge = Edge("x", (4, 5, 5), SPIKE)
    graph = graph_of([("c", op, ("x",)), ("b", layer, ("c",))], x=edge, steps=1)
    after = fuse_batchnorm(graph)
    assert [n.name for n in after.nodes] == ["c"]
    found = currents(after, "c", x.numpy()[None])[0]
    scale = np.abs(wanted).max()
    assert np.abs(found - wanted).max() / scale < 1e-12  # issue: 1e-6; eps-less fusion: 41 %


def test_tdbn_is_a_batch_norm_whose_weight_carries_alpha_and_threshold() -> None:
    """Zheng et al. 2021, Eq. 4: lambda alpha V_th (x - mean) / sqrt(var + eps) + beta."""
    lam, alpha, threshold, eps = R.normal(size=2), 2**-0.5, 0.5, 1e-5
    mean, var, beta = R.normal(size=2), R.random(2), R.normal(size=2)
    conv = Conv2d(R.normal(size=(2, 2, 3, 3)), None, (1, 1), (1, 1))
    td = BatchNorm(lam * alpha * threshold, beta, mean, var, eps)
    graph = graph_of([("c", conv, ("x",)), ("b", td, ("c",)), ("n", FIRE, ("b",))], x=TWO)
    after = fuse_batchnorm(graph)
    x = (R.random((3, 2, 2, 4, 6)) < 0.5).astype(float)
    raw = currents(graph, "c", x)

    def shape(a: Any) -> Any:
        return a.reshape(-1, 1, 1)

    wanted = shape(lam * alpha * threshold) * (raw - shape(mean)) / shape(np.sqrt(var + eps))
    np.testing.assert_allclose(currents(after, "c", x), wanted + shape(beta), atol=1e-12)
    assert_same_outputs(graph, after)


def test_a_variance_of_nothing_is_refused() -> None:
    for variance, eps in ((0.0, 0.0), (-1.0, 1e-5)):
        bad = BatchNorm(np.ones(2), np.zeros(2), np.zeros(2), np.full(2, variance), eps)
        with pytest.raises(IRError, match="divides by nothing") as e:  # before anything runs it
            graph_of([("c", Conv2d(np.ones((2, 1, 1, 1))), ("x",)), ("b", bad, ("c",))])
        found = f"variance {variance:g}, eps {eps:g}"
        assert (e.value.where, e.value.found) == ("%b (module b)", found)


# Case 4: after a sum.


def test_case_4_after_a_sum_of_layers_and_spikes() -> None:
    c, d = (
        Conv2d(R.normal(size=(2, 2, 3, 3)), b, (1, 1), (1, 1)) for b in (None, R.normal(size=2))
    )
    before = graph_of(
        [
            ("c", c, ("x",)),
            ("d", d, ("x",)),
            ("a", Add(), ("x", "c", "d")),
            ("b", norm(2), ("a",)),
            ("n", FIRE, ("b",)),
        ],
        x=TWO,
    )
    after = fuse_batchnorm(before)
    assert [(n.name, *n.inputs) for n in after.nodes] == [
        ("c", "x"), ("d", "x"), ("b.in0", "x"), ("a", "b.in0", "c", "d"), ("n", "a")
    ]  # fmt: skip
    x = (R.random((3, 2, 2, 4, 6)) < 0.5).astype(float)
    np.testing.assert_allclose(
        currents(after, "a", x), currents(before, "b", x), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("reads", [("c", "c"), ("x", "x"), ("c", "inner")])
def test_case_4_sums_that_cannot_take_it(reads: tuple[str, str]) -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)))
    nodes: list[Any] = [
        ("c", conv, ("x",)),
        ("inner", Add(), ("x", "x")),
        ("a", Add(), reads),
        ("b", norm(1), ("a",)),
        ("n", FIRE, ("b",)),
    ]
    with pytest.raises(BatchNormError, match="normalises a sum") as e:
        fuse_batchnorm(graph_of(nodes))
    assert e.value.where == "b"
    assert e.value.remedy == "normalise each layer before the sum"


# Case 5: behind a pool.


def test_case_5_behind_average_pooling_of_a_layer() -> None:
    conv = Conv2d(R.normal(size=(3, 2, 3, 3)), R.normal(size=3), (1, 1), (1, 1))
    before = graph_of(
        [
            ("c", conv, ("x",)),
            ("p", AvgPool2d((2, 2), (2, 2)), ("c",)),
            ("b", norm(3), ("p",)),
            ("n", FIRE, ("b",)),
        ],
        x=TWO,
    )
    after = fuse_batchnorm(before)
    assert [(n.name, type(n.op).__name__) for n in after.nodes] == [
        ("c", "Conv2d"), ("b", "AvgPool2d"), ("n", "Neuron")
    ]  # fmt: skip
    x = (R.random((3, 2, 2, 4, 6)) < 0.5).astype(float)
    np.testing.assert_allclose(
        currents(after, "b", x), currents(before, "b", x), rtol=0, atol=1e-12
    )
    assert_same_outputs(before, after)


def test_case_5_a_padded_pool_takes_a_factor_but_no_shift() -> None:
    conv = Conv2d(R.normal(size=(3, 2, 1, 1)))

    def graph(batch_norm: BatchNorm) -> Graph:
        pool = AvgPool2d((2, 2), (2, 2), (1, 1))
        nodes: list[Any] = [("c", conv, ("x",)), ("p", pool, ("c",)), ("b", batch_norm, ("p",))]
        return graph_of([*nodes, ("n", FIRE, ("b",))], x=TWO)

    plain = graph(norm(3, shifted=False))
    assert_same_outputs(plain, fuse_batchnorm(plain))
    with pytest.raises(BatchNormError, match="average pooling with zero padding stands") as e:
        fuse_batchnorm(graph(norm(3)))
    assert e.value.where == "b"
    assert e.value.found == "padding (1, 1), whose zeros the batch norm would have to shift too"


# Case 6: before the layer.


def test_case_6_printed() -> None:
    bn = BatchNorm(np.array([2.0]), np.array([3.0]), np.array([0.5]), np.array([0.75]), 0.25)
    conv = Conv2d(np.full((1, 1, 2, 2), 0.5), [1.0])
    before = graph_of([("b", bn, ("x",)), ("c", conv, ("b",)), ("n", FIRE, ("c",))])
    after = fuse_batchnorm(before)
    assert_printed(
        before,
        """
        %x: 1x4x4 spike = input
        %b: 1x4x4 analog = BatchNorm(%x)
        %c: 1x3x3 analog = Conv2d(%b, 1x1x2x2, stride (1, 1), pad (0, 0))
        %n: 1x3x3 spike = Neuron(%c, threshold 0.7, decay 1, reset zero)
        } -> %n
        """,
    )
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %c: 1x3x3 int[5, 9] = Conv2d(%x, 1x1x2x2, stride (1, 1), pad (0, 0))
        %n: 1x3x3 spike = Neuron(%c, threshold 0.7, decay 1, reset zero)
        } -> %n
        """,
    )
    # g = 2, h = 3 - 2 / 2 = 2: weights 0.5 * 2, bias 1 + 4 * 0.5 * 2.
    np.testing.assert_array_equal(op_of(after, "c").weight, np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(op_of(after, "c").bias, [5.0])
    assert_same_outputs(before, after)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_case_6_any_convolution_depthwise_and_grouped(data: Any, shifted: bool) -> None:
    edge = Edge("x", (4, 4, 5), SPIKE)
    conv = convolution(
        conv_geometry(data.draw, edge.shape),
        4,
        lambda s: R.normal(size=s),
        data.draw(st.booleans()),
    )
    nodes: list[Any] = [("b", norm(4, shifted=shifted), ("x",)), ("c", conv, ("b",))]
    before = graph_of([*nodes, ("n", FIRE, ("c",))], x=edge)
    if shifted and any(conv.padding):
        with pytest.raises(BatchNormError, match="no convolution or linear layer that could") as e:
            fuse_batchnorm(before)
        assert "zero padding, which a shift in front of it would have to shift too (c)" in (
            e.value.found
        )
        return
    after = fuse_batchnorm(before)
    assert [n.name for n in after.nodes] == ["c", "n"]
    x = (R.random((3, 2, 4, 4, 5)) < 0.5).astype(float)
    np.testing.assert_allclose(
        currents(after, "c", x), currents(before, "c", x), rtol=0, atol=1e-12
    )


def test_case_6_all_layers_that_read_it_flattened_or_not() -> None:
    before = graph_of(
        [
            ("b", norm(2), ("x",)),
            ("c", Conv2d(R.normal(size=(1, 2, 4, 6))), ("b",)),
            ("f", Flatten(), ("b",)),
            ("l", Linear(R.normal(size=(3, 48)), R.normal(size=3)), ("f",)),
            ("m", Linear(R.normal(size=(2, 48))), ("f",)),
            ("v", norm(3, 1), ("l",)),
        ],
        "c",
        "v",
        "m",
        x=TWO,
    )
    after = fuse_batchnorm(before)
    assert [n.name for n in after.nodes] == ["c", "f", "l", "m"]
    assert_same_outputs(before, after, CLOSE)


def test_case_6_a_vector_of_features() -> None:
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("b", norm(16), ("f",)),
            ("l", Linear(R.normal(size=(3, 16))), ("b",)),
        ]
    )
    assert [n.name for n in fuse_batchnorm(before).nodes] == ["f", "l"]
    assert_same_outputs(before, fuse_batchnorm(before), CLOSE)


def test_case_6_through_average_pooling() -> None:
    before = graph_of(
        [
            ("b", norm(2), ("x",)),
            ("p", AvgPool2d((2, 2), (2, 2)), ("b",)),
            ("c", Conv2d(R.normal(size=(3, 2, 2, 2))), ("p",)),
            ("n", FIRE, ("c",)),
        ],
        x=TWO,
    )
    after = fuse_batchnorm(before)
    assert [type(n.op).__name__ for n in after.nodes] == ["AvgPool2d", "Conv2d", "Neuron"]
    assert [n.name for n in fold_scales(after).nodes] == ["c", "n"]
    assert_same_outputs(before, after)


def test_cases_2_and_6_two_in_a_row_in_front() -> None:
    before = graph_of(
        [
            ("a", norm(2, 1), ("x",)),
            ("b", norm(2, 2), ("a",)),
            ("c", Conv2d(R.normal(size=(3, 2, 2, 2))), ("b",)),
            ("d", norm(3, 3), ("c",)),
        ],
        x=TWO,
    )
    after = fuse_batchnorm(before)
    assert [n.name for n in after.nodes] == ["c"]
    assert_same_outputs(before, after, CLOSE)


# Case 7: on spikes in front of neurons.


@pytest.mark.parametrize("pooled", [False, True])
def test_case_7_depthwise(pooled: bool) -> None:
    pool: list[Any] = [("p", AvgPool2d((2, 2), (2, 1), (1, 0)), ("x",))] if pooled else []
    before = graph_of(
        [*pool, ("b", norm(2), ("p" if pooled else "x",)), ("n", FIRE, ("b",))], x=TWO
    )
    after = fuse_batchnorm(before)
    op = op_of(after, "b")
    assert isinstance(op, Conv2d) and op.groups == 2 and op.weight.shape == (2, 1, 1, 1)
    folded = fold_scales(after)
    assert [n.name for n in folded.nodes] == ["b", "n"]
    assert_same_outputs(before, folded)


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        ([("p", MaxPool2d((2, 2), (2, 2)), ("b",)), ("n", FIRE, ("p",))], "MaxPool2d reads it (p)"),
        ([("f", Flatten(), ("b",)), ("n", FIRE, ("f",))], "Neuron reads it (n)"),
        (
            [("c", Conv2d(np.ones((1, 2, 1, 1))), ("b",)), ("m", FIRE, ("b",)),
             ("n", FIRE, ("c",))],
            "Neuron reads it (m)",
        ),
    ],
)  # fmt: skip
def test_case_8_says_what_is_in_the_way(between: list[Any], reason: str) -> None:
    with pytest.raises(BatchNormError, match="no convolution or linear layer that could") as e:
        fuse_batchnorm(graph_of([("b", norm(2), ("x",)), *between], x=TWO))
    assert e.value.found == f"its input comes from the input x; {reason}"
    assert e.value.remedy.startswith("normalise the current")
