from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from helpers.nir_cases import execute, graphs, samples
from hypothesis import given, settings

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge as GraphEdge
from purespike.compiler.ir.graph import Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Delay, Neuron, Scale
from purespike.compiler.ir.verify import verify
from purespike.targets.nir.emit import to_document, write_nir
from purespike.targets.nir.errors import NirError, NirFileError
from purespike.targets.nir.foreign.read import Conventions, from_foreign
from purespike.targets.nir.read import read_nir
from purespike.targets.nir.schema import check

pytestmark = pytest.mark.usefixtures("parsed_here")

SAID: dict[str, Any] = {
    "dt": 1e-3, "steps": 6, "reset": "zero", "if_r": "step", "domain": SPIKE, "fires": "above"
}  # fmt: skip
IN, OUT = nir.Input(np.array([3])), nir.Output(np.array([3]))
FULL = np.ones(3)
RNG = np.random.default_rng(3)


def file(path: Path, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Path:
    graph = nir.NIRGraph({"in": IN, **nodes, "out": OUT}, edges, type_check=False)
    nir.write(path / "f.nir", graph)
    return path / "f.nir"


def chain(path: Path, *nodes: Any) -> Path:
    names = ["in", *(f"n{i}" for i in range(len(nodes))), "out"]
    inner = dict(zip(names[1:-1], nodes, strict=True))
    return file(path, inner, list(pairwise(names)))


def agree(path: Path, **said: Any) -> Graph:
    """Our reading of a file and the executor of NIR give the same outputs."""
    graph = read_nir(path, **(SAID | said))
    verify(graph)
    written = nir.read(path, type_check=False)
    x = samples(graph)
    values, _ = execute(written, x, graph.dt)
    ours = run(graph, x).values
    assert np.array_equal(ours[graph.outputs[0]], values["out"])
    assert ours[graph.outputs[0]].mean() > 0
    return graph


def affine() -> Any:
    weight = RNG.integers(-3, 4, (3, 3)).astype(np.float32)
    return nir.Affine(weight, np.array([1, 2, 1], np.float32))


def lif(tau: Any = 4e-3, r: Any = 4.0, **more: Any) -> Any:
    values = {"v_leak": 0 * FULL, "v_threshold": 1.5 * FULL, "v_reset": 0 * FULL} | more
    return nir.LIF(tau=tau * FULL, r=r * FULL, **values)


def test_an_integer_threshold_on_integers_becomes_the_next_integer(tmp_path: Path) -> None:
    graph = agree(chain(tmp_path, affine(), nir.IF(FULL, np.array([1, 2, 2]))))
    op = graph.nodes[-1].op
    assert isinstance(op, Neuron) and op.threshold.tolist() == [2, 3, 3]


def test_lif_and_li(tmp_path: Path) -> None:
    graph = agree(chain(tmp_path, affine(), lif(), lif(v_threshold=0.125 * FULL)))
    assert [n.op.decay for n in graph.nodes if isinstance(n.op, Neuron)] == [0.75, 0.75]
    assert not any(isinstance(n.op, Scale) for n in graph.nodes[:2])  # r = tau / dt: gain 1
    agree(chain(tmp_path, affine(), nir.LI(4e-3 * FULL, 4 * FULL, 0 * FULL)))


def test_a_resistance_becomes_a_gain(tmp_path: Path) -> None:
    graph = agree(chain(tmp_path, affine(), lif(r=2.0), lif(r=np.array([4.0, 2, 8]))))
    gains = [n.op.factor.tolist() for n in graph.nodes if isinstance(n.op, Scale)]
    assert gains == [0.5, [1.0, 0.5, 2.0]]


def test_the_r_convention_decides_about_spikes(tmp_path: Path) -> None:
    path = chain(tmp_path, affine(), nir.IF(1000 * FULL, 1.5 * FULL))
    by_step, by_dt = (read_nir(path, **(SAID | {"if_r": r})) for r in ("step", "dt"))
    assert [n.op.factor for n in by_step.nodes if isinstance(n.op, Scale)] == [1000]
    assert not any(isinstance(n.op, Scale) for n in by_dt.nodes)


def test_reset_by_subtraction_takes_the_threshold_of_the_file(tmp_path: Path) -> None:
    path = chain(tmp_path, affine(), nir.IF(FULL, 1.5 * FULL))
    op = read_nir(path, **(SAID | {"reset": "subtract"})).nodes[-1].op
    assert isinstance(op, Neuron) and op.amount == 1.5
    assert op.threshold == np.nextafter(1.5, 2)


def test_pools_become_their_equals(tmp_path: Path) -> None:
    pool = nir.SumPool2d(np.array([2, 3]), np.array([2, 1]), np.array([1, 0]))
    thr = nir.Threshold(np.full((2, 3, 3), 1.0))
    nodes = {"in": nir.Input(np.array([2, 4, 5])), "p": pool, "t": thr,
             "out": nir.Output(np.array([2, 3, 3]))}  # fmt: skip
    edges = [("in", "p"), ("p", "t"), ("t", "out")]
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, edges, type_check=False))
    graph = read_nir(tmp_path / "f.nir", dt=1.0, steps=2, domain=SPIKE, fires="above")
    op = graph.nodes[0].op
    assert isinstance(op, Conv2d) and op.groups == 2
    x = samples(graph)["in"]
    wide = np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1), (0, 0)))
    sums = np.array([[wide[..., 2 * i : 2 * i + 2, j : j + 3].sum((-1, -2)) for j in range(3)]
                     for i in range(3)])  # fmt: skip
    assert np.array_equal(run(graph, x).values["t"], np.moveaxis(sums > 1, (0, 1), (-2, -1)))


