"""Counts as spikes: equal bit for bit where sums are exact, against frameworks and the graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.graph_cases import assert_printed, graph_of
from helpers.random_graphs import QUICK, captured, compiled, executor_alarms, pass_alarms
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

from purespike.compiler.ir.domain import ANALOG, SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.ops.levels import thresholds_of_rounding
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.split_host import chip_part, split_host
from purespike.compiler.passes.unroll_levels.trains import LevelsError
from purespike.compiler.passes.unroll_levels.unroll_levels import (
    unroll_levels,
    unroll_network,
    unrolled,
)
from purespike.compiler.pipeline import compile_graph, standard_pipeline

STEPS, NEURONS = 50, 2000
FOUR = thresholds_of_rounding(4)
BITS = Conv2d(2.0 ** np.arange(7).reshape(1, 7, 1, 1) / 16, np.array([-2.5]))


def bits(seed: int = 0, steps: int = STEPS, size: int = NEURONS) -> Array:
    """Spikes (T, 1, 7, 1, n) that `BITS` makes currents of: sixteenths, often a tie."""
    k = np.random.default_rng(seed).integers(0, 120, (steps, 1, 1, 1, size))
    return ((k >> np.arange(7).reshape(1, 1, 7, 1, 1)) & 1).astype(np.float64)


def currents(x: Array) -> Array:
    """What `BITS` makes of them (T, 1, 1, 1, n): -2.5 to 4.9."""
    return np.einsum("tbkhw,ik->tbihw", x, BITS.weight[:, :, 0, 0]) - 2.5


def alone(*nodes: tuple[str, Op, tuple[str, ...]], steps: int = STEPS, n: int = NEURONS) -> Graph:
    """A graph on a current %u; the last node is its output."""
    head: list[tuple[str, Op, tuple[str, ...]]] = [("u", BITS, ("x",))]
    return build((Edge("x", (7, 1, n), SPIKE),), [*head, *nodes], (nodes[-1][0],), steps)


def spikes_of(graph: Graph, x: Array) -> tuple[Graph, Array]:
    """The unrolled graph and its output; nothing in it sends more than spikes."""
    after = unroll_levels(graph)
    verify(after)
    firing = [n for n in after.nodes if isinstance(n.op, Neuron) and n.op.fires]
    assert firing and not any(isinstance(n.op, Levels) for n in after.nodes)
    return after, np.asarray(run(after, x).values[after.outputs[0]])


def assert_equal(graph: Graph, seed: int = 0) -> Graph:
    """The unrolled graph, after its output was found equal."""
    shape = (graph.steps, 3, *graph.inputs[0].shape)
    rng = np.random.default_rng(seed)
    x = (rng.random(shape) < 0.5).astype(np.float64)
    verify(graph)
    after, found = spikes_of(graph, x)
    expected = run(graph, x).values[graph.outputs[0]]
    assert np.array_equal(found, expected) and len(np.unique(expected)) > 1
    return after


@pytest.mark.parametrize(("most", "tau", "v"), [(4, 4 / 3, 1.0), (1, 2.0, 1.0), (7, 2.0, 0.5)])
def test_ilif_as_spikes_is_spikingjellys(most: int, tau: float, v: float) -> None:
    x = bits()
    u = currents(x)
    ties = int(((u * 2 / v) % 2 == 1).sum())
    theirs = neuron.ILIFNode(tau, v, surrogate.MultiLevelSpikeCount(most), step_mode="m")
    op = Levels(thresholds_of_rounding(most, v), 1 - 1 / tau, np.array(v))
    _, counts = spikes_of(alone(("s", op, ("u",))), x)
    assert ties > 3000 and np.array_equal(counts, theirs(torch.tensor(u)).numpy())


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.75])
def test_ternary_spikes_are_spikingjellys(decay: float) -> None:
    x = bits(1)
    if decay == 1:
        theirs: nn.Module = neuron.TernaryIFNode(1.0, None, step_mode="m")
    else:
        theirs = neuron.TernaryLIFNode(1 / (1 - decay), False, 1.0, None, step_mode="m")
    op = Levels(np.ones(1), decay, below=np.ones(1))
    _, counts = spikes_of(alone(("s", op, ("u",))), x)
    assert np.array_equal(counts, theirs(torch.tensor(currents(x))).numpy())
    assert set(np.unique(counts)) == {-1, 0, 1}


def test_all_copies_keep_one_membrane() -> None:
    """Whatever is rounded: they see one current and are never reset."""
    after, _ = spikes_of(alone(("s", Levels(FOUR, 0.3, np.array(0.7)), ("u",))), bits(3))
    membranes = run(after, bits(3)).membranes
    assert all(np.array_equal(membranes[f"s.level{d}"], membranes["s.level1"]) for d in (2, 3, 4))


def test_the_graph_of_a_layer_with_memory() -> None:
    graph = graph_of(
        [
            ("c", Linear(np.ones((2, 3)), np.ones(2)), ("x",)),
            ("s", Levels(np.array([2.0, 4.0]), 0.5, np.array(2.0)), ("c",)),
            ("y", Linear(np.ones((1, 2)), np.ones(1)), ("s",)),
            ("out", Neuron(np.array(3.0)), ("y",)),
        ],
        x=Edge("x", (3,), SPIKE),
    )
    assert_printed(
        assert_equal(graph),
        """
        %x: 3 spike = input
        %c: 2 int[1, 4] = Linear(%x, 2x3)
        %s.late1: 2 spike = Delay(%s.level1, 1 step)
        %s.arriving.reset1: 2 int[-1, 0] = Scale(%s.late1, x -1)
        %s.late2: 2 spike = Delay(%s.level2, 1 step)
        %s.arriving.reset2: 2 int[-1, 0] = Scale(%s.late2, x -1)
        %s.arriving: 2 int[-1, 4] = Add(%c, %s.arriving.reset1, %s.arriving.reset2)
        %s.level1: 2 spike = Neuron(%s.arriving, threshold 2, decay 0.5, never reset)
        %s.level2: 2 spike = Neuron(%s.arriving, threshold 4, decay 0.5, never reset)
        %y.level1: 1 int[1, 3] = Linear(%s.level1, 1x2)
        %y.level2: 1 int[0, 2] = Linear(%s.level2, 1x2)
        %y: 1 int[1, 5] = Add(%y.level1, %y.level2)
        %out: 1 spike = Neuron(%y, threshold 3, decay 1, reset zero)
        } -> %out
        """,
    )


def test_with_one_step_there_is_no_membrane() -> None:
    after = assert_equal(alone(("s", Levels(FOUR, 0.25), ("u",)), steps=1, n=50))
    ops = [n.op for n in after.nodes if isinstance(n.op, Neuron) and n.op.fires]
    assert [op.decay for op in ops] == [0] * 4
    assert not any(isinstance(n.op, Delay) for n in after.nodes)


def test_one_level_is_the_neuron_itself() -> None:
    graph = alone(("s", Levels(np.array([0.5])), ("u",)), n=20)
    after = assert_equal(graph)
    assert [n.name for n in after.nodes] == ["u", "s"]


def test_copies_share_their_weights() -> None:
    weight = np.random.default_rng(0).integers(-9, 9, (5, 20)).astype(float)
    graph = alone(
        ("s", Levels(FOUR, below=np.array([1.0])), ("u",)),
        ("f", Flatten(), ("s",)),
        ("y", Linear(weight, np.ones(5)), ("f",)),
        n=20,
    )
    after = assert_equal(graph)
    copies = [n.op for n in after.nodes if isinstance(n.op, Linear)]
    assert len(copies) == 5 and [c.bias is None for c in copies] == [False] + [True] * 4
    assert all(c.kept is copies[0].kept for c in copies[:4])
    assert np.array_equal(copies[4].kept, -copies[0].kept)  # of the level below zero
    mean = replace(graph, outputs=("m",)).rebuilt(
        [*graph.nodes, Node(TimeMean(graph.steps), ("y",), Edge("m", (), SPIKE))]
    )
    chip = compile_graph(mean, standard_pipeline(), bits(size=20)).graph
    copies = [n.op for n in chip.nodes if isinstance(n.op, Linear)]
    assert len(copies) == 5 and all(c.kept is copies[0].kept for c in copies[:4])


LEVELS: tuple[str, Op, tuple[str, ...]] = ("s", Levels(FOUR), ("u",))
SIX = Levels(np.arange(1.0, 7) / 2, below=np.array([1.0]))


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([("a", SIX, ("u",)), ("j", Add(), ("s", "a"))], id="a sum of 4 and 6 + 1"),
        pytest.param([("j", Add(), ("s", "u"))], id="added to a current"),
        pytest.param([("j", Add(), ("s", "s"))], id="twice"),
        pytest.param([("d", Delay(2), ("s",)), ("j", Add(), ("s", "d"))], id="late"),
        pytest.param([("j", Scale(np.array(0.5)), ("s",))], id="a scale"),
        pytest.param(
            [("a", SIX, ("u",)), ("k", Scale(np.array(-2.0)), ("a",)), ("j", Add(), ("s", "k"))],
            id="sums of scales",
        ),
        pytest.param([("j", AvgPool2d((1, 2), (1, 2)), ("s",))], id="an average"),
        pytest.param([("j", MaxPool2d((1, 3), (1, 2), (0, 1)), ("s",))], id="a maximum"),
        pytest.param([("j", Levels(np.array([2.0, 3.0])), ("s",))], id="levels of levels"),
        pytest.param(
            [("a", Levels(np.array([0.5])), ("u",)), ("j", Add(), ("a", "a"))], id="two of one"
        ),
        pytest.param([("j", Neuron(np.array(5.0), 0.5, "subtract"), ("s",))], id="a neuron"),
    ],
)
def test_what_reads_counts(nodes: list[tuple[str, Op, tuple[str, ...]]]) -> None:
    """Each in front of a layer, a neuron, an activation and the output."""
    graph = alone(LEVELS, *nodes, n=12, steps=5)
    assert_equal(graph)
    width = graph.edge("j").shape[2]
    weight = np.random.default_rng(0).integers(-5, 9, (1, 1, 1, 3)).astype(float)
    if graph.edge("j").domain <= Domain(0, 1, 1) or "u" not in graph.producer("j").inputs:  # type: ignore[union-attr]
        conv = ("c", Conv2d(weight, np.ones(1), padding=(0, 1)), ("j",))
        assert_equal(alone(LEVELS, *nodes, conv, n=12, steps=5))
        flat = [("f", Flatten(), ("j",)), ("l", Linear(np.ones((2, width)), None), ("f",))]
        assert_equal(alone(LEVELS, *nodes, *flat, n=12, steps=5))  # type: ignore[arg-type]
    assert_equal(alone(LEVELS, *nodes, ("n", Neuron(np.array(2.0)), ("j",)), n=12, steps=5))
    assert_equal(alone(LEVELS, *nodes, ("m", SIX, ("j",)), n=12, steps=5))


def test_a_loop_of_counts() -> None:
    shape = (1, 1, 9)
    graph = build(
        (Edge("x", (7, 1, 9), SPIKE),),
        [
            ("u", BITS, ("x",)),
            ("late", Delay(1), ("s",)),
            ("back", Scale(np.array(-0.5)), ("late",)),
            ("v", Add(), ("u", "back")),
            ("s", Levels(FOUR, 0.5), ("v",)),
        ],
        ("s",),
        6,
        loops=[Edge("s", shape, Domain(0, 4, 1)), Edge("late", shape, Domain(0, 4, 1))],
    )
    assert_equal(graph)


@pytest.mark.parametrize("levels", [Levels(FOUR), Levels(np.arange(1.0, 4), below=np.array([2.0]))])
def test_an_encoder_on_the_host_sends_one_train(levels: Levels) -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(-4, 6, (4, 3, 2, 2)).astype(float)
    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("c", Conv2d(weight), ("x",)),
        ("s", levels, ("c",)),
        ("z", Scale(np.array([1.0, 2.0, 1.0, 0.5]).reshape(4, 1, 1)), ("s",)),
        ("p", AvgPool2d((2, 2), (2, 2)), ("z",)),
        ("d", Conv2d(weight[:, :2], np.ones(4), groups=2), ("z",)),
        ("f", Flatten(), ("p",)),
        ("y", Linear(rng.integers(-4, 6, (3, 16)).astype(float), np.ones(3)), ("f",)),
    ]
    x = Edge("x", (3, 5, 5), Domain(0, 15, 1))
    for output in ("d", "y"):
        graph = build((x,), nodes, (output,), 2)
        after = unroll_levels(graph)
        data = rng.integers(0, 16, (2, 3, 3, 5, 5)).astype(float)
        expected = run(graph, data).values[output]
        assert np.array_equal(run(after, data).values[output], expected)
        hosted = split_host(after, host_encoder=True)
        assert [e.shape for e in chip_part(hosted).inputs] == [(16, 4, 4)]


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 4), (4, 4, 4), (4, 1, 4), (64,), (1,)])
def test_what_an_encoder_sends_waits_by_place(shape: tuple[int, ...]) -> None:
    """The chip reads a channel for each level: a delay by place is one for each of them, too."""
    rng = np.random.default_rng(3)
    levels = Levels(np.arange(1.0, 4), below=np.array([2.0]))
    late = Delay(rng.integers(1, 4, shape))
    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("c", Conv2d(rng.integers(-4, 6, (4, 3, 2, 2)).astype(float)), ("x",)),
        ("s", levels, ("c",)),
        ("f", Flatten(), ("s",)),
        ("l", late, ("s" if len(shape) == 3 else "f",)),
        ("g", Flatten(), ("l",)),
        ("y", Linear(rng.integers(-4, 6, (3, 64)).astype(float)), ("g",)),
    ]
    graph = build((Edge("x", (3, 5, 5), Domain(0, 15, 1)),), nodes, ("y",), 4)
    after = unroll_levels(graph)
    verify(after)
    data = rng.integers(0, 16, (4, 3, 3, 5, 5)).astype(float)
    assert np.array_equal(run(after, data).values["y"], run(graph, data).values["y"])


def refusal(*nodes: tuple[str, Op, tuple[str, ...]]) -> LevelsError:
    with pytest.raises(LevelsError) as caught:
        unroll_levels(alone(LEVELS, *nodes, n=6))
    return caught.value


def test_what_is_refused_and_why() -> None:
    two: tuple[str, Op, tuple[str, ...]] = ("j", Add(), ("s", "s"))
    pool = MaxPool2d((1, 2), (1, 2))
    for nodes, words in (
        ([two, ("p", pool, ("j",))], "the maximum of sums of counts"),
        ([("a", SIX, ("u",)), ("p", pool, ("a",))], "the maximum of counts below zero"),
        (
            [("k", Scale(np.array(-1.0)), ("s",)), ("p", pool, ("k",))],
            "the maximum of counts times a factor below zero",
        ),
        ([("r", Relu(), ("s",))], "Relu of counts"),
    ):
        error = refusal(*nodes)  # type: ignore[arg-type]
        assert words in error.message and error.where and error.found and error.remedy


def test_more_levels_than_allowed() -> None:
    graph = alone(("act", Levels(np.arange(1.0, 18)), ("u",)), n=3)
    with pytest.raises(LevelsError) as caught:
        unroll_levels(graph)
    assert caught.value.where == "act" and caught.value.found.startswith("17 levels")
    assert caught.value.allowed == "16 levels" and "--levels N" in str(caught.value.remedy)
    assert len(unroll_levels(graph, 17).nodes) > 17


def test_a_host_encoder_with_memory_is_refused() -> None:
    graph = build((Edge("x", (3,), ANALOG),), [("s", Levels(FOUR, 0.5), ("x",))], ("s",), 2)
    with pytest.raises(LevelsError, match="keeps a membrane"):
        unroll_levels(graph)
    unroll_levels(replace(graph, steps=1))


def test_a_network_does_not_end_in_counts_of_several_steps() -> None:
    graph = alone(LEVELS, ("f", Flatten(), ("s",)), n=3, steps=2)
    with pytest.raises(LevelsError, match="ends in counts of each step") as caught:
        unroll_network(graph)
    assert caught.value.where == "f" and "TimeMean" in str(caught.value.remedy)
    unroll_network(alone(LEVELS, n=3, steps=1))
    mean = alone(LEVELS, ("f", Flatten(), ("s",)), ("m", TimeMean(2), ("f",)), n=3, steps=2)
    x = bits(steps=2, size=3)
    done = compile_graph(mean, standard_pipeline(), x).graph
    found = run(done, x).values["m"][-1] / 2  # of whole numbers, the scale is T
    assert np.array_equal(found, run(mean, x).values["m"][-1])


def test_nothing_to_do_gives_the_same_graph() -> None:
    graph = alone(("s", Neuron(np.array(1.0)), ("u",)), n=3)
    assert unroll_levels(graph) is graph


def test_notes_tell_what_it_costs() -> None:
    graph = alone(("s", Levels(FOUR, 0.5), ("u",)), ("t", Levels(FOUR), ("s",)), n=6, steps=2)
    assert unrolled(graph, unroll_levels(graph)) == (
        "unrolled s: 4 levels, 24 neurons for 6 multi-spike neurons",
        "unrolled t: 4 levels, 24 neurons for 6 values",
    )


def check(seeds: range) -> list[str]:
    wrong = []
    for seed in seeds:
        names = (*QUICK, "NIR") if seed % 10 == 0 else QUICK
        sample = captured(seed, levels=True)
        result = compiled(sample)
        wrong += [f"{seed}: {text}" for text in pass_alarms(sample, result)]
        for who, text in executor_alarms(
            result.graph, sample.x, run(result.graph, sample.x), names
        ):
            wrong.append(f"{seed}: {who}: {text}")
    return wrong


def test_some_random_networks_of_counts_are_equal_everywhere() -> None:
    assert check(range(8)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", range(20))
def test_a_thousand_random_networks_of_counts_are_equal_everywhere(chunk: int) -> None:
    assert check(range(chunk * 50, chunk * 50 + 50)) == []


def test_the_random_networks_hold_all_that_they_should() -> None:
    graphs = [captured(seed, levels=True).graph for seed in range(60)]
    ops = [n.op for g in graphs for n in g.nodes if isinstance(n.op, Levels)]
    assert {op.levels for op in ops} >= {1, 2, 3, 4} and {op.decay for op in ops} >= {0, 0.5, 1}
    assert sum(op.below is not None for op in ops) > 10
    counted = [n for g in graphs for n in g.nodes if isinstance(n.op, Add | MaxPool2d)
               and any(not g.edge(i).domain <= SPIKE for i in n.inputs)]  # fmt: skip
    assert sum(isinstance(n.op, Add) for n in counted) > 20
    assert sum(isinstance(n.op, MaxPool2d) for n in counted) > 2
