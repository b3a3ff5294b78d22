"""Well-formed graphs: each error, its place in the printed graph, and the printed graph itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import IMAGE, graph_of
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import spikes
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Graph, IRError, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.verify import verify

CONV = Conv2d(np.full((2, 1, 3, 3), 1.0), None, (1, 1), (1, 1))
CURRENT = Domain(0, 9, 1)
SHAPE = (2, 4, 4)


def node(
    name: str,
    op: Any,
    *inputs: str,
    shape: tuple[int, ...] = SHAPE,
    domain: Domain = SPIKE,
    origin: str = "",
) -> Node:
    return Node(op, inputs, Edge(name, shape, domain), origin=origin)


def graph(*nodes: Node, outputs: tuple[str, ...] = ("n",), **changes: Any) -> Graph:
    return replace(Graph((IMAGE,), nodes, outputs, 2), **changes)


C = node("c", CONV, "x", domain=CURRENT, origin="net.conv")
N = node("n", Neuron(1.0), "c")


def test_printed_graph() -> None:
    shown = graph(
        C,
        N,
        node("d", Delay(2), "n"),
        replace(node("g", Gate("iand"), "n", "d"), role="auxiliary", origin="net.gate"),
        replace(node("f", Flatten(), "n", shape=(32,)), role="host", origin="f"),
        outputs=("n", "f"),
        dt=0.002,
    )
    verify(shown)
    assert str(shown) == (
        "graph (T = 2, dt = 0.002 s) {\n"
        "  %x: 1x4x4 spike = input\n"
        "  %c: 2x4x4 int[0, 9] = Conv2d(%x, 2x1x3x3, stride (1, 1), pad (1, 1))  # from net.conv\n"
        "  %n: 2x4x4 spike = Neuron(%c, threshold 1, decay 1, reset zero)\n"
        "  %d: 2x4x4 spike = Delay(%n, 2 steps)\n"
        "  %g: 2x4x4 spike = Gate(%n, %d, iand)  # auxiliary, from net.gate\n"
        "  %f: 32 spike = Flatten(%n)  # host\n"
        "} -> %n, %f"
    )


def test_a_wider_domain_may_be_declared() -> None:
    verify(graph(replace(C, output=Edge("c", SHAPE, ANALOG)), N))


@pytest.mark.parametrize(
    ("nodes", "message", "where"),
    [
        ((N, C), "%c is read before it is written", "%n (module n)"),
        ((C, replace(N, inputs=("lost",))), "%lost is written by no node", "%n (module n)"),
        ((C, C, N), "%c is written twice", "%c (module net.conv)"),
        ((C, N, node("x", Neuron(1.0), "c")), "%x is written twice", "%x (module x)"),
        (
            (replace(C, output=Edge("c", (2, 4, 5), CURRENT)), N),
            "the op makes shape (2, 4, 4), the edge says (2, 4, 5)",
            "%c (module net.conv)",
        ),
        (
            (replace(C, output=Edge("c", SHAPE, SPIKE)), N),
            "the op makes int[0, 9], the edge only carries spike",
            "%c (module net.conv)",
        ),
        (
            (C, node("g", Gate("or"), "c", "c", origin="net.gate"), N),
            "gate or takes spikes only",
            "%g (module net.gate)",
        ),
        ((node("d", Delay(1), "lost"), C, N), "%lost is written by no node", "%d (module d)"),
    ],
)
def test_errors_point_at_the_node(nodes: tuple[Node, ...], message: str, where: str) -> None:
    bad = graph(*nodes)
    with pytest.raises(IRError) as e:
        verify(bad)
    assert e.value.message == message
    assert e.value.where == where
    (note,) = e.value.__notes__
    lines = note.splitlines()
    marks = [k for k, line in enumerate(lines) if line.startswith("  ^")]
    assert marks, note
    for k in marks:
        assert lines[k - 1].startswith(f"  {where.split()[0]}:")
        assert lines[k].lstrip() == "^" * len(lines[k - 1].lstrip())
        assert lines[k + 1] == f"  {message}"
    assert [x for k, x in enumerate(lines) if k - 1 not in marks and k not in marks] == (
        str(bad).splitlines()
    )


@pytest.mark.parametrize(("steps", "legal"), [(1, False), (2, True), (3, True)])
def test_a_mean_over_fewer_steps_than_a_sample_has(steps: int, legal: bool) -> None:
    """Its sum would go on: at T = 2 a mean over one step reaches 2, its domain ends at 1."""
    mean = node("n", TimeMean(steps), "x", shape=(1, 4, 4), domain=Domain(0, 1, 1 / steps))
    ones = np.ones((2, 1, 1, 4, 4))
    if legal:
        verify(graph(mean))
        assert run(graph(mean), ones).values["n"].max() == 2 / steps
        return
    with pytest.raises(IRError, match="a mean over time ends before the sample does") as e:
        verify(graph(mean))
    assert e.value.found == "a mean over 1 steps, T = 2"
    with pytest.raises(IRError, match="outside its domain"):
        run(graph(mean), ones)


def test_underlined_line_as_people_see_it() -> None:
    with pytest.raises(IRError) as e:
        verify(graph(C, replace(N, inputs=("lost",))))
    assert e.value.__notes__ == [
        "graph (T = 2, dt = 0.001 s) {\n"
        "  %x: 1x4x4 spike = input\n"
        "  %c: 2x4x4 int[0, 9] = Conv2d(%x, 2x1x3x3, stride (1, 1), pad (1, 1))  # from net.conv\n"
        "  %n: 2x4x4 spike = Neuron(%lost, threshold 1, decay 1, reset zero)\n"
        "  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "  %lost is written by no node\n"
        "} -> %n"
    ]


def test_a_loop_needs_a_delay() -> None:
    nodes = (node("a", Add(), "c", "n", domain=Domain(0, 10, 1)), node("n", Neuron(1.0), "a"))
    with pytest.raises(IRError, match="%n is read before it is written") as e:
        verify(graph(C, *nodes))
    assert e.value.remedy == "a loop needs a Delay of at least one step"
    assert e.value.found == "the loop %a -> %n -> %a takes no time"


def test_a_node_that_is_listed_too_early_is_no_loop() -> None:
    nodes = (node("a", Add(), "c", "n", domain=Domain(0, 10, 1)), node("n", Neuron(1.0), "c"))
    with pytest.raises(IRError, match="%n is read before it is written") as e:
        verify(graph(C, *nodes))
    assert e.value.found == "" and e.value.remedy == "list the node after %n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": ("lost",)}, "output %lost is written by no node"),
        ({"inputs": (IMAGE, IMAGE)}, "input %x is declared twice"),
        ({"steps": 0}, "T >= 1 steps and dt > 0 s"),
        ({"dt": 0.0}, "T >= 1 steps and dt > 0 s"),
        ({"dt": float("nan")}, "T >= 1 steps and dt > 0 s"),
    ],
)
def test_errors_of_the_whole_graph(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IRError, match=message):
        verify(graph(C, N, **changes))


# The graph and its edges.


def test_edges_producers_and_consumers() -> None:
    g = graph(C, N, node("b", Add(), "n", "n", domain=Domain(0, 2, 1)))
    assert [e.name for e in g.edges()] == ["x", "c", "n", "b"]
    assert g.producer("x") is None and g.producer("c") is g.nodes[0]
    assert [r.name for r in g.consumers("n")] == ["b"]
    assert g.consumers("b") == () and g.consumers("lost") == ()
    assert g.origin("c") == "net.conv" and g.origin("n") == "n" and g.origin("x") == "x"
    assert g.ancestors(["n"]) == {"x", "c", "n"}
    with pytest.raises(IRError, match="no edge %lost") as e:
        g.edge("lost")
    assert e.value.allowed == "x, c, n, b"


def test_rebuilding_infers_what_follows() -> None:
    g = graph(C, N, node("f", Flatten(), "n", shape=(32,)))
    small = replace(C, op=Conv2d(np.full((3, 1, 3, 3), 2.0)))
    assert [str(n.output) for n in g.rebuilt([small, *g.nodes[1:]]).nodes] == [
        "%c: 3x2x2 int[0, 18]",
        "%n: 3x2x2 spike",
        "%f: 12 spike",
    ]
    with pytest.raises(IRError, match="%n reads %c, which no node writes"):
        g.rebuilt([N])


# The interpreter's checks, and a loop.


def test_recurrent_network_against_a_loop() -> None:
    r = np.random.default_rng(0)
    w, u = r.normal(size=(4, 3)), r.normal(size=(4, 4))
    spike = Edge("", (4,), SPIKE)
    steps, batch = 7, 5
    nodes = (
        Node(Delay(2), ("n",), Edge("late", (4,), SPIKE)),
        Node(Linear(w), ("x",), Edge("a", (4,), ANALOG)),
        Node(Linear(u), ("late",), Edge("b", (4,), ANALOG)),
        Node(Add(), ("a", "b"), Edge("sum", (4,), ANALOG)),
        Node(Neuron(0.5, 0.7, "subtract", np.array(0.4)), ("sum",), replace(spike, name="n")),
    )
    g = Graph((Edge("x", (3,), SPIKE),), nodes, ("n",), steps)
    verify(g)
    verify(g.rebuilt(g.nodes))
    x = (r.random((steps, batch, 3)) < 0.5).astype(float)
    trace = run(g, x)
    spikes = [np.zeros((batch, 4)), np.zeros((batch, 4))]
    v = np.zeros((batch, 4))
    for t in range(steps):
        v = 0.7 * v + (x[t] @ w.T + spikes[-2] @ u.T)
        s = (v >= 0.5).astype(float)
        v = v - 0.4 * s
        np.testing.assert_array_equal(trace.values["late"][t], spikes[-2])
        np.testing.assert_array_equal(trace.values["n"][t], s)
        np.testing.assert_allclose(trace.membranes["n"][t], v, atol=1e-12)
        spikes.append(s)


def test_delays_of_delays() -> None:
    g = graph_of([("a", Delay(1), ("x",)), ("b", Delay(2), ("a",))], steps=5)
    x = np.random.default_rng(0).integers(0, 2, (5, 1, 1, 4, 4)).astype(float)
    values = run(g, x).values["b"]
    np.testing.assert_array_equal(values[3:], x[:2])
    assert not values[:3].any()


def test_delays_by_place() -> None:
    steps = np.array([[[3, 1, 2, 3]]])
    g = graph_of([("a", Delay(steps), ("x",)), ("b", Neuron(1.0), ("a",))], steps=5)
    verify(g)
    assert "Delay(%x, 1 to 3 steps, (1, 1, 4))" in str(g)
    x = np.random.default_rng(0).integers(0, 2, (5, 2, 1, 4, 4)).astype(float)
    values = run(g, x).values["a"]
    for column, late in enumerate(steps.ravel()):
        np.testing.assert_array_equal(values[late:, ..., column], x[:-late, ..., column])
        assert not values[:late, ..., column].any()
    with pytest.raises(IRError, match="does not fit its input"):
        graph_of([("a", Delay([1, 2, 3]), ("x",))])


@settings(max_examples=30, deadline=None)
@given(recurrent_graphs(clocked=False), st.integers(0, 99))
def test_random_loops_against_delays_unrolled_by_hand(graph: Graph, seed: int) -> None:
    """Where a delay's input was so many steps ago, its output is now; all else is step by step."""
    verify(graph)
    verify(graph.rebuilt(graph.nodes))
    x = spikes(graph, 3, seed)
    values = run(graph, x).values
    for n in graph.nodes:
        if isinstance(n.op, Delay):
            waits = np.broadcast_to(n.op.steps, n.output.shape)
            for at in np.ndindex(*n.output.shape):
                source = values[n.inputs[0]][(..., *at)]
                late = np.concatenate([np.zeros((int(waits[at]), 3)), source])[: graph.steps]
                np.testing.assert_array_equal(values[n.name][(..., *at)], late)
        elif not isinstance(n.op, Neuron):
            for t in range(graph.steps):
                _, y = n.op.step(None, *(values[i][t] for i in n.inputs))
                np.testing.assert_array_equal(values[n.name][t], y)


