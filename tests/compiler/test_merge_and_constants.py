"""Equal nodes become one, constants are computed now; nothing is merged that is not equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import trained_graphs
from hypothesis import HealthCheck, given, settings

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
)
from purespike.compiler.passes.fold_constants import fold_constants
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.merge_equal import merge_equal, merged

R = np.random.default_rng(0)
WEIGHT = R.normal(size=(2, 2, 3, 3))
CONV = Conv2d(WEIGHT, None, padding=(1, 1))
FIRE = Neuron(0.7)
TWO = Edge("x", (2, 4, 4), SPIKE)


def names(graph: Graph) -> list[str]:
    return [n.name for n in graph.nodes]


# merge_equal


def twins(second: Any = CONV, neuron: Any = FIRE, reads: str = "x") -> Graph:
    return graph_of(
        [
            ("c", CONV, ("x",)),
            ("n", FIRE, ("c",)),
            ("d", second, (reads,)),
            ("m", neuron, ("d",)),
            ("g", Gate("xor"), ("n", "m")),
            ("h", Gate("or"), ("n", "m")),
            ("o", Gate("or"), ("g", "h")),
        ],
        x=TWO,
    )


def test_case_1_two_equal_layers_with_their_synapses() -> None:
    before = twins(Conv2d(WEIGHT.copy(), None, padding=(1, 1)), Neuron(0.7))
    after = merge_equal(before)
    assert_printed(
        after,
        f"""
        %x: 2x4x4 spike = input
        %c: 2x4x4 {after.edge("c").domain} = Conv2d(%x, 2x2x3x3, stride (1, 1), pad (1, 1))
        %n: 2x4x4 spike = Neuron(%c, threshold 0.7, decay 1, reset zero)
        %g: 2x4x4 spike = Gate(%n, %n, xor)
        %h: 2x4x4 spike = Gate(%n, %n, or)
        %o: 2x4x4 spike = Gate(%g, %h, or)
        }} -> %o
        """,
    )
    assert merged(before, after) == ("merged m into n, its equal",)
    assert_same_outputs(before, after)
    assert merge_equal(after) is after


@pytest.mark.parametrize(
    "graph",
    [
        twins(Conv2d(WEIGHT + 1e-12, None, padding=(1, 1))),
        twins(Conv2d(WEIGHT, np.zeros(2), padding=(1, 1))),
        twins(neuron=Neuron(0.7, 0.5)),
        twins(neuron=Neuron(0.7, initial=0.1)),
        twins(neuron=Neuron(np.full((2, 1, 1), 0.7))),
        twins(reads="n"),
    ],
)
def test_what_is_not_equal_stays(graph: Graph) -> None:
    assert merge_equal(graph) is graph


def test_gates_share_their_neurons_after_lowering() -> None:
    nodes: list[Any] = [
        ("n", FIRE, ("x",)),
        ("g", Gate("and"), ("x", "n")),
        ("h", Gate("xor"), ("x", "n")),
        ("o", Gate("or"), ("g", "h")),
    ]
    before = lower_gates(graph_of(nodes, x=TWO))
    after = merge_equal(before)
    assert "h.and" in names(before) and "h.and" not in names(after)
    assert_same_outputs(before, after)


def test_case_2_equal_synapses_of_different_neurons_stay() -> None:
    graph = twins(neuron=Neuron(0.9))
    assert merge_equal(graph) is graph


def test_case_3_outputs_stay() -> None:
    graph = graph_of([("n", FIRE, ("x",)), ("m", FIRE, ("x",))], "n", "m", x=TWO)
    assert merge_equal(graph) is graph


def test_roles_stay_apart() -> None:
    before = twins()
    nodes = [
        n if n.name not in "dm" else Node(n.op, n.inputs, n.output, "host") for n in before.nodes
    ]
    assert names(merge_equal(before.rebuilt(nodes))) == names(before)


def test_case_4_loops_are_not_compared() -> None:
    def loop(tail: str) -> list[Node]:
        spike = (2, 4, 4)
        return [
            Node(Delay(1), (f"n{tail}",), Edge(f"d{tail}", spike, SPIKE)),
            Node(Gate("xor"), ("x", f"d{tail}"), Edge(f"n{tail}", spike, SPIKE)),
        ]

    both = Node(Gate("or"), ("na", "nb"), Edge("o", (2, 4, 4), SPIKE))
    graph = Graph((TWO,), (*loop("a"), *loop("b"), both), ("o",), 3)
    assert merge_equal(graph) is graph


def test_pools_and_flattens_are_merged() -> None:
    pool = AvgPool2d((2, 2), (2, 2))
    before = graph_of(
        [
            ("p", pool, ("x",)),
            ("q", AvgPool2d((2, 2), (2, 2)), ("x",)),
            ("f", Flatten(), ("p",)),
            ("g", Flatten(), ("q",)),
            ("l", Linear(R.normal(size=(2, 8))), ("f",)),
            ("m", Linear(R.normal(size=(2, 8))), ("g",)),
            ("a", Add(), ("l", "m")),
            ("o", FIRE, ("a",)),
        ],
        x=TWO,
    )
    after = merge_equal(before)
    assert names(after) == ["p", "f", "l", "m", "a", "o"]
    assert_same_outputs(before, after)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs())
def test_merging_random_graphs(graph: Graph) -> None:
    assert_same_outputs(graph, merge_equal(graph))
    assert_same_outputs(graph, fold_constants(graph), 1e-9)


# fold_constants


def residual(*layers: tuple[str, Any], bias: Any = None) -> Graph:
    nodes: list[Any] = [(name, op, ("x",)) for name, op in layers]
    add = ("a", Add(), tuple(name for name, _ in layers))
    return graph_of([*nodes, add, ("n", FIRE, ("a",))], x=TWO)


def test_constants_case_1() -> None:
    before = graph_of(
        [
            ("c", Conv2d(WEIGHT, np.zeros(2)), ("x",)),
            ("s", Scale(np.ones((2, 1, 1))), ("c",)),
            ("i", Scale(1.0), ("x",)),
            ("n", FIRE, ("s",)),
            ("m", FIRE, ("i",)),
        ],
        "n",
        "m",
        x=TWO,
    )
    after = fold_constants(before)
    assert names(after) == ["c", "i", "n", "m"]  # on spikes a factor of one is a synapse
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.bias is None
    assert_same_outputs(before, after)


@pytest.mark.parametrize("biases", [(None, None), ([1.0, 2.0, 3.0], None), (None, [1.0, 2.0])])
def test_constants_case_2_printed(biases: Any) -> None:
    first, second = Linear(np.ones((3, 4)), biases[0]), Linear(np.full((2, 3), 2.0), biases[1])
    nodes: list[Any] = [("k", first, ("x",)), ("l", second, ("k",)), ("n", Neuron(3.0), ("l",))]
    before = graph_of(nodes, x=Edge("x", (4,), SPIKE))
    after = fold_constants(before)
    assert_printed(
        after,
        f"""
        %x: 4 spike = input
        %l: 2 {after.edge("l").domain} = Linear(%x, 2x4)
        %n: 2 spike = Neuron(%l, threshold 3, decay 1, reset zero)
        }} -> %n
        """,
    )
    assert_same_outputs(before, after)


def test_constants_case_2_only_where_nothing_else_reads_the_first() -> None:
    nodes: list[Any] = [
        ("k", Linear(R.normal(size=(4, 4))), ("x",)),
        ("l", Linear(R.normal(size=(4, 4))), ("k",)),
        ("a", Add(), ("k", "l")),
        ("n", FIRE, ("a",)),
    ]
    graph = graph_of(nodes, x=Edge("x", (4,), SPIKE))
    assert fold_constants(graph) is graph


def test_constants_case_3_parallel_layers() -> None:
    other = Conv2d(R.normal(size=(2, 2, 3, 3)), R.normal(size=2), padding=(1, 1))
    before = residual(("c", CONV), ("i", Scale(0.5)), ("d", other))
    after = fold_constants(before)
    assert names(after) == ["c", "i", "a", "n"]
    assert_same_outputs(before, after)
    two = residual(("c", CONV), ("d", other))
    assert names(fold_constants(two)) == ["c", "n"]
    assert_same_outputs(two, fold_constants(two))
    for geometry in ({"dilation": (2, 2), "padding": (2, 2)}, {"groups": 2}):
        weight = WEIGHT[:, :1] if "groups" in geometry else WEIGHT
        unlike = residual(("c", CONV), ("d", Conv2d(weight, **{"padding": (1, 1), **geometry})))
        assert fold_constants(unlike) is unlike


def test_constants_case_4_a_layer_without_weights() -> None:
    silent = Conv2d(np.zeros((2, 2, 1, 1)), [0.5, -0.5])
    before = residual(("d", silent), ("c", CONV))
    after = fold_constants(before)
    assert names(after) == ["c", "n"]
    op = after.nodes[0].op
    assert isinstance(op, Conv2d)
    np.testing.assert_array_equal(op.bias, [0.5, -0.5])  # type: ignore[arg-type]
    assert_same_outputs(before, after)
    nowhere = residual(("d", silent), ("i", Scale(0.5)))
    assert fold_constants(nowhere) is nowhere
    unbiased = residual(("d", Conv2d(np.zeros((2, 2, 1, 1)))), ("i", Scale(0.5)))
    assert names(fold_constants(unbiased)) == ["i", "n"]