def test_recurrence_needs_a_delay_or_a_statement(tmp_path: Path) -> None:
    nodes = {"a": affine(), "s": nir.IF(FULL, FULL), "w": nir.Linear(-np.eye(3))}
    edges = [("in", "a"), ("a", "s"), ("s", "w"), ("w", "s"), ("s", "out")]
    path = file(tmp_path, nodes, edges)
    with pytest.raises(NirFileError, match="loop has no Delay"):
        read_nir(path, **SAID)
    stated = read_nir(path, **SAID, feedback="previous")
    verify(stated)
    nodes["d"] = nir.Delay(1e-3 * FULL)
    path = file(tmp_path, nodes, [*edges[:3], ("w", "d"), ("d", "s"), ("s", "out")])
    explicit = agree(path)
    x = samples(explicit)
    assert np.array_equal(run(stated, x).values["s"], run(explicit, x).values["s"])


def test_delays_by_place(tmp_path: Path) -> None:
    node = nir.Delay(np.array([1e-3, 3e-3, 2e-3]))
    graph = agree(chain(tmp_path, node, nir.IF(FULL, FULL * 0.5)))
    (delay,) = [n.op for n in graph.nodes if isinstance(n.op, Delay)]
    assert not isinstance(delay.steps, int) and delay.steps.tolist() == [1, 3, 2]


