"""Currents that several layers read: 1x1 convolutions and pools of them get copies of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_same_outputs, graph_of

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.ops import Add, AvgPool2d, BatchNorm, Conv2d, Levels, Neuron, Scale
from purespike.compiler.ir.ops.levels import thresholds_of_rounding
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.proofs.currents import find_currents

R = np.random.default_rng(0)
FIRE, TWO, CLOSE = Neuron(0.7, 0.5), Edge("x", (2, 5, 6), SPIKE), 1e-9


def conv(out: int, inputs: int, kernel: int = 3, stride: int = 1, **more: Any) -> Conv2d:
    groups = more.pop("groups", 1)
    weight = R.normal(size=(out, inputs // groups, kernel, kernel))
    around = (kernel // 2, kernel // 2)
    return Conv2d(weight, R.normal(size=out), (stride, stride), around, groups=groups, **more)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_pointwise_convolution_of_a_layer(first: int, second: int, groups: int) -> None:
    """Borders, strides that do not divide, biases, groups: one layer, and the first one stays."""
    before = graph_of(
        [
            ("a", conv(4, 2, stride=first, groups=groups), ("x",)),
            ("n", FIRE, ("a",)),
            ("b", conv(3, 4, 1, second), ("a",)),
            ("m", FIRE, ("b",)),
        ],
        "n",
        "m",
        x=TWO,
    )
    after = fold_scales(before)
    assert [n.inputs for n in after.nodes] == [("x",), ("a",), ("x",), ("b",)]
    assert_same_outputs(before, after)


def test_membrane_shortcuts() -> None:
    """A sum that two layers read, and its 1x1 convolution: each part of it once more."""
    before = graph_of(
        [
            ("stem", conv(2, 2), ("x",)),
            ("n1", FIRE, ("stem",)),
            ("c1", conv(2, 2), ("n1",)),
            ("v1", Add(), ("c1", "stem")),
            ("n2", FIRE, ("v1",)),
            ("c2", conv(3, 2, 3, 2), ("n2",)),
            ("down", conv(3, 2, 1, 2), ("v1",)),
            ("v2", Add(), ("c2", "down")),
            ("n3", FIRE, ("v2",)),
        ],
        x=TWO,
    )
    after = fold_scales(before)
    assert_same_outputs(before, after)
    read = {n.name: n.inputs for n in after.nodes}
    assert read["down"] == ("down.in0", "down.in1") and read["down.in0"] == ("n1",)
    assert read["down.in1"] == ("x",) and read["v1"] == ("c1", "stem")
    # On the chip the stem's synapses stand once for each layer that reads a sum with them.
    arrays = find_currents(after).arrays
    assert arrays == {"stem": 2, "c1": 1, "c2": 1, "down.in0": 1, "down.in1": 1}


@pytest.mark.parametrize("padding", [0, 1])
def test_a_pool_of_a_current_that_others_read(padding: int) -> None:
    """Folded into copies of nested sums; with padding it stays, since biases would be padded."""
    pool = AvgPool2d((2, 2), (2, 2), (padding, padding))
    before = graph_of(
        [
            ("a", conv(2, 2), ("x",)),
            ("n", FIRE, ("a",)),
            ("b", conv(2, 2), ("n",)),
            ("v", Add(), ("b", "a")),
            ("m", FIRE, ("v",)),
            ("c", conv(2, 2), ("m",)),
            ("w", Add(), ("c", "v", "x")),
            ("p", pool, ("w",)),
            ("k", FIRE, ("p",)),
            ("q", FIRE, ("w",)),
        ],
        "k",
        "q",
        x=TWO,
    )
    after = fold_scales(before)
    assert any(isinstance(n.op, AvgPool2d) for n in after.nodes) == bool(padding)
    assert_same_outputs(before, after)


def test_what_has_no_form_stays() -> None:
    """Padding of what has a bias, factors within a channel: the check names them."""
    a = Conv2d(R.normal(size=(4, 2, 1, 1)), R.normal(size=4))
    op = Conv2d(R.normal(size=(4, 4, 1, 1)), padding=(1, 1))
    before = graph_of([("a", a, ("x",)), ("b", op, ("a",)), ("n", FIRE, ("b",))], x=TWO)
    assert fold_scales(before) is before
    within = ("a", Scale(R.random((2, 5, 6)) + 1), ("x",))
    before = graph_of([within, ("b", conv(3, 2, 1), ("a",)), ("n", FIRE, ("b",))], x=TWO)
    kept = fold_scales(before)
    assert [type(n.op).__name__ for n in kept.nodes] == ["Scale", "Conv2d", "Neuron"]


def test_normalized_downsampling() -> None:
    norm = BatchNorm(R.random(3) + 0.5, R.normal(size=3), R.normal(size=3), R.random(3) + 0.5, 1e-5)
    before = graph_of(
        [
            ("a", conv(4, 2), ("x",)),
            ("n", FIRE, ("a",)),
            ("b", conv(3, 4, 1, 2), ("a",)),
            ("bn", norm, ("b",)),
            ("m", FIRE, ("bn",)),
        ],
        "n",
        "m",
        x=TWO,
    )
    after = fold_scales(fuse_batchnorm(before))
    assert [type(n.op).__name__ for n in after.nodes] == ["Conv2d", "Neuron", "Conv2d", "Neuron"]
    assert_same_outputs(before, after)


def test_sums_of_spikes_or_counts_stay() -> None:
    """SEW's ADD is no current: a 1x1 convolution behind it reads numbers, and the check says so."""
    levels = Levels(thresholds_of_rounding(2, 0.5))
    for first in (FIRE, levels):
        before = graph_of(
            [
                ("a", conv(2, 2), ("x",)),
                ("n", first, ("a",)),
                ("add", Add(), ("n", "x")),
                ("b", conv(3, 2, 1), ("add",)),
                ("m", FIRE, ("b",)),
                ("c", conv(3, 2, 1), ("add",)),
                ("k", FIRE, ("c",)),
            ],
            "m",
            "k",
            x=TWO,
        )
        kept = fold_scales(before)
        assert [n.inputs for n in kept.nodes if n.name in ("b", "c")] == [("add",), ("add",)]
