"""Networks in real numbers on the kernel: every value that of the interpreter, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_graphs

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import lean
from purespike.compiler.ir.ops import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.neuron import FixedPoint
from purespike.compiler.passes.quantize.replay_layers import fire
from purespike.targets.real import run as real
from purespike.targets.real.fire import fire_real
from purespike.targets.real.run import kernel, run_real
from purespike.targets.real.sums import is_exact, sum_at

pytestmark = pytest.mark.skipif(isinstance(kernel(), str), reason="no kernel library")


def layers(*ops: Op, shape: tuple[int, ...], steps: int) -> Graph:
    names = ["x", *(f"n{k}" for k in range(len(ops)))]
    nodes = [(names[k + 1], op, (names[k],)) for k, op in enumerate(ops)]
    return build((Edge("x", shape, SPIKE),), nodes, (names[-1],), steps)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the kernel vouches for each layer that it runs."""
    seen: list[bool] = []
    run = real._run

    def noting(*arguments: Any) -> Any:
        made = run(*arguments)
        seen.append(made is not None)
        return made

    monkeypatch.setattr(real, "_run", noting)
    return seen


def assert_equal(graph: Graph, x: Any) -> bool:
    names = {n.name for n in graph.nodes if isinstance(n.op, Neuron)} | {*graph.outputs}
    found, expected = run_real(graph, x, names), lean(graph, x, names)
    if found is None:
        return False
    for name in names:
        theirs = expected.values[name]
        assert found.values[name].astype(theirs.dtype).tobytes() == theirs.tobytes(), name
    return True


@pytest.mark.parametrize("chunk", range(4))
def test_every_stage_of_random_networks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, ran = watched(monkeypatch), 0
    for seed in range(10 * chunk, 10 * chunk + 10):
        sample = random_graphs.captured(seed)
        try:
            graphs = list(random_graphs.compiled(sample).stages.values())
        except PurespikeError:
            graphs = [sample.graph]
        ran += sum(assert_equal(graph, sample.x) for graph in graphs)
    assert ran >= 10 and sum(seen) >= 20


def test_a_decision_that_the_order_of_a_sum_decides_is_the_interpreters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """0.1 + 0.2 + 0.3 is 0.6 or the number above, by the order: the kernel must not decide."""
    seen = watched(monkeypatch)
    w = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.3, 0.1]])
    for threshold in (0.6, np.nextafter(0.6, 1)):
        graph = layers(Linear(w), Neuron(np.array(threshold)), shape=(3,), steps=1)
        assert assert_equal(graph, np.ones((1, 2, 3)))
    assert seen == [False, False]


def test_sums_that_are_never_rounded_may_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    w = np.random.default_rng(0).integers(-8, 9, (6, 40)) / 16
    for reset in ("zero", "subtract"):
        op = Neuron(np.array(0.5), reset=reset)  # type: ignore[arg-type]
        graph = layers(Linear(w, np.full(6, 0.25)), op, shape=(40,), steps=9)
        current = sum_at(graph, "n0", {"x"})
        assert current is not None and is_exact(current, op, 9)
        assert not is_exact(current, Neuron(np.array(0.5), 0.9), 9)
        x = np.random.default_rng(1).random((9, 5, 40)) < 0.5
        assert assert_equal(graph, x.astype(float))
    assert seen == [True, True]


