"""Loops and delays in Lava: logical time is kept over several samples, or the graph is refused.

Most cases run on ``lava_reference``, a numpy simulation of a Lava program; some run on Lava.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.lava_reference import simulate as simulate_program
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import FIXED, spikes
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Delay, Linear, Neuron, Scale
from purespike.compiler.ir.verify import verify
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.layout import EmitError
from purespike.targets.lava.lower.schedule import Schedule, ScheduleError, schedule
from purespike.targets.lava.program.check import check
from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Lif, Program, Sparse
from purespike.targets.lava.run.guard import run_guarded
from purespike.targets.lava.run.simulate import simulate

MANY: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
Recorded = tuple[dict[str, Any], dict[str, Any]]


def lowered(graph: Graph, x: Array) -> tuple[Schedule, Program]:
    """The program, with the membranes of all neurons recorded."""
    plan = schedule(graph)
    assert plan.misaligned() == ()
    try:
        program = emit(graph, plan, x)
    except EmitError as e:
        # Also a soft reset behind a current that hardly fades: the inhibition would be too strong.
        assert "memoryless" in e.message or "cannot be stopped" in e.message
        assume(False)
    names = tuple(n.name for n in graph.nodes if isinstance(n.op, Neuron))
    program = replace(program, record_v=names)
    check(program)
    return plan, program


def assert_equal(graph: Graph, x: Array, plan: Schedule, found: Recorded) -> None:
    """Spikes and membranes of every neuron at every step of every sample."""
    expected = run(graph, x)
    for recorded, wanted in zip(found, (expected.values, expected.membranes), strict=True):
        for name, rows in recorded.items():
            node = graph.producer(name)
            if node is None or (wanted is expected.values and not node.op.fires):
                continue
            value = from_lava(rows, graph.steps, x.shape[1], plan.depth[name], plan.gap)
            np.testing.assert_array_equal(value, wanted[name], err_msg=f"{name} of\n{graph}")


def reference_equal(graph: Graph, x: Array) -> Program:
    plan, program = lowered(graph, x)
    spiked, membranes = simulate_program(program)
    assert set(membranes) >= set(program.record_v)
    assert_equal(graph, x, plan, (spiked, membranes))
    return program


@settings(max_examples=25, **MANY)
@given(recurrent_graphs(), st.integers(2, 4), st.integers(0, 99))
def test_random_loops_mean_the_same_in_lavas_terms(graph: Graph, samples: int, seed: int) -> None:
    reference_equal(graph, spikes(graph, samples, seed))


@pytest.mark.slow
@settings(max_examples=1000, **MANY)
@given(recurrent_graphs(), st.integers(2, 4), st.integers(0, 99))
def test_many_random_loops_mean_the_same(graph: Graph, samples: int, seed: int) -> None:
    reference_equal(graph, spikes(graph, samples, seed))


@pytest.mark.slow
@settings(max_examples=40, **MANY)
@given(graph=recurrent_graphs(), samples=st.integers(2, 3), seed=st.integers(0, 99))
def test_random_loops_on_lava(
    graph: Graph, samples: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    x = spikes(graph, samples, seed)
    plan, program = lowered(graph, x)
    folder = tmp_path_factory.mktemp("lava")
    write(program, folder)
    result = run_guarded(folder, timeout=120.0)
    assert set(result.membranes) == set(program.record_v)
    assert_equal(graph, x, plan, (result.spikes, result.membranes))


def loop(delay: Any, layers: int = 1, *, bias: float = 0.0, reset: Any = "zero") -> Graph:
    """So many layers in a ring that keeps itself going once it was started, and a readout."""
    r = np.random.default_rng(5)
    nodes: list[Any] = [("late", Delay(delay), (f"n{layers - 1}",))]
    reads = "late"
    for i in range(layers):
        weight = r.integers(41, 60, (3, 3)).astype(float)
        nodes.append((f"l{i}", Linear(weight, np.full(3, bias)), (reads,)))
        current = f"l{i}"
        if i == 0:
            nodes += [("in", Scale(50.0), ("x",)), ("sum", Add(), ("l0", "in"))]
            current = "sum"
        nodes.append((f"n{i}", Neuron(40.0, 1.0, reset, 40.0, fixed=FIXED), (current,)))
        reads = f"n{i}"
    nodes += [
        ("head", Linear(r.integers(-9, 10, (2, 3))), (reads,)),
        ("out", Neuron(np.inf, reset="none", fixed=FIXED), ("head",)),
    ]
    loops = [Edge(f"n{i}", (3,), SPIKE) for i in range(layers)]
    graph = build((Edge("x", (3,), SPIKE),), nodes, ("out",), 5, loops=loops)
    verify(graph)
    return graph


def starts(graph: Graph) -> Array:
    """Two samples that start the ring, and two of silence, in turn."""
    x = np.zeros((graph.steps, 4, 3))
    x[0, ::2] = 1.0
    return x


@pytest.mark.parametrize(
    ("delay", "layers"), [(1, 1), (2, 1), (5, 1), (7, 1), (3, 2), (3, 3), ([1, 2, 3], 1)]
)
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_no_spike_of_a_sample_reaches_the_next(delay: Any, layers: int, reset: Any) -> None:
    graph = loop(delay, layers, reset=reset)
    x = starts(graph)
    values = run(graph, x).values["n0"]
    assert values[:, ::2].any() and not values[:, 1::2].any()  # a ring that goes on, and silence
    reference_equal(graph, x)


def test_a_ring_that_its_biases_drive_starts_at_rest_each_time() -> None:
    graph = loop(3, 2, bias=25.0)
    x = starts(graph)
    assert run(graph, x).values["n0"][:, 1::2].any()
    reference_equal(graph, x)


def without_clocks(program: Program) -> Program:
    """The same program with clocks that never fire."""
    return replace(
        program,
        processes=tuple(
            replace(p, vth=131071) if isinstance(p, Lif) and p.name.endswith(".clock") else p
            for p in program.processes
        ),
    )


def test_without_the_clocks_spikes_leak() -> None:
    # The tests above are worth something only if the silence is needed.
    for graph in (loop(1), loop(3, 2), loop(3, 2, bias=25.0)):
        x = starts(graph)
        plan, program = lowered(graph, x)
        with pytest.raises(AssertionError, match="not equal"):
            assert_equal(graph, x, plan, simulate_program(without_clocks(program)))


def test_a_loop_keeps_its_own_delay() -> None:
    plan = schedule(loop(1))
    lead = plan.depth["x"]
    assert (plan.gap, plan.silenced, lead) == (1, ("n0",), 6)
    assert plan.depth["n0"] == lead + 1 and plan.depth["late"] == lead
    assert {a.synapse: a.delay for a in plan.arrivals} == {"l0": 0, "in": 0, "head": 0}
    slack = schedule(loop(4, 2))
    assert {a.synapse: a.delay for a in slack.arrivals} == {"l0": 2, "in": 0, "l1": 0, "head": 0}


@pytest.mark.parametrize(("delay", "layers"), [(1, 2), (2, 3), (1, 3)])
def test_a_loop_that_is_shorter_than_lavas_clock_is_refused(delay: int, layers: int) -> None:
    with pytest.raises(ScheduleError, match="shorter than Lava's clock") as e:
        schedule(loop(delay, layers))
    ring = [name for i in range(layers) for name in (f"%l{i}", f"%n{i}")]
    turns = [" -> ".join([*ring[k:], *ring[: k + 1]]) for k in range(1, len(ring), 2)]
    assert any(f"the loop {turn} is delayed" in e.value.found for turn in turns)
    assert f"by {delay} step" in e.value.found and f"takes {layers} steps" in e.value.found
    assert e.value.allowed == f"a delay of {layers} steps or more round the loop"


def test_the_longest_of_nested_loops_decides() -> None:
    # Round both layers 2 steps, in which Lava takes 2; round the second alone 1 step, takes 1.
    r = np.random.default_rng(0)
    nodes: list[Any] = [
        ("back", Delay(2), ("b",)),
        ("own", Delay(1), ("b",)),
        ("la", Linear(r.integers(-9, 30, (3, 3))), ("x",)),
        ("lb", Linear(r.integers(-9, 30, (3, 3))), ("back",)),
        ("sa", Add(), ("la", "lb")),
        ("a", Neuron(20.0, fixed=FIXED), ("sa",)),
        ("lc", Linear(r.integers(-9, 30, (3, 3))), ("a",)),
        ("ld", Linear(r.integers(-30, 9, (3, 3))), ("own",)),
        ("sb", Add(), ("lc", "ld")),
        ("b", Neuron(20.0, fixed=FIXED), ("sb",)),
    ]
    graph = build((Edge("x", (3,), SPIKE),), nodes, ("b",), 6, loops=[Edge("b", (3,), SPIKE)])
    assert set(schedule(graph).delays.values()) == {0}
    reference_equal(graph, spikes(graph, 4, 1))


def delayed(steps: Any, weight: Any) -> Graph:
    nodes: list[Any] = [
        ("d", Delay(steps), ("x",)),
        ("l", Linear(weight, np.full(len(weight), 3.0)), ("d",)),
        ("n", Neuron(9.0, fixed=FIXED), ("l",)),
    ]
    return build((Edge("x", (3,), SPIKE),), nodes, ("n",), 6)


def test_delays_by_place_are_the_delays_of_the_synapses() -> None:
    graph = delayed([1, 3, 2], np.arange(-3.0, 3.0).reshape(2, 3) * 3)
    program = reference_equal(graph, spikes(graph, 3, 2))
    (synapse,) = [p for p in program.processes if p.name == "l"]
    assert isinstance(synapse, Sparse) and np.asarray(synapse.delay).tolist() == [1, 3, 2] * 2


def test_a_delay_is_not_longer_than_lava_can() -> None:
    for steps in (70, [1, 70, 2]):
        graph = delayed(steps, np.ones((1, 3)))
        with pytest.raises(EmitError, match="longer than Lava's") as e:
            emit(graph, schedule(graph), np.zeros((6, 1, 3)))
        assert e.value.found == "70 steps added" and e.value.where == "l"
    graph = delayed(62, np.ones((1, 3)))
    assert schedule(graph).delays == {("n", "l"): 62}
    check(emit(graph, schedule(graph), np.zeros((6, 1, 3))))


def test_what_cannot_be_silenced_is_refused() -> None:
    # A soft reset that leaves more than the current's register can take away.
    nodes: list[Any] = [
        ("late", Delay(1), ("n",)),
        ("in", Linear(np.full((1, 600), 127.0)), ("x",)),
        ("back", Scale(1.0), ("late",)),
        ("sum", Add(), ("in", "back")),
        ("n", Neuron(9.0, 1.0, "subtract", 1.0, fixed=FIXED), ("sum",)),
    ]
    graph = build((Edge("x", (600,), SPIKE),), nodes, ("n",), 5, loops=[Edge("n", (1,), SPIKE)])
    with pytest.raises(EmitError, match="cannot be stopped between samples") as e:
        emit(graph, schedule(graph), np.zeros((5, 1, 600)))
    assert e.value.where == "n"


def on_lava(graph: Graph, conv: str) -> None:
    x = np.concatenate([starts(graph), spikes(graph, 2, 1)], axis=1)
    result = simulate(graph, x, conv=conv, jobs=2, timeout=120.0)
    expected = run(graph, x)
    assert result.shards == 2
    for name, value in result.spikes.items():
        np.testing.assert_array_equal(value, expected.values[name])
    np.testing.assert_array_equal(result.membranes["out"], expected.membranes["out"])


def test_loops_and_delays_run_on_lava_in_shards() -> None:
    on_lava(loop([1, 2, 3]), "fast")


@pytest.mark.slow
def test_loops_and_delays_run_on_lavas_own_models() -> None:
    on_lava(loop([1, 2, 3]), "stock")
    on_lava(loop(4, 2, bias=25.0, reset="subtract"), "stock")
