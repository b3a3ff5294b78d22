"""Calibration and joint rounding of the levels of a count, whose neurons read one current."""

from __future__ import annotations

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Levels, Linear, Neuron
from purespike.compiler.ir.ops.levels import thresholds_of_rounding
from purespike.compiler.passes.fold_constants import fold_constants
from purespike.compiler.passes.quantize.calibrate import calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import choose_scales, quantize
from purespike.compiler.passes.quantize.rounding import choose_rounding
from purespike.compiler.passes.unroll_levels.unroll_levels import unroll_levels
from purespike.targets.nir.emit import to_document

RNG = np.random.default_rng(5)
NEURONS = ("n1.level1", "n1.level2", "n1.level3")


def network() -> Graph:
    first = RNG.normal(0, 0.3, (6, 3, 3, 3))
    first[0, 0, 0, 0] = 6.0  # one weight costs all others their resolution
    return unroll_levels(
        build(
            (Edge("x", (3, 5, 5), SPIKE),),
            [
                ("c1", Conv2d(first, RNG.normal(0, 0.2, 6), padding=(1, 1)), ("x",)),
                ("n1", Levels(thresholds_of_rounding(3, 0.5)), ("c1",)),
                ("f", Flatten(), ("n1",)),
                ("c2", Linear(RNG.normal(0, 0.1, (4, 150)), RNG.normal(0, 1, 4)), ("f",)),
                ("out", Neuron(np.asarray(np.inf), reset="none"), ("c2",)),
            ],
            ("out",),
            steps=1,
        )
    )


def spikes(samples: int) -> Array:
    return (RNG.random((1, samples, 3, 5, 5)) < 0.3).astype(np.float64)


def agreement(graph: Graph, done: Graph, x: Array) -> float:
    a, b = run(graph, x).values, run(done, x).values
    return float(np.mean([(a[name] == b[name]).mean() for name in NEURONS]))


def test_agreement_chooses_one_scale_for_all_levels() -> None:
    graph, grid = network(), Grid(4)
    safe, chosen = choose_scales(graph, grid), calibrate(graph, spikes(64), grid)
    assert chosen["c1"] == chosen[NEURONS[0]] == chosen[NEURONS[2]] > 1.5 * safe["c1"]
    fresh = spikes(200)
    better = agreement(graph, quantize(graph, grid, chosen), fresh)
    assert better > agreement(graph, quantize(graph, grid, safe), fresh) + 0.02


def test_rounding_moves_biases_and_all_thresholds_of_a_count_together() -> None:
    graph, grid, x = network(), Grid(4), spikes(64)
    scales = choose_scales(graph, grid)
    rounded = choose_rounding(graph, x, grid, scales)
    plain, joint = quantize(graph, grid, scales), quantize(graph, grid, scales, rounded)
    assert "c1" in rounded
    by = {
        float((joint.producer(n).op.threshold - plain.producer(n).op.threshold).max())  # type: ignore[union-attr]
        for n in NEURONS
    }
    assert len(by) == 1
    fresh = spikes(200)
    assert agreement(graph, joint, fresh) > agreement(graph, plain, fresh)


def test_what_only_a_layer_without_weights_heard_goes_with_it() -> None:
    """A block that starts as an identity; NIR would make an output of what nothing reads."""
    conv = Conv2d(RNG.normal(size=(3, 3, 1, 1)))
    graph = build(
        (Edge("x", (3, 5, 5), SPIKE),),
        [
            ("stem", conv, ("x",)),
            ("n1", Neuron(np.asarray(0.5)), ("stem",)),
            ("c1", conv, ("n1",)),
            ("n2", Neuron(np.asarray(0.5)), ("c1",)),
            ("c2", Conv2d(np.zeros((3, 3, 1, 1))), ("n2",)),
            ("skip", conv, ("n1",)),
            ("sum", Add(), ("c2", "skip")),
            ("n3", Neuron(np.asarray(0.5)), ("sum",)),
        ],
        ("n3",),
        steps=2,
    )
    after = fold_constants(graph)
    assert [n.name for n in after.nodes] == ["stem", "n1", "skip", "n3"]
    x = (RNG.random((2, 4, 3, 5, 5)) < 0.5).astype(float)
    assert np.array_equal(run(graph, x).values["n3"], run(after, x).values["n3"])
    to_document(quantize(after, Grid(), choose_scales(after, Grid())))
