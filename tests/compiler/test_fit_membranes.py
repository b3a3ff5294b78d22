"""Scales that make the range proof hold: lowered only where needed, and what they cost is said."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.graph_cases import graph_of

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.compiler.passes.quantize.calibrate import calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import choose_scales, quantize
from purespike.compiler.pipeline import Compiled, compile_graph, standard_pipeline
from purespike.compiler.proofs.ranges import Bounds, bound_neurons

NARROW = FixedPoint(width=18)  # membranes up to 2047 weights: small layers saturate, too
X = Edge("x", (64,), SPIKE)


def network(seed: int = 0, threshold: float = 2.0) -> Graph:
    """Two layers: the first sums 64 inputs and might saturate, the second 4 and does not."""
    rng = np.random.default_rng(seed)
    return graph_of(
        [
            ("l", Linear(rng.normal(0, 1, (4, 64)), rng.normal(0, 0.1, 4)), ("x",)),
            ("n", Neuron(np.asarray(threshold)), ("l",)),
            ("m", Linear(rng.normal(0, 1, (3, 4))), ("n",)),
            ("o", Neuron(np.asarray(1.0)), ("m",)),
        ],
        x=X,
        steps=4,
    )


def bounds(graph: Graph) -> dict[str, Bounds]:
    return bound_neurons(graph, current_limit=131071.0)


def compiled(graph: Graph, calibration: Array | None = None, **options: bool) -> Compiled:
    probe = (np.random.default_rng(1).random((4, 8, 64)) < 0.3).astype(np.float64)
    grid = Grid(fixed=NARROW, **options)  # type: ignore[arg-type]
    return compile_graph(graph, standard_pipeline(grid=grid, calibration=calibration), probe)


def test_a_network_that_saturates_is_proved_with_it() -> None:
    graph = network()
    before, after = compiled(graph), compiled(graph, fit_membranes=True)
    assert bounds(before.graph)["n"].verdict == "saturates"
    assert {b.verdict for b in bounds(after.graph).values()} == {"proved"}
    old, new = before.ledger[-1], after.ledger[-1]
    assert new.scales["n"] < old.scales["n"] and new.scales["l"] == new.scales["n"]
    assert new.scales["o"] == old.scales["o"]  # only where needed
    # No lower than needed: what is left of the range is a few units of the threshold.
    low, high = bounds(after.graph)["n"].membrane
    room = NARROW.limit / 2**NARROW.fraction_bits
    assert 0.9 * room < max(-low, high) <= room
    assert before.ledger[-1].notes == ()
    (note,) = new.notes
    ratio = old.scales["n"] / new.scales["n"]
    assert note == (
        f"lowered the scale of n to 1/{ratio:.3g}, which costs {np.log2(ratio):.1f} bits of its "
        f"weights: for any input its membrane stays in [{low:.0f}, {high:.0f}]"
    )


def test_the_proof_holds_against_the_worst_input() -> None:
    graph = network()
    for fit in (False, True):
        done = quantize(graph, Grid(fixed=NARROW, fit_membranes=fit))
        weight = next(n.op.weight for n in done.nodes if isinstance(n.op, Linear))
        row = int(weight.clip(max=0).sum(axis=1).argmin())
        x = np.broadcast_to((weight[row] < 0).astype(np.float64), (4, 1, 64))
        lowest = run(done, x).membranes["n"][:, 0, row].min()
        assert bool(lowest == -NARROW.limit) == (not fit)


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "agreement"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_every_way_to_choose_scales_and_roundings(method: str, per_channel: bool) -> None:
    graph = network(3)
    x = (np.random.default_rng(2).random((4, 30, 64)) < 0.3).astype(np.float64)
    grid = Grid(fixed=NARROW, fit_membranes=True, per_channel=per_channel)
    scales = calibrate(graph, x, grid, method)  # type: ignore[arg-type]
    assert {b.verdict for b in bounds(quantize(graph, grid, scales)).values()} == {"proved"}
    done = compile_graph(graph, standard_pipeline(grid=grid, calibration=x), x)
    assert {b.verdict for b in bounds(done.graph).values()} == {"proved"}


def test_nothing_moves_where_all_is_proved() -> None:
    graph = network()
    wide = Grid(fit_membranes=True)
    assert str(quantize(graph, wide)) == str(quantize(graph))
    assert calibrate(graph, None, wide, "max") == choose_scales(graph)


def test_a_scale_that_leaves_no_threshold_stays() -> None:
    """A threshold of 0.02 of the largest weight is gone before the sum of 64 of them fits."""
    graph = network(threshold=0.05)
    before, after = compiled(graph), compiled(graph, fit_membranes=True)
    assert after.ledger[-1].scales["n"] == before.ledger[-1].scales["n"]
    assert after.ledger[-1].notes == (
        "left the scale of n, which may saturate: a smaller one leaves less than one unit of its "
        "threshold or of its weights",
    )
