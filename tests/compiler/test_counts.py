"""The census against loops over every single connection."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import conv_geometry, convolution, input_shapes, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE, TERNARY, Array
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.compiler.proofs.counts import (
    Counts,
    connections,
    dense_counts,
    fan_out,
    measured_counts,
    total_counts,
)


def meetings(op: Conv2d, x: Shape, y: Shape) -> Array:
    """How many weights each input value meets, one connection after the other."""
    count = np.zeros(x)
    out, inputs, kh, kw = op.weight.shape
    for o, i, j in product(range(y[0]), range(y[1]), range(y[2])):
        first = o // (out // op.groups) * inputs
        for c, a, b in product(range(inputs), range(kh), range(kw)):
            row = i * op.stride[0] + a * op.dilation[0] - op.padding[0]
            column = j * op.stride[1] + b * op.dilation[1] - op.padding[1]
            if 0 <= row < x[1] and 0 <= column < x[2]:
                count[first + c, row, column] += 1
    return count


def node_of(graph: Graph, name: str) -> Node:
    node = graph.producer(name)
    assert node is not None
    return node


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), input_shapes(), st.booleans(), st.integers(0, 2**16))
def test_convolutions(data: Any, shape: Shape, bias: bool, seed: int) -> None:
    op = convolution(conv_geometry(data.draw, shape), shape[0], np.ones, bias)
    graph = graph_of([("c", op, ("x",))], x=Edge("x", shape, SPIKE), steps=2)
    node = node_of(graph, "c")
    wanted = meetings(op, shape, node.output.shape)
    np.testing.assert_array_equal(np.broadcast_to(fan_out(node, shape), shape), wanted)
    assert connections(graph, node) == wanted.sum()
    size = float(np.prod(node.output.shape))
    adds = size if bias else 0.0
    assert dense_counts(graph, node) == Counts(ac=wanted.sum(), add=adds)
    x = spikes(graph, 3, seed)
    events = sum((x[t, b] * wanted).sum() for t in range(2) for b in range(3))
    measured = measured_counts(graph, node, run(graph, x))
    assert measured == Counts(ac=events, add=6 * adds)
    # The same in another way: with weights of one, each AC adds one to some output.
    ones = graph_of([("c", Conv2d(op.weight, None, op.stride, op.padding, op.dilation, op.groups),
                      ("x",))], x=graph.inputs[0], steps=2)  # fmt: skip
    assert run(ones, x).values["c"].sum() == events


def test_linear_and_one_to_one_synapses() -> None:
    graph = graph_of(
        [
            ("s", Scale(np.ones((1, 4, 1))), ("x",)),
            ("n", Neuron(1.0), ("s",)),
            ("f", Flatten(), ("n",)),
            ("l", Linear(np.ones((3, 16)), [0.0, 1.0, 0.0]), ("f",)),
            ("z", Linear(np.ones((3, 16)), np.zeros(3)), ("f",)),
        ],
        "l",
        "z",
    )
    x = spikes(graph, 2, 0)
    trace = run(graph, x)
    fired = trace.values["n"].sum()
    assert dense_counts(graph, node_of(graph, "s")) == Counts(ac=16)
    assert measured_counts(graph, node_of(graph, "s"), trace) == Counts(ac=x.sum())
    assert dense_counts(graph, node_of(graph, "l")) == Counts(ac=48, add=3)
    assert measured_counts(graph, node_of(graph, "l"), trace) == Counts(ac=3 * fired, add=18)
    assert measured_counts(graph, node_of(graph, "z"), trace) == Counts(ac=3 * fired)


@pytest.mark.parametrize("domain", [TERNARY, ANALOG])
def test_what_is_no_spike_is_multiplied(domain: Any) -> None:
    edge = Edge("x", (1, 3, 3), domain)
    conv = Conv2d(np.ones((2, 1, 2, 2)), np.ones(2))
    graph = build((edge,), [("c", conv, ("x",)), ("s", Scale(2.0), ("x",))], ("c", "s"), 2)
    trace = run(graph, np.ones((2, 3, 1, 3, 3)))
    assert dense_counts(graph, node_of(graph, "c")) == Counts(mac=32, add=8)
    assert measured_counts(graph, node_of(graph, "c"), trace) == Counts(mac=6 * 32, add=6 * 8)
    assert dense_counts(graph, node_of(graph, "s")) == Counts(mul=9)


CONV = Conv2d(np.ones((1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("op", "reads", "expected"),
    [
        (Neuron(1.0), ("c",), Counts(add=16, cmp=16)),
        (Neuron(1.0, 0.5), ("c",), Counts(add=16, mul=16, cmp=16)),
        (Neuron(1.0, 0.0), ("c",), Counts(add=16, cmp=16)),
        (Neuron(1.0, reset="subtract"), ("c",), Counts(add=32, cmp=16)),
        (Neuron(np.inf, reset="none"), ("c",), Counts(add=16)),
        (Neuron(np.inf, 0.5, "none"), ("c",), Counts(add=16, mul=16)),
        (Gate("and"), ("x", "x"), Counts(logic=16)),
        (Gate("or"), ("x", "x", "x"), Counts(logic=32)),
        (AvgPool2d((2, 2), (2, 2)), ("x",), Counts(add=12, mul=4)),
        (MaxPool2d((2, 2), (2, 2)), ("x",), Counts(cmp=12)),
        (BatchNorm(*(np.ones(1) for _ in range(4)), 0.0), ("x",), Counts(mul=16, add=16)),
        (TimeMean(3), ("x",), Counts(add=16, mul=16)),
        (Relu(), ("x",), Counts(cmp=16)),
        (Flatten(), ("x",), Counts()),
        (Delay(2), ("x",), Counts()),
    ],
)
def test_everything_else(op: Op, reads: tuple[str, ...], expected: Counts) -> None:
    graph = graph_of([("c", CONV, ("x",)), ("y", op, reads)], steps=3)
    assert dense_counts(graph, node_of(graph, "y")) == expected
    trace = run(graph, spikes(graph, 2, 0))
    assert measured_counts(graph, node_of(graph, "y"), trace) == expected.times(6)


N = Neuron(1.0)


@pytest.mark.parametrize(
    ("nodes", "outputs", "adds"),
    [
        # In front of a neuron the sum is its dendrite: counted at the synapses.
        ([("a", Add(), ("c", "d")), ("n", N, ("a",))], ("n",), {"a": 0}),
        ([("a", Add(), ("c", "d")), ("b", Add(), ("a", "c")), ("n", N, ("b",))], ("n",),
         {"a": 0, "b": 0}),
        # SEW ADD, and whatever nobody reads or another reader needs as a number.
        ([("a", Add(), ("x", "x", "x")), ("e", CONV, ("a",)), ("n", N, ("e",))], ("n",),
         {"a": 32}),
        ([("a", Add(), ("c", "d"))], ("a",), {"a": 16}),
        ([("a", Add(), ("c", "d")), ("n", N, ("a",))], ("a", "n"), {"a": 16}),
        ([("a", Add(), ("c", "d")), ("b", Add(), ("a", "d"))], ("b",), {"a": 16, "b": 16}),
        ([("a", Add(), ("x", "x")), ("b", Add(), ("a", "x")), ("e", CONV, ("b",)),
          ("n", N, ("e",))], ("n",), {"a": 16, "b": 16}),
        ([("a", Add(), ("c", "d")), ("f", Flatten(), ("a",)), ("n", N, ("a",))], ("n", "f"),
         {"a": 16}),
    ],
)  # fmt: skip
def test_sums(nodes: list[Any], outputs: tuple[str, ...], adds: dict[str, int]) -> None:
    graph = graph_of([("c", CONV, ("x",)), ("d", CONV, ("x",)), *nodes], *outputs)
    for name, count in adds.items():
        assert dense_counts(graph, node_of(graph, name)) == Counts(add=count), name


@dataclass(frozen=True)
class Mystery(Op):
    def infer(self, *inputs: Edge) -> Any:
        return inputs[0].shape, inputs[0].domain

    def step(self, state: Any, *inputs: Array) -> Any:
        return state, inputs[0]


def test_unknown_operations_are_counted_as_unknown() -> None:
    graph = graph_of([("m", Mystery(), ("x",))], steps=2)
    assert dense_counts(graph, node_of(graph, "m")) == Counts(unknown=16)
    trace = run(graph, spikes(graph, 3, 0))
    assert measured_counts(graph, node_of(graph, "m"), trace) == Counts(unknown=6 * 16)


def test_sums_of_counts() -> None:
    a, b = Counts(ac=1, mac=2, unknown=1), Counts(ac=3, cmp=4)
    assert a + b == Counts(ac=4, mac=2, cmp=4, unknown=1)
    assert total_counts([]) == Counts()
    assert total_counts([a, b, a]) == a + b + a
    assert b.times(0.5) == Counts(ac=1.5, cmp=2)
