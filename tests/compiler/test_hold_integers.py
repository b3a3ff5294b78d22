"""Whole numbers beyond a chip's registers: several synapses, and neurons that always fire."""

from __future__ import annotations

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Levels, Linear, Neuron
from purespike.compiler.passes.hold_integers import hold_integers, split
from purespike.compiler.passes.quantize.exactly import is_quantized, require_held
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import QuantizeError


def wide(conv: bool, weight: float, bias: float) -> Graph:
    r = np.random.default_rng(3)
    if conv:
        layer: Conv2d | Linear = Conv2d(
            np.rint(r.uniform(-weight, weight, (3, 2, 3, 3))), np.rint(r.uniform(-bias, bias, 3)),
            (1, 1), (1, 1),
        )  # fmt: skip
        shape: tuple[int, ...] = (2, 4, 4)
    else:
        layer = Linear(
            np.rint(r.uniform(-weight, weight, (3, 8))), np.rint(r.uniform(-bias, bias, 3))
        )
        shape = (8,)
    neuron = Neuron(np.ones(()), decay=0.0)
    nodes = [("layer", layer, ("x",)), ("n", neuron, ("layer",))]
    return build((Edge("x", shape, SPIKE),), nodes, ("n",), 1)


@pytest.mark.parametrize("conv", [True, False])
@pytest.mark.parametrize(("weight", "bias"), [(900, 50), (100, 20_000), (500, 9_000)])
def test_what_is_too_wide_becomes_a_sum_of_what_is_not(
    conv: bool, weight: float, bias: float
) -> None:
    graph, grid = wide(conv, weight, bias), Grid()
    after = hold_integers(graph, grid)
    x = np.random.default_rng(1).integers(0, 2, (1, 20, *graph.inputs[0].shape)).astype(float)
    before, now = run(graph, x), run(after, x)
    assert np.array_equal(before.values["layer"], now.values["layer"])
    assert np.array_equal(before.values["n"], now.values["n"])
    for node in after.nodes:
        if isinstance(node.op, Conv2d | Linear):
            assert np.abs(node.op.weight).max() <= grid.weight_limit
            assert node.op.bias is None or np.abs(node.op.bias).max() <= grid.bias_limit
    require_held(after, grid)
    with pytest.raises(QuantizeError, match="numbers that the chip does not hold"):
        require_held(graph, grid)


def test_what_fits_stays_the_same_graph() -> None:
    graph = wide(True, 100, 50)
    assert hold_integers(graph) is graph


def test_a_split_is_exact_and_even() -> None:
    weight = np.arange(-600.0, 601.0)
    parts = split(weight, 127)
    assert len(parts) == 5 and np.array_equal(sum(parts), weight)
    assert max(np.abs(p).max() for p in parts) <= 127


def test_only_levels_with_whole_weights_are_a_quantized_network() -> None:
    def net(weight: float) -> Graph:
        levels = Levels(np.array([1.0, 2.0]))
        nodes = [("l", Linear(np.full((2, 2), weight)), ("x",)), ("a", levels, ("l",))]
        return build((Edge("x", (2,), SPIKE),), nodes, ("a",), 1)

    assert is_quantized(net(3.0))
    assert not is_quantized(net(0.5))
    assert not is_quantized(wide(True, 3, 3))