def test_recording() -> None:
    g = graph(C, N)
    x = np.ones((2, 3, 1, 4, 4))
    full, some = run(g, x), run(g, x, record=["n"])
    assert set(full.values) == {"x", "c", "n"} and set(full.membranes) == {"n"}
    assert set(some.values) == {"n"} and set(some.membranes) == {"n"}
    assert not run(g, x, record=[]).values
    np.testing.assert_array_equal(some.values["n"], full.values["n"])
    np.testing.assert_array_equal(some.membranes["n"], full.membranes["n"])
    assert full.values["n"].shape == (2, 3, *SHAPE)


def test_samples_do_not_see_each_other() -> None:
    g = graph(C, N)
    x = np.random.default_rng(0).integers(0, 2, (2, 4, 1, 4, 4)).astype(float)
    together = run(g, x).values["n"]
    for k in range(4):
        np.testing.assert_array_equal(run(g, x[:, k : k + 1]).values["n"][:, 0], together[:, k])


@pytest.mark.parametrize(
    ("x", "message", "found"),
    [
        (np.ones((3, 1, 1, 4, 4)), "input %x has the wrong shape", "(3, 1, 1, 4, 4)"),
        (np.ones((2, 1, 4, 4)), "input %x has the wrong shape", "(2, 1, 4, 4)"),
        (np.full((2, 1, 1, 4, 4), 0.5), "outside its domain", "0.5 to 0.5"),
        (np.full((2, 1, 1, 4, 4), np.nan), "outside its domain", "nan to nan"),
        ({"y": np.ones((2, 1, 1, 4, 4))}, "input %x is missing", "y"),
    ],
)
def test_inputs_that_do_not_fit(x: Any, message: str, found: str) -> None:
    with pytest.raises(IRError, match=message) as e:
        run(graph(C, N), x)
    assert e.value.found == found


def test_several_inputs() -> None:
    a, b = Edge("a", (2,), SPIKE), Edge("b", (2,), SPIKE)
    g = build((a, b), [("g", Gate("iand"), ("a", "b"))], ("g",), 1)
    ones, zeros = np.ones((1, 3, 2)), np.zeros((1, 3, 2))
    assert run(g, {"a": zeros, "b": ones}).values["g"].all()
    assert not run(g, {"a": ones, "b": zeros}).values["g"].any()
    with pytest.raises(IRError, match="several inputs"):
        run(g, ones)
    with pytest.raises(IRError, match="differ in batch size"):
        run(g, {"a": ones, "b": ones[:, :2]})


def test_a_value_outside_its_domain_is_caught_while_it_runs() -> None:
    class Liar(Scale):
        def infer(self, *inputs: Edge) -> Any:
            return inputs[0].shape, SPIKE

    g = graph_of([("l", Liar(0.5), ("x",))], steps=2)
    with pytest.raises(IRError, match="outside its domain") as e:
        run(g, np.ones((2, 1, 1, 4, 4)))
    assert (e.value.where, e.value.found, e.value.allowed) == ("%l, step 0", "0.5 to 0.5", "spike")