@pytest.mark.parametrize("order", ["new", "previous"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_currents_of_this_step_or_the_one_before(order: Any, reset: Any, tmp_path: Path) -> None:
    """NIR's equations by forward Euler; tools differ in which current the membrane takes."""
    node = nir.CubaLIF(
        tau_syn=4e-3 * FULL,
        tau_mem=2e-3 * FULL,
        r=3.0 * FULL,
        v_leak=0 * FULL,
        v_threshold=np.array([0.5, 1.0, 1.5]),
        w_in=2.0 * FULL,
    )
    graph = read_nir(chain(tmp_path, node), **(SAID | {"reset": reset}), current=order)
    verify(graph)
    x = samples(graph)["in"]
    current = v = np.zeros(x.shape[1:])
    expected = []
    for frame in x:
        before = current
        current = current + 1e-3 / 4e-3 * (2.0 * frame - current)
        v = v + 1e-3 / 2e-3 * (-v + 3.0 * (current if order == "new" else before))
        s = v > node.v_threshold
        v = np.where(s, 0.0 if reset == "zero" else v - node.v_threshold, v)
        expected.append(s)
    found = run(graph, x).values[graph.outputs[0]]
    assert 0 < found.mean() < 1
    assert np.array_equal(found, np.stack(expected))


def test_a_loop_with_two_ways_in_is_refused(tmp_path: Path) -> None:
    nodes = {"a": nir.IF(FULL, FULL), "b": nir.IF(FULL, FULL)}
    edges = [("in", "a"), ("in", "b"), ("a", "b"), ("b", "a"), ("b", "out")]
    with pytest.raises(NirFileError, match="not clear"):
        read_nir(file(tmp_path, nodes, edges), **SAID, feedback="previous")


@settings(max_examples=100, deadline=None)
@given(graph=graphs())
def test_our_strict_files_mean_the_same_without_metadata(graph: Graph) -> None:
    """The structure alone carries the spikes, soft reset included."""
    plain = replace(graph, nodes=tuple(
        replace(n, op=replace(n.op, initial=0.0)) if isinstance(n.op, Neuron) else n
        for n in graph.nodes
    ))  # fmt: skip
    plain = plain.rebuilt(plain.nodes)
    document = replace(to_document(plain, strict=True), metadata="")
    stated = Conventions(
        plain.dt, "zero", "step", plain.steps, None, "previous", "new", fires="above"
    )
    read = from_foreign(document, check(document), stated)
    verify(read)
    x = samples(plain)
    names = dict(zip((e.name for e in plain.inputs), (e.name for e in read.inputs), strict=True))
    ours = run(plain, x).values
    theirs = run(read, {names[k]: v for k, v in x.items()}).values
    assert len(plain.outputs) == len(read.outputs)
    for a, b in zip(plain.outputs, read.outputs, strict=True):
        assert np.array_equal(ours[a], theirs[b])


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    path = chain(tmp_path, affine(), nir.IF(FULL, FULL))
    with pytest.raises(NirFileError) as e:
        read_nir(path)
    assert list(e.value.open) == ["dt", "steps", "reset", "if_r", "fires"]
    assert "state steps=N: " in str(e.value) and "--" not in str(e.value)
    spoken = e.value.text("command line")
    for flag in ("--dt SECONDS", "--steps N", "--reset zero|subtract", "--if-r step|dt"):
        assert f"state {flag}: " in spoken
    assert "--spike-input" in spoken
    with pytest.raises(NirFileError, match="leaves open: if_r"):
        read_nir(path, dt=1e-3, steps=4, reset="zero")
    path = chain(tmp_path, nir.CubaLI(*(FULL,) * 4))
    with pytest.raises(NirFileError, match="leaves open: current"):
        read_nir(path, dt=1e-3, steps=4)
    path = chain(tmp_path, nir.Threshold(0.5 * FULL))
    read_nir(path, dt=1e-3, steps=4, domain=SPIKE)  # nothing here depends on reset, r and ties


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (lif(v_leak=FULL), "v_leak other than 0"),
        (lif(v_reset=FULL), "v_reset other than 0"),
        (lif(tau=np.array([1.0, 2, 3])), "tau differs"),
        (lif(tau=1e-4), "longer than the time constant"),
        (nir.Delay(1.5e-3 * FULL), "not a whole number of time steps"),
        (nir.Delay(0 * FULL), "not a whole number of time steps"),
        (nir.Delay(np.array([1e-3, 2e-3, 0.0])), "not a whole number of time steps"),
    ],
)
def test_what_has_no_counterpart_is_refused(node: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(NirFileError, match=message) as e:
        read_nir(chain(tmp_path, node), **SAID)
    assert "node 'n0'" in str(e.value) and str(tmp_path) in str(e.value)


def test_flatten_with_a_batch_axis_is_refused(tmp_path: Path) -> None:
    flat = nir.Flatten({"input": np.array([1, 3])}, start_dim=1)
    nodes = {"in": nir.Input(np.array([1, 3])), "f": flat, "out": nir.Output(np.array([1, 3]))}
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, [("in", "f"), ("f", "out")]))
    with pytest.raises(NirFileError, match=r"start_dim = 0"):
        read_nir(tmp_path / "f.nir", **SAID)


def test_statements_must_make_sense(tmp_path: Path) -> None:
    path = chain(tmp_path, affine())
    for wrong in ({"dt": 0.0}, {"steps": 0}, {"reset": "hard"}, {"if_r": "1"}):
        with pytest.raises((NirError, UsageError)):
            read_nir(path, **(SAID | wrong))


def test_our_files_do_not_take_other_statements(tmp_path: Path) -> None:
    x = GraphEdge("x", (3,), SPIKE)
    graph = build((x,), [("n", Neuron(1.0), ("x",))], ("n",), 4)
    write_nir(graph, tmp_path / "m.nir")
    read_nir(tmp_path / "m.nir", dt=1e-3, steps=4, reset="zero", if_r="step", domain=SPIKE)
    for wrong in ({"dt": 1e-4}, {"steps": 5}, {"reset": "subtract"}, {"if_r": "dt"}):
        with pytest.raises(NirFileError, match="states another"):
            read_nir(tmp_path / "m.nir", **wrong)
