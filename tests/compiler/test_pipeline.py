"""Passes are held to their promises; the ledger's numbers are those of a second computation."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import FIXED, spikes, trained_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.divergence import first_divergence
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, IRError, Node
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Flatten,
    Gate,
    Linear,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.passes.quantize.quantize import QuantizeError
from purespike.compiler.pipeline import (
    REWRITES,
    SAME,
    Pass,
    PassError,
    Promise,
    close,
    compile_graph,
    standard_pipeline,
)
from purespike.compiler.proofs.counts import Counts

R = np.random.default_rng(0)


def network(*, spiking: bool = True) -> Graph:
    nodes: list[Any] = [
        ("c", Conv2d(R.normal(0.5, 1.0, (2, 1, 3, 3))), ("x",)),
        ("n", Neuron(0.7), ("c",)),
        ("f", Flatten(), ("n",)),
        ("l", Linear(R.normal(size=(3, 8)), R.normal(size=3)), ("f",)),
    ]
    last = ("o", Neuron(0.3), ("l",)) if spiking else ("o", TimeMean(4), ("l",))
    return graph_of([*nodes, last], steps=4)


def with_op(graph: Graph, name: str, op: Any) -> Graph:
    nodes = [replace(n, op=op) if n.name == name else n for n in graph.nodes]
    return graph.rebuilt(nodes)


def once(graph: Graph, rewrite: Any, promise: Promise = SAME, probe: Array | None = None) -> Any:
    probe = spikes(graph, 3, 0) if probe is None else probe
    return compile_graph(graph, [Pass("liar", rewrite, promise)], probe)


def test_a_pass_that_does_nothing() -> None:
    graph = network()
    compiled = once(graph, lambda g: g)
    (line,) = compiled.ledger
    assert (line.name, line.promise, line.deviation, line.agreement) == ("liar", SAME, 0.0, 1.0)
    assert line.divergence is None and line.notes == ()
    assert (line.nodes_before, line.nodes_after) == (5, 5)
    assert list(compiled.stages) == ["captured", "liar"] and compiled.graph is graph


def test_a_pass_that_moves_a_readout_is_caught() -> None:
    graph = network(spiking=False)
    layer = graph.producer("l")
    assert layer is not None and isinstance(layer.op, Linear)
    moved = Linear(layer.op.weight, layer.op.bias + 0.25 if layer.op.bias is not None else None)
    with pytest.raises(PassError, match="pass liar broke its promise: same") as e:
        once(graph, lambda g: with_op(g, "l", moved))
    assert e.value.found == "outputs moved by 0.25" and e.value.allowed == "0"
    assert e.value.where == "no spike differs"
    with pytest.raises(PassError, match=r"broke its promise: close \(0.2\)"):
        once(graph, lambda g: with_op(g, "l", moved), close(0.2))
    (line,) = once(graph, lambda g: with_op(g, "l", moved), close(0.3)).ledger
    assert line.deviation == pytest.approx(0.25)
    (line,) = once(graph, lambda g: with_op(g, "l", moved), REWRITES).ledger
    assert line.deviation == pytest.approx(0.25)


def test_a_pass_that_changes_one_spike_before_the_last_step_is_caught() -> None:
    graph = network()
    for name in ("n", "o"):
        with pytest.raises(PassError, match="pass liar broke its promise"):
            once(graph, lambda g, name=name: with_op(g, name, Neuron(2.0)))


@pytest.mark.parametrize("op", [Gate("and"), Gate("or")])
def test_a_pass_that_changes_spikes_of_a_gate_is_caught_at_every_step(op: Gate) -> None:
    # Only the first of four steps has spikes: the last one shows nothing.
    graph = graph_of([("n", Neuron(1.0), ("x",)), ("g", op, ("x", "n"))], steps=4)
    probe = np.zeros((4, 2, 1, 4, 4))
    probe[0] = 1.0
    with pytest.raises(PassError, match="pass liar broke its promise"):
        once(graph, lambda g: with_op(g, "g", Gate("xor")), probe=probe)


def test_a_pass_that_is_ill_formed_is_named() -> None:
    graph = network()

    def wrong(g: Graph) -> Graph:
        bad = replace(g.nodes[0], output=Edge("c", (2, 9, 9), g.nodes[0].output.domain))
        return replace(g, nodes=(bad, *g.nodes[1:]))

    with pytest.raises(PassError, match="pass liar left an ill-formed graph: the op makes") as e:
        once(graph, wrong)
    assert e.value.where == "%c (module c)"
    with pytest.raises(PassError, match="pass liar left an ill-formed graph: output %lost"):
        once(graph, lambda g: replace(g, outputs=("lost",)))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda g: replace(g, outputs=()),
        lambda g: replace(g, outputs=("o", "n")),
        lambda g: replace(g, outputs=("n",)),  # another shape
        lambda g: replace(g, steps=3),
        lambda g: replace(g, inputs=(Edge("x", (1, 4, 4), SPIKE), Edge("y", (1,), SPIKE))),
    ],
)
def test_a_pass_that_changes_the_interface_is_named(rewrite: Any) -> None:
    with pytest.raises(PassError, match="pass liar"):
        once(network(), rewrite)
    with pytest.raises(PassError, match="pass liar"):
        once(network(), rewrite, REWRITES)


def test_a_pass_whose_graph_breaks_while_it_runs_is_named() -> None:
    class Liar(Scale):
        def infer(self, *inputs: Edge) -> Any:
            return inputs[0].shape, inputs[0].domain

    graph = graph_of([("s", Scale(1.0), ("x",)), ("n", Neuron(1.0), ("s",))])
    with pytest.raises(PassError, match="pass liar") as e:
        once(graph, lambda g: with_op(g, "s", Liar(0.5)))
    assert "%s, step 0" in e.value.where


def test_what_a_pass_refuses_is_passed_on() -> None:
    graph = graph_of([("c", Conv2d(np.ones((1, 1, 1, 1))), ("x",))])
    with pytest.raises(QuantizeError, match="reaches no neuron"):
        compile_graph(graph, standard_pipeline().chip, spikes(graph, 1, 0))


def test_ill_formed_input_graph_is_refused_before_any_pass() -> None:
    graph = network()
    with pytest.raises(IRError, match="written by no node"):
        once(replace(graph, outputs=("lost",)), lambda g: g)


def test_auxiliary_outputs_are_not_compared() -> None:
    graph = graph_of([("n", Neuron(1.0), ("x",)), ("a", Neuron(2.0), ("x",))], "n", "a")
    nodes = [replace(n, role="auxiliary") if n.name == "a" else n for n in graph.nodes]
    graph = graph.rebuilt(nodes)
    (line,) = once(graph, lambda g: with_op(g, "a", Neuron(1.0))).ledger
    assert line.deviation == 0.0
    (line,) = once(graph, lambda g: replace(g, nodes=g.nodes[:1], outputs=("n",))).ledger
    assert (line.nodes_before, line.nodes_after) == (2, 1)


def test_ledger_counts_and_order() -> None:
    def drop(g: Graph) -> Graph:
        return g.rebuilt([g.nodes[0], replace(g.nodes[-1], inputs=("c",))])

    graph = graph_of(
        [("c", Scale(2.0), ("x",)), ("a", Add(), ("c", "c")), ("n", Neuron(2.0), ("a",))]
    )
    seen: list[str] = []
    compiled = compile_graph(
        graph,
        [
            Pass("drop", drop, SAME, lambda before, after: ("dropped a",)),
            Pass("none", lambda g: g, SAME),
        ],
        spikes(graph, 2, 0),
        seen.append,
    )
    assert seen == ["drop", "none"] and list(compiled.stages) == ["captured", "drop", "none"]
    line = compiled.ledger[0]
    assert (line.nodes_before, line.nodes_after, line.notes) == (3, 2, ("dropped a",))
    assert line.counts_before == Counts(ac=32, add=16, cmp=16)  # twice %c is two arrays
    assert line.counts_after == Counts(ac=16, add=16, cmp=16)


def test_agreement_and_first_divergence() -> None:
    """One neuron of two, hand-made: currents 1, 1, 1 and 0.5, 1, 1 against thresholds."""
    edge = Edge("x", (2,), SPIKE)
    graph = Graph(
        (edge,),
        (
            Node(Scale([1.0, 0.5]), ("x",), Edge("s", (2,), SPIKE)),
            Node(Neuron(1.0, 0.5, initial=0.125), ("s",), Edge("n", (2,), SPIKE)),
        ),
        ("n",),
        3,
    )
    graph = graph.rebuilt(graph.nodes)
    probe = np.ones((3, 2, 2))
    probe[:, 0] = 0.0  # the first sample is silent
    # Second sample, second neuron: 0.5625, 0.78125, 0.890625: never 1, at step 1 already 0.75.
    after = with_op(graph, "n", Neuron(0.75, 0.5, initial=0.125))
    (line,) = once(graph, lambda g: after, REWRITES, probe).ledger
    d = line.divergence
    assert d is not None
    assert (d.node, d.step, d.index, d.before, d.after) == ("n", 1, (1, 1), 0.0, 1.0)
    assert d.margin == 1.0 - 0.78125
    a, b = run(graph, probe).values["n"], run(after, probe).values["n"]
    assert line.agreement == (a == b).mean() < 1
    assert line.deviation == 1.0
    assert d.membranes == (0.78125, 0.78125)
    assert line.layers == {"n": line.agreement}
    assert str(d) == "n step 1 index (1, 1): 0 -> 1, membrane 0.78125 -> 0.78125, margin 0.219"


def test_margin_at_the_first_step_starts_from_the_initial_membrane() -> None:
    graph = graph_of([("n", Neuron(2.0, 0.5, initial=0.5), ("x",))])
    line = once(graph, lambda g: with_op(g, "n", Neuron(1.0)), REWRITES, np.ones((3, 1, 1, 4, 4)))
    divergence = line.ledger[0].divergence
    assert (divergence.step, divergence.margin) == (0, 2.0 - 1.25)


def test_first_divergence_in_time_before_order() -> None:
    graph = graph_of([("a", Neuron(1.0), ("x",)), ("b", Neuron(1.0), ("x",))], "a", "b")
    x = np.zeros((3, 1, 1, 4, 4))
    late, early = x.copy(), x.copy()
    late[2, 0, 0, 1, 2] = early[1, 0, 0, 3, 3] = 1.0
    base = run(graph, x)
    changed = replace(base, values={**base.values, "a": late, "b": early})
    found = first_divergence(graph, base, changed, ["a", "b"])
    assert found is not None
    assert (found.node, found.step, found.index, found.margin) == ("b", 1, (0, 0, 3, 3), 1.0)
    assert first_divergence(graph, base, base, ["a", "b"]) is None


def test_margin_by_channel_and_in_fixed_point() -> None:
    threshold = np.array([3.0, 5.0]).reshape(2, 1, 1)
    op = Neuron(threshold, 3 / 4096, fixed=FIXED)
    graph = graph_of([("c", Conv2d(np.ones((2, 1, 1, 1))), ("x",)), ("n", op, ("c",))], steps=2)
    x = np.ones((2, 1, 1, 4, 4))
    base = run(graph, x)
    spikes_after = base.values["n"].copy()
    spikes_after[1, 0, 1, 0, 0] = 1.0
    changed = replace(base, values={**base.values, "n": spikes_after})
    found = first_divergence(graph, base, changed, ["n"])
    # The chip forgets: 64 * 3 / 4096 of a unit rounds to nothing.
    assert found is not None and found.margin == 4.0


def test_quantized_readout_is_compared_in_real_units() -> None:
    graph = network(spiking=False)
    compiled = compile_graph(graph, standard_pipeline(), spikes(graph, 4, 0))
    line = compiled.ledger[-1]
    x = spikes(graph, 4, 0)
    before = list(compiled.stages.values())[-2]
    u = run(before, x).values["o"][-1]
    v = run(compiled.graph, x).values["o"][-1]
    scale = 127 / np.abs(before.producer("l").op.weight).max()  # type: ignore[union-attr]
    assert line.name == "quantize" and line.promise == REWRITES
    assert line.deviation == pytest.approx(np.abs(u - v / scale).max(), rel=1e-9)
    assert line.deviation > 0


def test_the_standard_passes_and_their_promises() -> None:
    passes = list(standard_pipeline())
    assert [p.name for p in passes] == [
        "strip_auxiliary",
        "fuse_batchnorm",
        "fold_scales",
        "fold_constants",
        "unroll_levels",
        "lower_gates",
        "merge_equal",
        "remove_dead",
        "split_host",
        "quantize",
    ]
    assert [str(p.promise) for p in passes] == [
        "same",
        "close (1e-09)",
        "close (1e-09)",
        "close (1e-09)",
        "close (1e-09)",
        "same",
        "same",
        "close (1e-09)",
        "same",
        "rewrites meaning",
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(trained_graphs(), st.integers(0, 2**16))
def test_random_graphs_through_all_passes(graph: Graph, seed: int) -> None:
    try:
        compiled = compile_graph(graph, standard_pipeline(), spikes(graph, 3, seed))
    except QuantizeError as e:  # an average that cannot be folded stays
        assert "AvgPool2d" in e.found, e
        return
    assert [line.name for line in compiled.ledger] == list(compiled.stages)[1:]
    for line in compiled.ledger[:-1]:
        assert line.deviation <= 1e-9 and line.agreement in (1.0, None)  # no layer to compare
        assert (line.agreement is None) == (not line.layers)
    assert all(0 <= (line.agreement or 0) <= 1 for line in compiled.ledger)
    assert not any(isinstance(n.op, AvgPool2d) for n in compiled.graph.nodes)


def test_errors_are_of_one_family() -> None:
    assert issubclass(PassError, PurespikeError) and issubclass(IRError, PurespikeError)
    e = PurespikeError("it broke", found="2", allowed="1", where="net.fc", remedy="use 1")
    assert str(e) == "it broke\n  where: net.fc\n  found: 2\n  allowed: 1\n  to do: use 1"
    assert str(PurespikeError("it broke")) == "it broke"


def test_a_short_probe_compares_the_beginning_and_says_so() -> None:
    graph = network()
    x = spikes(graph, 3, 0)
    whole = compile_graph(graph, standard_pipeline(), x)
    short = compile_graph(graph, standard_pipeline(), x[:2])
    assert str(short.graph) == str(whole.graph)
    note = "spikes compared on the first 2 of 4 steps, readouts not"
    assert all(line.notes[-1] == note for line in short.ledger)
    assert not any(note in line.notes for line in whole.ledger)
    broken = with_op(graph, "o", Neuron(-99.0))  # fires at every step
    with pytest.raises(PassError, match="broke its promise") as e:
        once(graph, lambda g: broken, probe=x[:2])
    assert "step 0" in e.value.where or "step 1" in e.value.where


def test_only_the_stages_asked_for_are_kept_and_the_last_one() -> None:
    graph, seen, alive = network(), [], []

    def copy(g: Graph) -> Graph:
        alive.append([r() is not None for r in seen])
        seen.append(weakref.ref(g))
        return g.rebuilt(g.nodes)

    passes = [Pass(name, copy, SAME) for name in "abcd"]
    whole = compile_graph(graph, passes, spikes(graph, 3, 0))
    assert list(whole.stages) == ["captured", *"abcd"] and alive.pop() == [True, True, True]
    seen.clear()
    lean = compile_graph(graph, passes, spikes(graph, 3, 0), keep=("b",))
    # Of what the passes got: captured, which this test holds, a, and b. The last got c.
    assert alive.pop() == [True, False, True]
    assert list(lean.stages) == ["b", "d"] and lean.graph is lean.stages["d"]
    assert lean.ledger == whole.ledger
