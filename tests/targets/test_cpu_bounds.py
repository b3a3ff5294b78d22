"""The cpu executor where its proofs end: the last sum that 16 bits hold, and the first beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.strategies import FIXED, LEAK, Draft

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Shape
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Linear, Neuron
from purespike.targets.cpu import program
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.library import kernels
from purespike.targets.cpu.plan import Layer
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.run import run_cpu
from purespike.targets.cpu.widths import NARROW

NEVER = np.array(np.inf)


def neuron(threshold: float, **fields: Any) -> Neuron:
    return Neuron(np.array(float(threshold)), fixed=FIXED, **fields)


def dense(weight: Array, op: Neuron, steps: int = 3, bias: Array | None = None) -> Graph:
    draft = Draft((weight.shape[1],), steps)
    return draft.graph(draft.put(op, draft.put(Linear(weight, bias), "x")))


def convolved(weight: Array, op: Neuron, shape: Shape, steps: int = 3, **fields: Any) -> Graph:
    draft = Draft(shape, steps)
    return draft.graph(draft.put(op, draft.put(Conv2d(weight, None, **fields), "x")))


def agree(graph: Graph, *trains: Array) -> Layer:
    """The only layer of neurons, after all ways to run it gave what the interpreter gives."""
    x = np.stack(trains, axis=1).astype(np.uint8)
    expected = run(graph, x)
    name = graph.outputs[0]
    for lookups in (True, False):
        for kept in (False, True):
            found = run_cpu(graph, x, membranes=kept, lookups=lookups)
            np.testing.assert_array_equal(found.values[name], expected.values[name])
            if kept:
                np.testing.assert_array_equal(found.membranes[name], expected.membranes[name])
                for n, currents in found.currents.items():
                    np.testing.assert_array_equal(currents, expected.currents[n])
    (layer,) = plan(graph).neurons()
    return layer


def on(graph: Graph) -> Array:
    return np.ones((graph.steps, *graph.inputs[0].shape))


def some(graph: Graph, rate: float = 0.5) -> Array:
    return np.random.default_rng(0).random((graph.steps, *graph.inputs[0].shape)) < rate


def exact_sum(total: int, count: int, outs: int) -> Array:
    """Weights (outs, count) that sum up to ``total``, every second time to its opposite."""
    w = np.full((outs, count), float(total // count))
    w[:, 0] += total - total // count * count
    w[1::2] *= -1
    return w


@pytest.mark.parametrize("outs", [16, 40, 64])
@pytest.mark.parametrize(("total", "brief"), [(NARROW, True), (NARROW + 1, False)])
def test_currents_at_the_last_sum_of_16_bits(outs: int, total: int, brief: bool) -> None:
    for count in (16, 300):
        graph = dense(exact_sum(total, count, outs), neuron(total, decay=0.0))
        layer = agree(graph, on(graph), some(graph), 0 * on(graph))
        assert layer.brief is brief


@pytest.mark.parametrize("outs", [16, 32, 64])
def test_membranes_at_the_last_sum_of_16_bits(outs: int) -> None:
    # Fires at once or falls to -32000 in five steps; one more and 16 bits are no longer proved.
    for steps, narrow in ((5, True), (6, False)):
        weight = exact_sum(6400, 64, outs)
        for threshold in (6399, 6400, 6401, 25_600):
            graph = dense(weight, neuron(threshold), steps)
            layer = agree(graph, on(graph), some(graph))
            assert layer.narrow is (narrow and threshold + 6400 <= NARROW), str(layer)


def test_threshold_that_no_membrane_reaches() -> None:
    graph = dense(exact_sum(100, 8, 20), Neuron(NEVER, reset="none", fixed=FIXED))
    agree(graph, on(graph), some(graph))
    graph = dense(exact_sum(100, 8, 20), neuron(131_072))
    agree(graph, on(graph), some(graph))


@pytest.mark.parametrize("limit", [127, 128, 255, 8191, 10_923, 16_384, 32_767])
def test_rows_are_flushed_before_16_bits_are_full(limit: int) -> None:
    for count in (1, 2, 3, 4, 5, 9, 250, *range(256, 262), 515, 517, 777):
        if limit * count > 1 << 23:  # beyond what 32 bits are proved to hold
            continue
        weight = np.full((40, count), float(limit))
        weight[1::2] *= -1
        graph = dense(weight, neuron(limit * count), 1)
        agree(graph, on(graph), some(graph, 0.9))


def test_membranes_saturate_at_24_bits_in_both_directions() -> None:
    weight = exact_sum(100_000, 1000, 34)
    for op in (
        Neuron(NEVER, reset="none", fixed=FIXED),
        neuron(131_071),
        neuron(131_071, reset="subtract", amount=np.array(131_071.0)),
    ):
        graph = dense(weight, op, 5)
        x = on(graph)
        x[3:] = 0
        agree(graph, x, on(graph), some(graph))


@pytest.mark.parametrize("width", [8, 9, 14, 21, 22, 23])
def test_membranes_saturate_at_few_bits(width: int) -> None:
    """From 22 bits on a membrane in whole weights may need 16 bits before it saturates."""
    unit = FixedPoint(width=width)
    largest = unit.limit // 64
    for total in (largest // 3 + 1, largest + 1):
        for threshold in (1.0, float(largest), float(largest + 1)):
            for reset in ("zero", "subtract"):
                op = Neuron(np.array(threshold), reset=reset, amount=np.array(1.0), fixed=unit)
                graph = dense(exact_sum(total, 64, 34), op, 7)
                x = on(graph)
                x[5:] = 0
                agree(graph, x, on(graph), some(graph))


@pytest.mark.parametrize(
    "op",
    [
        neuron(131_071, current_decay=4095 * LEAK),
        neuron(131_071, decay=4095 * LEAK, reset="subtract", amount=np.array(131_071.0)),
        neuron(40_000, decay=LEAK, current_decay=LEAK, reset="subtract", amount=np.array(9.0)),
        Neuron(NEVER, reset="none", current_decay=4095 * LEAK, fixed=FIXED),
        Neuron(np.array(5e6)),  # without a chip's limit: the sum of all steps has to fit
        Neuron(np.array(4e6), reset="subtract", amount=np.array(3e6)),
    ],
    ids=["fading", "leaky soft", "fading leaky soft", "fading sum", "unlimited", "unlimited soft"],
)
def test_last_sum_that_32_bits_hold(op: Neuron) -> None:
    """All inputs on drive each sum to its bound, half of the neurons to the opposite one."""

    def graph(total: int, outs: int = 2) -> Graph:
        return dense(exact_sum(total, 3000, outs), op, 6)

    held, refused = 1, 95_000_000  # weights of 16 bits
    while refused - held > 1:
        middle = (held + refused) // 2
        try:
            plan(graph(middle))
            held = middle
        except CpuError as error:
            assert "32 bits" in str(error)
            refused = middle
    assert held > 100_000
    last = graph(held, 33)
    x = on(last)
    x[4:] = 0  # what has faded for two steps is rounded, too
    agree(last, x, on(last), some(last))


def test_lists_of_more_spikes_than_16_bits_number() -> None:
    rng = np.random.default_rng(0)
    graph = dense(rng.integers(-3, 4, (5, 70_001)).astype(float), neuron(40), 2)
    assert len(agree(graph, some(graph), on(graph)).arms) == 2
    weight = rng.integers(-3, 4, (33, 256, 3, 3)).astype(float)
    graph = convolved(weight, neuron(90), (256, 3, 90), 2, padding=(1, 1))
    assert len(agree(graph, some(graph, 0.1), on(graph)).arms) == 2


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [((3, 3), (1, 1), 1), ((5, 2), (2, 1), 1), ((3, 3), (1, 2), 2)],
)
def test_lists_of_a_large_image_are_made_some_rows_at_a_time(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than 2**19 entries if all fires; pixels of 24 spikes and of few."""
    monkeypatch.setattr(program, "THREAD_CYCLES", 1)
    weight = np.random.default_rng(0).integers(-3, 4, (6, 24, *kernel)).astype(float)
    graph = convolved(
        weight, neuron(20), (24, 48, 48), 8, padding=(2, 2), stride=stride, dilation=(dilation,) * 2
    )
    agree(graph, some(graph, 0.1), on(graph))
    x = np.stack([some(graph), on(graph)], axis=1)
    one, three = (run_cpu(graph, x, threads=n, lookups=False) for n in (1, 3))
    name = graph.outputs[0]
    np.testing.assert_array_equal(one.values[name], three.values[name])