@pytest.mark.parametrize("seed", range(6))
def test_convolutions_of_every_geometry(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, r = watched(monkeypatch), np.random.default_rng(seed)
    groups = (1, 2, 4)[seed % 3]
    kernel_size = (int(r.integers(1, 4)), int(r.integers(1, 4)))
    weight, bias = r.normal(size=(8, 4 // groups, *kernel_size)), r.normal(size=8)
    stride, padding, dilation = (1 + seed % 2, 1 + seed // 3), (seed % 3, 1), (1, 1 + seed % 2)
    conv = Conv2d(weight, bias, stride, padding, dilation, groups)
    norm = BatchNorm(r.normal(size=8), r.normal(size=8), r.normal(size=8), r.random(8) + 0.1, 1e-5)
    gain = Scale(np.exp(r.normal(size=(8, 1, 1))))
    neuron = Neuron(r.random((8, 1, 1)) + 0.5, 0.75 if seed % 2 else 1.0,
                    "zero" if seed < 3 else "subtract", initial=0.125)  # fmt: skip
    graph = layers(conv, norm, gain, neuron, shape=(4, 7, 8), steps=12)
    assert assert_equal(graph, (r.random((12, 3, 4, 7, 8)) < 0.4).astype(np.uint8))
    assert seen == [True]


@pytest.mark.parametrize("seed", range(9))
def test_layers_behind_windows_that_are_added_up(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, r = watched(monkeypatch), np.random.default_rng(seed)
    window = (int(r.integers(1, 4)), int(r.integers(1, 3)))
    kinds: tuple[Op, ...] = (
        AvgPool2d(window, window),
        Conv2d(np.ones((4, 1, *window)), None, window, groups=4),
        Conv2d(r.normal(size=(4, 1, *window)), None, window, groups=4),
    )
    height, width = int(r.integers(3, 5)), int(r.integers(3, 5))
    shape, groups = (4, height * window[0], width * window[1]), (1, 2)[seed % 2]
    conv = Conv2d(r.normal(size=(6, 4 // groups, 2, 3)), r.normal(size=6), (1, 2), (1, 2),
                  groups=groups)  # fmt: skip
    linear = Linear(r.normal(size=(5, 4 * height * width)), r.normal(size=5))
    neuron = Neuron(r.random((6, 1, 1)) + 0.5, 0.9 if seed % 4 else 1.0, "subtract")
    x = (r.random((7, 3, *shape)) < 0.4).astype(np.uint8)
    for ops in ((conv, neuron), (Flatten(), linear, Neuron(np.array(1.0)))):
        assert assert_equal(layers(kinds[seed % 3], *ops, shape=shape, steps=7), x)
    assert seen == [True, True]


def test_quarters_are_never_rounded() -> None:
    """An average of 2 x 2 spikes keeps a network exact; of 3 x 3 spikes it does not."""
    for size, exact in ((2, True), (3, False)):
        pool = AvgPool2d((size, size), (size, size))
        conv, op = Conv2d(np.full((1, 1, 1, 1), 0.5)), Neuron(np.array(0.5))
        graph = layers(pool, conv, op, shape=(1, 6, 6), steps=4)
        current = sum_at(graph, "n1", {"x"})
        assert current is not None and is_exact(current, op, 4) == exact
        assert assert_equal(graph, np.ones((4, 1, 1, 6, 6), np.uint8))


@pytest.mark.parametrize(
    "pool",
    [
        AvgPool2d((2, 2), (1, 1)),
        AvgPool2d((2, 2), (2, 2), (1, 1)),
        AvgPool2d((3, 3), (3, 3)),
        Conv2d(np.ones((2, 1, 2, 2)), np.ones(2), (2, 2), groups=2),
        Conv2d(np.ones((2, 1, 2, 2)), None, (2, 2), dilation=(2, 2), groups=2),
        Conv2d(np.ones((2, 2, 2, 2)), None, (2, 2)),
    ],
)
def test_other_windows_are_the_interpreters(pool: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, r = watched(monkeypatch), np.random.default_rng(0)
    graph = layers(pool, Conv2d(r.normal(size=(3, 2, 2, 2))), Neuron(np.array(0.7)),
                   shape=(2, 8, 8), steps=5)  # fmt: skip
    assert sum_at(graph, "n1", {"x"}) is None
    assert assert_equal(graph, (r.random((5, 2, 2, 8, 8)) < 0.3).astype(np.uint8))
    assert seen == []


def test_gates_and_largest_values_of_spikes_take_all_steps_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, r = watched(monkeypatch), np.random.default_rng(1)
    conv, neuron = Conv2d(r.normal(size=(2, 2, 3, 3)), padding=(1, 1)), Neuron(np.array(0.7))
    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("c", conv, ("x",)), ("n", neuron, ("c",)), ("g", Gate("iand"), ("n", "x")),
        ("p", MaxPool2d((2, 2), (2, 2), (1, 1)), ("g",)), ("d", conv, ("p",)),
        ("m", neuron, ("d",)),
    ]  # fmt: skip
    graph = build((Edge("x", (2, 6, 6), SPIKE),), nodes, ("m", "p"), 5)
    assert assert_equal(graph, (r.random((5, 3, 2, 6, 6)) < 0.4).astype(np.uint8))
    assert seen == [True, True]


def test_what_it_does_not_run_is_said_and_left_to_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample = random_graphs.integer(3)
    assert run_real(sample.graph, sample.x, set(sample.graph.outputs)) is None
    graph = layers(Linear(np.ones((2, 3))), Neuron(np.array(1.0)), shape=(3,), steps=2)
    assert run_real(graph, np.full((2, 1, 3), 0.5), {"n1"}) is None
    assert run_real(graph, np.ones((3, 1, 3)), {"n1"}) is None
    monkeypatch.setenv("PURESPIKE_KERNEL", "off")
    assert run_real(graph, np.ones((2, 1, 3)), {"n1"}) is None


def test_what_is_remembered_is_what_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, memory = watched(monkeypatch), real.Memory()
    r = np.random.default_rng(0)
    first, second = (Linear(r.normal(size=(5, 5))) for _ in range(2))
    neuron = Neuron(np.array(0.7))
    x, other = ((r.random((6, 2, 5)) < p).astype(float) for p in (0.4, 0.6))

    def run_and_check(graph: Graph, x: Any) -> int:
        before = len(seen)
        names = {n.name for n in graph.nodes}
        found, expected = run_real(graph, x, names, memory), lean(graph, x, names)
        assert found is not None
        for name in names:
            np.testing.assert_array_equal(found.values[name], expected.values[name])
        return len(seen) - before

    deep = layers(first, neuron, second, neuron, shape=(5,), steps=6)
    assert run_and_check(deep, x) == 2
    assert run_and_check(deep, x.copy()) == 0  # the same content
    assert run_and_check(deep, other) == 2
    changed = layers(first, neuron, Linear(second.weight * 2), neuron, shape=(5,), steps=6)
    assert run_and_check(changed, x) == 1  # the first layer is as it was
    swapped = layers(second, neuron, first, neuron, shape=(5,), steps=6)
    assert run_and_check(swapped, x) == 2
    short = layers(first, neuron, second, neuron, shape=(5,), steps=3)
    assert run_and_check(short, x[:3]) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from purespike.targets.real import memory as module

    monkeypatch.setattr(module, "LARGEST", 100)
    kept = real.Memory()
    for k in range(9):
        kept.put(k, np.zeros(30, np.uint8))
        kept.get(0)
    assert [kept.get(k) is not None for k in range(9)] == [True, *[False] * 6, True, True]
    kept.put(10, np.zeros(101, np.uint8))
    assert kept.get(10) is None


@pytest.mark.parametrize("chunk", range(4))
def test_neurons_on_a_given_current_fire_as_the_interpreters(chunk: int) -> None:
    """Real ones and those of the chip, also where membranes saturate; what has no kernel, too."""
    spikes = 0
    for seed in range(40 * chunk, 40 * chunk + 40):
        r = np.random.default_rng(seed)
        shape = [(5,), (3, 4, 5), (7, 1, 3)][seed % 3]
        fixed = FixedPoint() if seed % 2 else None
        each = r.integers(1, 9, (shape[0], *(1,) * (len(shape) - 1))) / (1.0 if fixed else 4.0)
        decay = [1.0, 0.0, 0.75, 3000 / 4096][seed // 2 % 4]
        op = Neuron(each if seed % 5 else np.array(3.0), decay,
                    ("zero", "subtract", "none")[seed // 8 % 3], initial=float(seed % 3),
                    current_decay=0.5 if seed % 13 == 0 else 0.0, fixed=fixed)  # fmt: skip
        size = (6, 4, *shape)
        scale = 100_000 if seed % 7 == 0 else 1
        current = (
            r.normal(size=size) * 3 if fixed is None else r.integers(-20, 20, size) * float(scale)
        )
        shift = None if seed % 4 == 0 else r.integers(-3, 4, shape[0]).astype(float)
        if seed % 11 == 0:
            current = np.asfortranarray(current)
        expected, found = fire(op, current, shift), fire_real(op, current, shift)
        np.testing.assert_array_equal(found, expected)
        spikes += int((expected == 1).sum())
    assert spikes > 1000
