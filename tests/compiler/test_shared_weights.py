"""Weights that inputs share: kept once, and in every other way what the full array is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.graph_cases import assert_same_outputs, graph_of

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, IRError, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    AvgPool2d,
    Conv2d,
    FixedPoint,
    Flatten,
    Linear,
    Neuron,
    TimeMean,
)
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.passes.quantize.scales import choose_scales
from purespike.targets.nir.emit import to_bytes, write_nir
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

RNG = np.random.default_rng(0)
KEPT = RNG.standard_normal((5, 3))
X = Edge("x", (3, 4, 4), SPIKE)


def pooled(kernel: tuple[int, int] = (4, 4)) -> Graph:
    """A classifier behind a pool, in the order in which models have it."""
    places = (4 // kernel[0]) * (4 // kernel[1])
    return graph_of(
        [
            ("c", Conv2d(RNG.standard_normal((3, 3, 1, 1))), ("x",)),
            ("n", Neuron(np.asarray(0.4)), ("c",)),
            ("pool", AvgPool2d(kernel, kernel), ("n",)),
            ("flat", Flatten(), ("pool",)),
            ("mean", TimeMean(3), ("flat",)),
            ("fc", Linear(RNG.standard_normal((5, 3 * places)), RNG.standard_normal(5)), ("mean",)),
        ],
        x=X,
    )


def layer(graph: Graph) -> Linear:
    (op,) = [n.op for n in graph.nodes if isinstance(n.op, Linear)]
    return op


def expanded(graph: Graph) -> Graph:
    """The same graph with every weight in an array of its own."""
    return graph.rebuilt(
        replace(n, op=Linear(np.array(n.op.weight), n.op.bias)) if isinstance(n.op, Linear) else n
        for n in graph.nodes
    )


def test_the_weight_is_the_repeated_one() -> None:
    op = Linear.shared(KEPT, None, 16)
    assert op.kept.shape == (5, 3) and op.run == 16 and op.shape == (5, 48)
    np.testing.assert_array_equal(op.weight, np.repeat(KEPT, 16, axis=1))
    assert op.details() == "5x48" and not op.kept.flags.writeable
    for plain in (Linear(KEPT), Linear.shared(KEPT, None, 1)):
        assert plain.run == 1 and (plain.weight == KEPT).all()


def test_it_computes_what_the_repeated_one_computes() -> None:
    whole: Array = np.rint(KEPT * 50)
    bias: Array = np.arange(5, dtype=np.float64)
    x: Array = (RNG.random((7, 48)) < 0.5).astype(np.float64)
    _, y = Linear.shared(whole, bias, 16).step(None, x)
    np.testing.assert_array_equal(y, x @ np.repeat(whole, 16, axis=1).T + bias)


def test_shape_and_domain() -> None:
    edge = Edge("x", (48,), SPIKE)
    whole = np.rint(KEPT * 50)
    assert Linear.shared(whole, None, 16).infer(edge) == Linear(np.repeat(whole, 16, 1)).infer(edge)
    with pytest.raises(IRError, match="does not fit its input") as e:
        Linear.shared(whole, None, 16).infer(Edge("x", (47,), SPIKE))
    assert "weight (5, 48)" in str(e.value)


def test_rows_are_changed_without_making_the_weight() -> None:
    op = reweighted(Linear.shared(KEPT, None, 16), lambda w: w * 2, np.ones(5))
    assert isinstance(op, Linear) and op.run == 16 and op.bias is not None
    np.testing.assert_array_equal(op.kept, KEPT * 2)
    # `replace` sees the field as it is declared, and makes the full array: equal, only larger.
    full = replace(op, bias=None)
    assert full.run == 1 and full.bias is None
    np.testing.assert_array_equal(full.weight, op.weight)


def test_a_global_pool_is_kept_through_all_passes() -> None:
    before = pooled()
    after = fold_scales(before)
    assert layer(after).run == 16 and layer(after).shape == (5, 48)
    assert_same_outputs(before, after, 1e-12)
    done = quantize(after)
    assert layer(done).run == 16
    # The same network with full arrays: same scales, same integers, same membranes.
    full = expanded(after)
    assert layer(full).run == 1 and choose_scales(full) == choose_scales(after)
    np.testing.assert_array_equal(layer(quantize(full)).weight, layer(done).weight)
    x = (RNG.random((3, 4, *X.shape)) < 0.5).astype(np.float64)
    a, b = run(done, x), run(quantize(full), x)
    for name, values in a.values.items():
        np.testing.assert_array_equal(values, b.values[name])
    assert str(done) == str(quantize(full))


def test_a_pool_of_windows_has_full_arrays() -> None:
    before = pooled((2, 2))
    after = fold_scales(before)
    assert layer(after).run == 1
    assert_same_outputs(before, after, 1e-12)


def test_a_file_that_wrote_it_out_is_read_back_with_each_weight_once(tmp_path: Path) -> None:
    whole = np.random.default_rng(3).integers(-9, 10, (5, 4)).astype(float)
    one = np.arange(20.0).reshape(5, 4)
    neuron = Neuron(np.array(9.0), fixed=FixedPoint())
    for op, shared in (
        (Linear.shared(whole, np.ones(5), 6), 6),
        (Linear.shared(whole, None, 6), 6),
        (Linear(one), 1),
        (Linear(np.repeat(one[:, :1], 4, axis=1)), 4),
    ):
        nodes = [("l", op, ("x",)), ("n", neuron, ("l",))]
        graph = build((Edge("x", (op.shape[1],), SPIKE),), nodes, ("n",), 3)
        write_nir(graph, tmp_path / "model.nir")
        back = read_nir(tmp_path / "model.nir")
        found = back.nodes[0].op
        assert isinstance(found, Linear) and found.run == shared
        np.testing.assert_array_equal(found.weight, op.weight)
        assert back.nodes[0].output == graph.nodes[0].output
        assert to_bytes(back) == (tmp_path / "model.nir").read_bytes()
