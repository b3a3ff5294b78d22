"""What can never fire goes, with its weights; the rest of the network does the same as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import FIXED, spikes, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Gate, Linear, Neuron, Scale
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.passes.remove_dead import never_fires, remove_dead, removed
from purespike.compiler.pipeline import SAME, Pass, compile_graph, standard_pipeline

R = np.random.default_rng(0)
FIRE = Neuron(1.0)
TWO = Edge("x", (2, 4, 4), SPIKE)


def op_of(graph: Graph, name: str) -> Any:
    node = graph.producer(name)
    assert node is not None
    return node.op


def convolution(outputs: int, inputs: int, *dead: int, bias: float = 0.1) -> Conv2d:
    weight = R.uniform(0.2, 0.5, (outputs, inputs, 3, 3))
    weight[list(dead)] = -0.1
    return Conv2d(weight, np.full(outputs, bias), padding=(1, 1))


# The proof.


@settings(max_examples=80, deadline=None)
@given(
    st.floats(0.05, 1.0),
    st.floats(-0.3, 0.3),
    st.floats(0.2, 3.0),
    st.sampled_from([1.0, 0.9, 0.5, 0.0]),
    st.sampled_from([0.0, 0.5, -1.0]),
    st.booleans(),
    st.integers(1, 5),
)
def test_the_bound_is_the_worst_input_and_exact(
    weight: float, bias: float, threshold: float, decay: float, initial: float, fixed: bool, T: int
) -> None:
    """For one neuron the worst input is a spike at each step or at none: run it."""
    op = Neuron(threshold, decay, initial=initial)
    graph = graph_of(
        [("l", Linear([[weight]], [bias]), ("x",)), ("n", op, ("l",))],
        x=Edge("x", (1,), SPIKE),
        steps=T,
    )
    if fixed:
        graph = quantize(graph)
    node = graph.producer("n")
    assert node is not None and isinstance(node.op, Neuron)
    fired = run(graph, np.ones((T, 1, 1))).values["n"].any()
    silent = bool(never_fires(graph, node, node.op)[0])
    assert not (silent and fired)
    if node.op.fixed is None and not fired:  # complete, but for the margin of rounding
        lower = Neuron(threshold - 1e-6, decay, initial=initial)
        below = graph_of([("l", graph.nodes[0].op, ("x",)), ("n", lower, ("l",))],
                         x=graph.inputs[0], steps=T)  # fmt: skip
        assert silent or run(below, np.ones((T, 1, 1))).values["n"].any()


def test_what_is_not_understood_is_not_proved() -> None:
    class Other(Neuron):
        """Might fire on anything."""

    graph = graph_of([("c", convolution(2, 2, 0, 1), ("x",)), ("n", Other(50.0), ("c",))], x=TWO)
    assert remove_dead(graph) is graph


# Case 1.


def test_case_1_channels_of_a_convolution_and_columns_of_a_flattened_map() -> None:
    before = graph_of(
        [
            ("c", convolution(4, 2, 0, 2, bias=-0.1), ("x",)),
            ("n", Neuron(R.uniform(1, 2, (4, 1, 1)), 0.5), ("c",)),
            ("d", convolution(3, 4, 1, bias=0.2), ("n",)),
            ("e", convolution(3, 4, 1, bias=0.1), ("n",)),
            ("a", Add(), ("d", "e")),
            ("m", Neuron(1.0, 0.0, "subtract", R.uniform(1, 2, (3, 4, 4))), ("a",)),
            ("f", Flatten(), ("m",)),
            ("l", Linear(R.normal(size=(2, 48))), ("f",)),
            ("o", Neuron(np.inf, reset="none"), ("l",)),
        ],
        x=TWO,
    )
    after = remove_dead(before)
    assert_printed(
        after,
        f"""
        %x: 2x4x4 spike = input
        %c: 2x4x4 {after.edge("c").domain} = Conv2d(%x, 2x2x3x3, stride (1, 1), pad (1, 1))
        %n: 2x4x4 spike = Neuron(%c, threshold (2, 1, 1), decay 0.5, reset zero)
        %d: 2x4x4 {after.edge("d").domain} = Conv2d(%n, 2x2x3x3, stride (1, 1), pad (1, 1))
        %e: 2x4x4 {after.edge("e").domain} = Conv2d(%n, 2x2x3x3, stride (1, 1), pad (1, 1))
        %a: 2x4x4 {after.edge("a").domain} = Add(%d, %e)
        %m: 2x4x4 spike = Neuron(%a, threshold 1, decay 0, reset subtract)
        %f: 32 spike = Flatten(%m)
        %l: 2 {after.edge("l").domain} = Linear(%f, 2x32)
        %o: 2 analog = Neuron(%l, integrates, decay 1)
        }} -> %o
        """,
    )
    kept = [1, 3]
    np.testing.assert_array_equal(op_of(after, "n").threshold, op_of(before, "n").threshold[kept])
    np.testing.assert_array_equal(op_of(after, "m").amount, op_of(before, "m").amount[[0, 2]])
    assert removed(before, after) == (
        "removed 2 of 4 channels of n that never fire, for any input",
        "removed 1 of 3 channels of m that never fire, for any input",
    )
    assert_same_outputs(before, after, 1e-12)
    assert remove_dead(after) is after


def test_case_1_neurons_of_a_vector() -> None:
    first = R.uniform(0.5, 1.0, (6, 8))
    first[[1, 4]] = 0.01
    before = graph_of(
        [
            ("l", Linear(first), ("x",)),
            ("n", Neuron(R.uniform(1, 2, 6)), ("l",)),
            ("k", Linear(R.normal(size=(3, 6))), ("n",)),
            ("o", FIRE, ("k",)),
        ],
        x=Edge("x", (8,), SPIKE),
    )
    after = remove_dead(before)
    assert after.edge("n").shape == (4,)
    assert_same_outputs(before, after)


def test_what_is_dead_only_without_the_removed() -> None:
    """The second layer's last channel hears the first layer's dead channel alone."""
    deaf = convolution(2, 2, bias=0.0).weight.copy()
    deaf[1, 0], deaf[1, 1] = 0.0, 0.5
    before = graph_of(
        [
            ("c", convolution(2, 2, 1, bias=0.0), ("x",)),
            ("n", FIRE, ("c",)),
            ("d", Conv2d(deaf, padding=(1, 1)), ("n",)),
            ("m", FIRE, ("d",)),
            ("e", convolution(2, 2), ("m",)),
            ("o", FIRE, ("e",)),
        ],
        x=TWO,
    )
    after = remove_dead(before)
    assert after.edge("n").shape[0] == after.edge("m").shape[0] == 1
    assert_same_outputs(before, after)


# Case 2.


def test_case_2_a_dead_branch_of_a_residual_sum() -> None:
    before = graph_of(
        [
            ("c", convolution(2, 2), ("x",)),
            ("n", FIRE, ("c",)),
            ("b", convolution(2, 2, 0, 1, bias=-0.5), ("n",)),
            ("s", FIRE, ("b",)),  # never fires
            ("d", convolution(2, 2, bias=0.3), ("s",)),
            ("e", convolution(2, 2), ("n",)),
            ("a", Add(), ("d", "e")),
            ("m", FIRE, ("a",)),
        ],
        x=TWO,
    )
    after = remove_dead(before)
    assert [n.name for n in after.nodes] == ["c", "n", "e", "m"]
    np.testing.assert_array_equal(op_of(after, "e").bias, [0.4, 0.4])
    assert removed(before, after) == ("removed s: it never fires, for any input",)
    x = spikes(before, 4, 0)
    np.testing.assert_array_equal(run(before, x).values["m"], run(after, x).values["m"])


@pytest.mark.parametrize(("kind", "left"), [("or", 3), ("and", 0), ("iand", 3), ("xor", 3)])
def test_case_2_gates_with_a_dead_input(kind: Any, left: int) -> None:
    reads = ("s", "x")
    before = lower_gates(
        graph_of(
            [
                ("b", convolution(2, 2, 0, 1, bias=-0.5), ("x",)),
                ("s", FIRE, ("b",)),
                ("g", Gate(kind), reads),
                ("e", convolution(2, 2), ("g",)),
                ("h", convolution(2, 2, bias=0.2), ("x",)),
                ("a", Add(), ("e", "h")),
                ("m", FIRE, ("a",)),
            ],
            x=TWO,
        )
    )
    after = remove_dead(before)
    assert after.producer("s") is None
    assert (after.producer("g") is None) == (kind == "and")  # AND with silence is silence
    assert_same_outputs(before, after)


# Cases 3 and 4.

DEAD = convolution(2, 2, 0, 1, bias=-0.5)
HALF = convolution(2, 2, 0, bias=-0.5)


@pytest.mark.parametrize(
    ("nodes", "note"),
    [
        (
            [("c", DEAD, ("x",)), ("n", FIRE, ("c",)), ("d", convolution(2, 2), ("n",)),
             ("o", FIRE, ("d",))],
            "left n, which never fires: it is all that d hears",
        ),
        ([("c", DEAD, ("x",)), ("o", FIRE, ("c",))], "left o, which never fires: it is an output"),
        (
            [("c", HALF, ("x",)), ("o", FIRE, ("c",))],
            "left o, of which 1 never fire: it is an output",
        ),
        (
            [("c", HALF, ("x",)), ("n", FIRE, ("c",)), ("m", Neuron(9.0), ("c",)),
             ("d", convolution(2, 2), ("n",)), ("e", convolution(2, 2), ("m",)),
             ("a", Add(), ("d", "e")), ("o", FIRE, ("a",))],
            "left n, of which 1 never fire: something else reads what c makes",
        ),
        (
            [("c", HALF, ("x",)), ("n", FIRE, ("c",)), ("i", Scale(0.5), ("n",)),
             ("o", Neuron(0.4), ("i",))],
            "left n, of which 1 never fire: Scale ties its channels to others (i)",
        ),
        (
            [("c", HALF, ("x",)), ("i", Scale(0.0), ("x",)), ("a", Add(), ("c", "i")),
             ("n", FIRE, ("a",)), ("d", convolution(2, 2), ("n",)), ("o", FIRE, ("d",))],
            "left n, of which 1 never fire: one-to-one or grouped synapses feed it (i)",
        ),
        (
            [("c", HALF, ("x",)), ("n", FIRE, ("c",)),
             ("d", Conv2d(np.ones((2, 1, 1, 1)), groups=2), ("n",)), ("o", FIRE, ("d",))],
            "left n, of which 1 never fire: Conv2d ties its channels to others (d)",
        ),
        (
            [("c", DEAD, ("x",)), ("n", FIRE, ("c",)), ("d", convolution(2, 2), ("n",)),
             ("i", Scale(1.0), ("x",)), ("a", Add(), ("d", "i")), ("o", FIRE, ("a",))],
            "left n, which never fires: no other layer could take the bias of d",
        ),
    ],
)  # fmt: skip
def test_cases_3_and_4_stay_and_say_why(nodes: list[Any], note: str) -> None:
    before = graph_of(nodes, x=TWO)
    after = remove_dead(before)
    assert after is before
    assert note in removed(before, after)


def test_the_pipeline_keeps_the_record() -> None:
    before = graph_of(
        [
            ("c", convolution(4, 2, 0, bias=-0.1), ("x",)),
            ("n", FIRE, ("c",)),
            ("d", convolution(3, 4), ("n",)),
            ("o", FIRE, ("d",)),
        ],
        x=TWO,
    )
    (line,) = compile_graph(
        before, [Pass("remove_dead", remove_dead, SAME, removed)], spikes(before, 3, 0)
    ).ledger
    assert line.notes == ("removed 1 of 4 channels of n that never fire, for any input",)
    assert (line.deviation, line.agreement, line.divergence) == (0.0, 1.0, None)
    assert line.counts_after.ac < line.counts_before.ac


def test_shorter_sums_in_front_of_a_readout_keep_the_promise_of_the_pass() -> None:
    """Without their silent channels, sums of real weights are rounded otherwise."""
    for seed in (0, 1, 8):  # where the last bits of an output do change
        rng = np.random.default_rng(seed)
        nodes: list[tuple[str, Op, tuple[str, ...]]] = [
            ("c", Conv2d(rng.normal(size=(4, 1, 3, 3)) - 0.3), ("x",)),
            ("n", Neuron(np.asarray(2.0)), ("c",)),
            ("f", Flatten(), ("n",)),
            ("l", Linear(rng.normal(size=(8, 64))), ("f",)),
            ("out", Neuron(np.asarray(1.0), reset="none"), ("l",)),
        ]
        graph = graph_of(nodes, x=Edge("x", (1, 6, 6), SPIKE))
        probe = (rng.random((3, 16, 1, 6, 6)) < 0.4).astype(np.float64)
        ledger = compile_graph(graph, standard_pipeline().network, probe).ledger
        (line,) = [line for line in ledger if line.name == "remove_dead"]
        assert line.notes and line.nodes_after == line.nodes_before


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.booleans())
def test_random_graphs(graph: Graph, fixed: bool) -> None:
    before = lower_gates(fold_scales(fuse_batchnorm(graph)))
    after = remove_dead(before)
    assert_same_outputs(before, after, 1e-9)
    for node in after.nodes:
        if isinstance(node.op, Neuron) and node.op.fires:
            quiet = never_fires(after, node, node.op)
            noted = any(n.startswith(f"left {node.name}") for n in removed(before, after))
            assert noted or not quiet.any()


def test_fixed_point_rounds_towards_zero() -> None:
    """A negative membrane is lifted by rounding, which the bound must know."""
    op = Neuron(1.0, 0.5, initial=-1 / 64, fixed=FIXED)
    graph = graph_of(
        [("l", Linear([[1.0]]), ("x",)), ("n", op, ("l",))], x=Edge("x", (1,), SPIKE), steps=1
    )
    node = graph.nodes[-1]
    assert run(graph, np.ones((1, 1, 1))).values["n"].any()
    assert not never_fires(graph, node, op).any()
