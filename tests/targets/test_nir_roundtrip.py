import io
import json
import math
from pathlib import Path

import nir
import numpy as np
import pytest
from helpers.nir_cases import differences, execute, graphs, samples
from hypothesis import given, settings

from purespike.compiler.ir.domain import ANALOG, SPIKE, Domain, integer
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, FixedPoint, Flatten, Linear, Neuron, Scale
from purespike.compiler.ir.verify import verify
from purespike.compiler.storage import OutputError
from purespike.targets.nir.emit import to_bytes, to_document, to_nir, write_nir
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.read import _own, read_extra, read_nir
from purespike.targets.nir.schema import check

pytestmark = pytest.mark.usefixtures("parsed_here")

RNG = np.random.default_rng(7)
IMAGE = (Edge("x", (2, 6, 6), SPIKE),)


def whole(*shape: int) -> np.ndarray:
    return RNG.integers(-4, 5, shape).astype(float)


def real(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def residual(w=whole) -> Graph:
    """Two blocks; the shortcut meets the branch at the dendrite, and twice over."""
    return build(
        IMAGE,
        [
            ("c1", Conv2d(w(4, 2, 3, 3), None, (1, 1), (1, 1)), ("x",)),
            ("s1", Neuron(2.0), ("c1",)),
            ("c2", Conv2d(w(4, 4, 3, 3), w(4), (1, 1), (1, 1)), ("s1",)),
            ("sum", Add(), ("c2", "s1")),
            ("s2", Neuron(w(4, 1, 1) + 3), ("sum",)),
            ("sew", Add(), ("s2", "s1", "s1")),
            ("f", Flatten(), ("sew",)),
            ("l", Linear(w(5, 144), w(5)), ("f",)),
            ("out", Neuron(np.inf, reset="none"), ("l",)),
        ],
        ("out",),
        4,
    )


def gated() -> Graph:
    """IAND and XOR, as lower_gates leaves them."""
    return build(
        (Edge("a", (3,), SPIKE), Edge("b", (3,), SPIKE)),
        [
            ("not_a", Scale(-1.0), ("a",)),
            ("i", Add(), ("not_a", "b")),
            ("iand", Neuron(1.0, 0.0), ("i",)),
            ("n", Add(), ("a", "b")),
            ("and", Neuron(2.0, 0.0), ("n",)),
            ("veto", Scale(-2.0), ("and",)),
            ("x", Add(), ("a", "b", "veto")),
            ("xor", Neuron(1.0, 0.0), ("x",)),
        ],
        ("iand", "xor"),
        4,
    )


def one(op: Neuron, w=whole, steps: int = 6) -> Graph:
    return build(
        (Edge("x", (5,), SPIKE),),
        [("l", Linear(w(4, 5), w(4)), ("x",)), ("n", op, ("l",))],
        ("n",),
        steps,
    )


FIXED = FixedPoint()
CASES = {
    "residual": residual(),
    "residual float": residual(real),
    "gated": gated(),
    "pooled": build(
        IMAGE,
        [
            ("p", Conv2d(np.ones((2, 1, 2, 2)), None, (2, 2), groups=2), ("x",)),
            ("or", Neuron(1.0, 0.0), ("p",)),
        ],
        ("or",),
        3,
    ),
    "grouped, non-square, dilated": build(
        IMAGE,
        [
            ("c", Conv2d(whole(4, 1, 3, 5), None, (2, 1), (1, 2), (2, 1), 2), ("x",)),
            ("n", Neuron(1.0), ("c",)),
        ],
        ("n",),
        3,
    ),
    "soft": one(Neuron(3.0, reset="subtract")),
    "soft, InfLoR": one(Neuron(0.5, reset="subtract", amount=1.0)),
    "soft, per neuron": one(Neuron(whole(4) + 5, reset="subtract", amount=whole(4) + 5.5)),
    "soft, float": one(Neuron(0.3, 0.9, "subtract", 0.7), real),
    "leaky": one(Neuron(2.0, 0.75)),
    "leaky, odd decay, float": one(Neuron(0.1, 1 / 3), real),
    "leaky, fixed": one(Neuron(3.0, 3584 / 4096, fixed=FIXED)),
    "current": one(Neuron(2.0, 0.75, current_decay=0.5)),
    "current, no leak": one(Neuron(2.0, current_decay=0.875)),
    "current, soft": one(Neuron(2.0, 0.75, "subtract", 1.5, current_decay=0.5)),
    "current, memoryless": one(Neuron(2.0, 0.0, current_decay=0.5)),
    "current, float": one(Neuron(0.1, 1 / 3, current_decay=0.7), real),
    "current, fixed": one(Neuron(3.0 + 2**-6, 0.875, fixed=FIXED, current_decay=0.75)),
    "current, integrator, float": one(Neuron(0.0, 0.9, "none", current_decay=0.7), real),
    "integrator": one(Neuron(0.0, reset="none")),
    "leaky integrator, float": one(Neuron(0.0, 0.9, "none"), real),
    "initial": one(Neuron(2.0, initial=1.5)),
    "zero threshold, float": one(Neuron(0.0), real),
    "delay": build(
        (Edge("x", (3,), SPIKE),),
        [("d", Delay(2), ("x",)), ("a", Add(), ("x", "d")), ("n", Neuron(2.0), ("a",))],
        ("n", "d"),
        5,
    ),
    "delays by place": build(
        (Edge("x", (3,), SPIKE),),
        [("d", Delay([3, 1, 2]), ("x",)), ("n", Neuron(1.0), ("d",))],
        ("n", "d"),
        5,
    ),
    "input is output": build((Edge("x", (3,), SPIKE),), [], ("x",), 2),
    "wide domains": build(
        (Edge("x", (3,), Domain(-math.inf, math.inf, 1)), Edge("y", (3,), ANALOG)),
        [("a", Add(), ("x", "y")), ("n", Neuron(2.0), ("a",))],
        ("n",),
        2,
        dt=1 / 3,
    ),
    "sixteen bits": build(
        (Edge("x", (2,), SPIKE),),
        [("l", Linear([[-128, 127], [128, -3]], [2**31, 0]), ("x",)), ("n", Neuron(2**15), ("l",))],
        ("n",),
        2,
    ),
    "odd names": build(
        (Edge("in put/0", (2,), SPIKE),),
        [(".block[0].λ", Neuron(1.0), ("in put/0",)), ("output", Scale(3.0), (".block[0].λ",))],
        ("output", "in put/0"),
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_our_files_come_back_equal(name: str, strict: bool, tmp_path: Path) -> None:
    if strict and name in ("initial", "leaky, fixed", "current, fixed", "current, soft"):
        pytest.skip("refused by strict; see test_nir_refused.py")
    graph, path = CASES[name], tmp_path / "m.nir"
    write_nir(graph, path, strict=strict)
    again = read_nir(path)
    assert differences(graph, again) == []
    verify(again)
    x = samples(graph)
    a, b = run(graph, x), run(again, x)
    assert all(np.array_equal(a.values[n], b.values[n]) for n in a.values)
    assert all(np.array_equal(a.membranes[n], b.membranes[n]) for n in a.membranes)
    write_nir(again, tmp_path / "n.nir", strict=strict)
    assert path.read_bytes() == (tmp_path / "n.nir").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.nir", "n.nir"]


def test_extra_metadata_comes_back(tmp_path: Path) -> None:
    extra = {"scale": [0.1, None], "who": "θ"}
    write_nir(gated(), tmp_path / "m.nir", extra=extra)
    assert read_extra(tmp_path / "m.nir") == extra


@settings(max_examples=150, deadline=None)
@given(graph=graphs(real=True))
def test_random_graphs_come_back_equal(graph: Graph) -> None:
    document = to_document(graph)
    assert differences(graph, _own(document, check(document), Conventions())) == []


@settings(max_examples=15, deadline=None)
@given(graph=graphs())
def test_random_files_come_back_equal(graph: Graph, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("random") / "m.nir"
    write_nir(graph, path)
    assert differences(graph, read_nir(path)) == []


def test_other_tools_open_our_files(tmp_path: Path) -> None:
    write_nir(residual(), tmp_path / "m.nir")
    graph = nir.read(tmp_path / "m.nir")  # with nir's own type check
    kinds = {n: type(v).__name__ for n, v in graph.nodes.items()}
    assert kinds == {
        "x": "Input", "c1": "Conv2d", "s1": "IF", "c2": "Conv2d", "s2": "IF", "f": "Flatten",
        "s1.times2": "Scale", "l": "Affine", "out": "I", "output": "Output",
    }  # fmt: skip
    assert graph.nodes["c1"].weight.dtype == np.int8
    assert graph.nodes["c2"].bias.dtype == np.int32
    assert graph.nodes["s1"].v_threshold.dtype == np.int32
    assert np.unique(graph.nodes["s1"].v_threshold) == [1]  # fires on v > 1, that is v >= 2
    assert set(graph.edges) == {
        ("x", "c1"), ("c1", "s1"), ("s1", "c2"), ("c2", "s2"), ("s1", "s2"), ("s2", "f"),
        ("s1", "s1.times2"), ("s1.times2", "f"), ("f", "l"), ("l", "out"), ("out", "output"),
    }  # fmt: skip
    said = json.loads(graph.metadata["purespike"])
    assert (said["dt"], said["steps"], said["format"]) == (1e-3, 4, 1)


def test_integers_take_the_smallest_type_that_holds_them() -> None:
    nodes = to_nir(CASES["sixteen bits"]).nodes
    assert (nodes["l"].weight.dtype, nodes["l"].bias.dtype) == (np.int16, np.int64)
    assert to_nir(CASES["residual float"]).nodes["c1"].weight.dtype == np.float64


def test_strict_lowers_soft_reset_to_a_loop_of_plain_nodes() -> None:
    graph = to_nir(CASES["soft"], strict=True)
    kinds = {n: type(v).__name__ for n, v in graph.nodes.items()}
    assert kinds == {"x": "Input", "l": "Affine", "n": "Threshold", "n.membrane": "I",
                     "n.reset": "Scale", "output": "Output"}  # fmt: skip
    loop = {("n.membrane", "n"), ("n", "n.reset"), ("n.reset", "n.membrane")}
    assert loop < set(graph.edges)
    assert np.unique(graph.nodes["n.reset"].scale) == [-3]


def check_executor(graph: Graph, strict: bool) -> int:
    written = to_nir(graph, strict=strict)
    said = json.loads(written.metadata["purespike"])
    x = samples(graph)
    ours = run(graph, x)
    feeds = {i["node"]: x[i["name"]] for i in said["inputs"]}
    values, membranes = execute(written, feeds, graph.dt, metadata=not strict)
    compared = 0
    for record in said["nodes"]:
        if "node" not in record:
            continue
        assert np.array_equal(ours.values[record["name"]], values[record["node"]]), record
        if record["node"] in membranes and not strict:
            assert np.array_equal(ours.membranes[record["name"]], membranes[record["node"]])
        compared += values[record["node"]].size
    for record in said["outputs"]:
        assert np.array_equal(ours.values[record["name"]], values[record["node"]])
    return compared


EXACT = [n for n in CASES if "float" not in n and n != "wide domains"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", EXACT)
def test_an_executor_of_nir_sees_the_same_spikes(name: str, strict: bool) -> None:
    if name.endswith(", fixed") or (strict and name in ("initial", "current, soft")):
        pytest.skip("NIR has no rounding, no initial membrane, no soft reset behind a current")
    check_executor(CASES[name], strict)


@pytest.mark.parametrize("name", [n for n in CASES if "float" in n])
def test_real_numbers_agree_to_rounding(name: str) -> None:
    graph = CASES[name]
    x = samples(graph)
    written, ours = to_nir(graph), run(graph, x)
    values, membranes = execute(written, x, graph.dt)
    for node, array in membranes.items():
        assert np.allclose(ours.membranes[node], array, rtol=0, atol=1e-9)
    assert np.allclose(ours.values[graph.outputs[0]], values["output"], rtol=0, atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(graph=graphs())
def test_an_executor_of_nir_agrees_on_random_graphs(graph: Graph) -> None:
    check_executor(graph, strict=False)
    if all(getattr(n.op, "initial", 0.0) == 0 for n in graph.nodes):
        check_executor(graph, strict=True)


@pytest.mark.parametrize("decay", [3584 / 4096, 0.0, 1.0])
def test_fixed_point_thresholds_separate_the_same_membranes(decay: float) -> None:
    op = Neuron(2.0, decay, fixed=FIXED)
    graph = build((Edge("x", (1,), integer(8)),), [("n", op, ("x",))], ("n",), 2)
    node = to_nir(graph).nodes["n"]
    strict = float(getattr(node, "v_threshold", getattr(node, "threshold", None))[0])
    assert strict == (2 - 1 / 64 if 0 < decay < 1 else 1)
    units = np.arange(-300, 300) if 0 < decay < 1 else 64 * np.arange(-5, 5)
    assert np.array_equal(units / 64 >= 2.0, units / 64 > strict)


def test_an_existing_file_survives_a_failed_write(tmp_path: Path) -> None:
    path = tmp_path / "m.nir"
    write_nir(gated(), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="must be JSON"):
        write_nir(residual(), path, extra={"x": object()})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    with pytest.raises(OutputError, match="no file can be put here"):
        write_nir(residual(), tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_what_the_nir_package_makes_of_the_graph(name: str) -> None:
    """Written node by node, which needs a third of the memory, it has the same bytes."""
    for strict in {False, name == "soft"}:
        theirs = io.BytesIO()
        nir.write(theirs, to_nir(CASES[name], strict=strict))
        assert to_bytes(CASES[name], strict=strict) == theirs.getvalue()
