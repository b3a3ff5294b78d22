"""What the passes make of unusual networks runs on the targets, every spike equal.

Batch norms in front of layers, pools behind them, scales by channel, biases rounded on data, dead
channels and twins removed, the mean of spikes as the output: each leaves a graph that Lava's terms,
ONNX and the chip's table must still hold.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.lava_reference import simulate
from helpers.strategies import Draft, spikes, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    Gate,
    Linear,
    Neuron,
    TimeMean,
)
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import QuantizeError
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.check import check as check_program
from purespike.targets.onnx import run_onnx, sequence_model
from purespike.targets.spec import LOIHI2, check

FIRE = Neuron(0.9)


def norm(r: np.random.Generator, channels: int) -> BatchNorm:
    gamma, beta, mean = (r.normal(0.8, 0.3, channels) for _ in range(3))
    return BatchNorm(gamma, beta, mean, r.uniform(0.5, 1.5, channels), 1e-5)


def unusual(*, leaky: bool, spiking_mean: bool) -> Graph:
    r = np.random.default_rng(4)
    fire = Neuron(0.9, 0.75) if leaky else FIRE
    draft = Draft((2, 6, 6), 4)
    put = draft.put

    def weights(*shape: int) -> Array:
        return r.normal(0.15, 0.4, shape)

    current = put(Conv2d(weights(4, 2, 2, 2)), put(norm(r, 2), "x"))
    pooled = put(norm(r, 4), put(AvgPool2d((2, 2), (1, 1)), current))
    first = put(fire, pooled)  # 4 x 4 x 4
    dying = weights(3, 4, 3, 3)
    dying[1] = -0.2
    second = put(fire, put(Conv2d(dying, None, (1, 1), (1, 1)), first))
    twin = put(fire, put(Conv2d(dying.copy(), None, (1, 1), (1, 1)), first))
    both = [put(Conv2d(weights(4, 3, 1, 1), weights(4)), n) for n in (second, twin)]
    third = put(fire, put(norm(r, 4), put(Add(), *both, first)))
    gated = put(Gate("xor"), third, first)
    if spiking_mean:
        last = put(FIRE, put(Linear(weights(5, 64), weights(5)), put(Flatten(), gated)))
        return draft.graph(put(TimeMean(4), last))
    head = put(AvgPool2d((4, 4), (1, 1)), put(Conv2d(weights(5, 4, 1, 1), weights(5)), gated))
    return draft.graph(put(TimeMean(4), put(Flatten(), head)))


def assert_holds_on_targets(graph: Graph, x: Array) -> None:
    broken = [f for f in check(graph, LOIHI2) if f.status != "PASS"]
    assert not broken, broken
    wanted = run(graph, x)
    plan = schedule(graph)
    program = emit(graph, plan, x)
    check_program(program)
    spiked, membranes = simulate(program)
    names = {n.name for n in graph.nodes if isinstance(n.op, Neuron)}
    assert names == {*program.record, *program.record_v}
    for name in names:
        fires = name in program.record
        found = (spiked if fires else membranes)[name]
        values = (wanted.values if fires else wanted.membranes)[name]
        layer = from_lava(found, graph.steps, x.shape[1], plan.depth[name])
        np.testing.assert_array_equal(layer, values, err_msg=name)
    (out,) = graph.outputs
    result = run_onnx(sequence_model(graph), graph, x)
    np.testing.assert_array_equal(result.values[out], wanted.values[out])


@pytest.mark.parametrize(
    ("leaky", "spiking_mean", "per_channel"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, False)],
)
def test_an_unusual_network(leaky: bool, spiking_mean: bool, per_channel: bool) -> None:
    graph = unusual(leaky=leaky, spiking_mean=spiking_mean)
    passes = standard_pipeline(
        grid=Grid(8, per_channel=per_channel), calibration=spikes(graph, 24, 1)
    )
    done = compile_graph(graph, passes, spikes(graph, 6, 2))
    notes = [note for line in done.ledger for note in line.notes]
    assert any(n.startswith("merged") for n in notes), notes
    assert any(n.startswith("removed 1 of 3 channels") for n in notes), notes
    assert done.ledger[-1].agreement > 0.97
    assert_holds_on_targets(done.graph, spikes(graph, 3, 3))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.booleans(), st.integers(0, 2**16))
def test_random_networks(graph: Graph, per_channel: bool, seed: int) -> None:
    passes = standard_pipeline(
        grid=Grid(6, per_channel=per_channel), calibration=spikes(graph, 4, seed)
    )
    try:
        done = compile_graph(graph, passes, spikes(graph, 3, seed + 1)).graph
    except QuantizeError:
        return  # an average that cannot be folded
    if any(isinstance(n.op, Neuron) and n.op.initial for n in done.nodes):
        return  # a chip starts each sample at zero
    assert_holds_on_targets(done, spikes(done, 2, seed + 2))