def test_row_too_wide_for_any_list_is_refused() -> None:
    graph = convolved(np.ones((1, 17, 1, 1)), neuron(3), (17, 1, 9000), 1)
    with pytest.raises(CpuError, match="9000 pixels"):
        plan(graph)


@pytest.mark.parametrize("samples", [1, 2, 3, 8, 33])
def test_result_depends_on_neither_batch_nor_threads(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "THREAD_CYCLES", 1)
    rng = np.random.default_rng(1)
    weight = rng.integers(-127, 128, (48, 20, 3, 3)).astype(float)
    graph = convolved(weight, neuron(400), (20, 5, 7), 4, padding=(1, 1), stride=(2, 1))
    x = (rng.random((4, samples, 20, 5, 7)) < 0.3).astype(np.uint8)
    name = graph.outputs[0]
    one = [run_cpu(graph, x[:, k : k + 1], threads=1).values[name] for k in range(samples)]
    for threads in (1, 2, 5):
        for lookups in (None, True, False):
            found = run_cpu(graph, x, membranes=False, threads=threads, lookups=lookups)
            np.testing.assert_array_equal(found.values[name], np.concatenate(one, axis=1))


@pytest.mark.parametrize(("channels", "samples", "threads"), [(20, 1, 1), (256, 8, 3)])
def test_threads_are_started_for_work_that_keeps_them_busy(
    channels: int, samples: int, threads: int
) -> None:
    if isinstance(kernels(), str):
        pytest.skip("no compiler for this processor")
    weight = np.random.default_rng(2).integers(-127, 128, (48, channels, 3, 3)).astype(float)
    graph = convolved(weight, neuron(400), (channels, 16, 16), 4, padding=(1, 1))
    assert program.Program(plan(graph), samples, threads=3).threads == threads
