"""A readout of any size gets a scale at which it provably never fires, and the ledger says so."""

from __future__ import annotations

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.passes.quantize.readout import readout_limit
from purespike.compiler.passes.quantize.scales import choose_scales
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.targets.lava.lower.emit import NEVER, emit
from purespike.targets.lava.lower.layout import EmitError
from purespike.targets.lava.lower.schedule import schedule

STEPS, CLASSES = 4, 3


def wide_readout(inputs: int, run: int, *, equal: bool = False) -> Graph:
    """Spikes through a layer into integrators, each weight kept for ``run`` inputs."""
    kept = np.random.default_rng(inputs).uniform(-1, 1, (CLASSES, inputs // run))
    kept[0] = np.abs(kept[0])  # a class for which everything adds up
    kept = np.ones_like(kept) if equal else kept
    layer = Linear.shared(kept, np.linspace(-1, 1, CLASSES), run)
    integrator = Neuron(np.asarray(np.inf), reset="none")
    nodes = [("fc", layer, ("x",)), ("out", integrator, ("fc",))]
    return build((Edge("x", (inputs,), SPIKE),), nodes, ("out",), STEPS)


def worst(graph: Graph) -> float:
    """The largest membrane of any input: all those of positive weight spike at every step."""
    layer = next(n.op for n in graph.nodes if isinstance(n.op, Linear))
    assert layer.bias is not None
    frames = (layer.weight[0] > 0).astype(np.float64)
    recorded = run(graph, np.broadcast_to(frames, (graph.steps, 1, frames.size)))
    return float(recorded.values["out"].max())


def test_more_inputs_than_half_a_unit_each_leaves_room_for() -> None:
    """Found on FSNN-50 at 224 x 224: it was compiled, and then Lava could not hold its readout."""
    graph, grid = wide_readout(98_000, run=49), Grid()
    after = quantize(graph, grid)
    layer = next(n.op for n in after.nodes if isinstance(n.op, Linear))
    assert 1 <= np.abs(layer.kept).max() < grid.weight_limit / 2
    assert 0.5 * NEVER < worst(after) <= NEVER  # it holds; whole weights this small are coarse
    emit(after, schedule(after), np.zeros((STEPS, 1, 98_000)))


def test_the_ledger_says_what_it_costs() -> None:
    probe = np.zeros((STEPS, 1, 98_000))
    compiled = compile_graph(wide_readout(98_000, run=49), standard_pipeline(), probe)
    (note,) = (n for n in compiled.ledger[-1].notes if n.startswith("weights of fc take"))
    assert note.endswith("with larger ones out could reach the chip's highest threshold, and fire")


def test_fewer_inputs_keep_their_bits_and_cost_no_note() -> None:
    graph, grid = wide_readout(300, run=1), Grid()
    assert readout_limit(graph, graph.nodes[1], graph.nodes, grid) > choose_scales(graph)["out"]
    compiled = compile_graph(graph, standard_pipeline(), np.zeros((STEPS, 1, 300)))
    assert not [n for n in compiled.ledger[-1].notes if n.startswith("weights of")]


@pytest.mark.parametrize("inputs", [98_000, 60_025])  # the second leaves half a unit for each
def test_a_readout_of_which_nothing_would_be_left_is_refused(inputs: int) -> None:
    """Equal weights round to 0 all at once: that network would decide by its biases alone."""
    graph = wide_readout(inputs, run=49, equal=True)
    assert readout_limit(graph, graph.nodes[1], graph.nodes, Grid()) == np.inf
    after = quantize(graph, Grid())
    with pytest.raises(EmitError, match="the readout could fire"):
        emit(after, schedule(after), np.zeros((STEPS, 1, inputs)))
