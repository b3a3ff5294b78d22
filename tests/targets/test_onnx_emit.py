"""The file: names, types, versions, metadata, bytes; and what is refused before it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.onnx_cases import LOIHI, difference, layout_of, realise
from onnx import ModelProto, TensorProto, checker, helper

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE, TERNARY, Domain, integer
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.storage import OutputError
from purespike.targets.onnx import (
    OnnxError,
    float_tensors,
    operators,
    read_onnx,
    run_onnx,
    sequence_model,
    step_model,
    write_onnx,
)
from purespike.targets.onnx.graph import read_graph

X = Edge("x", (2, 4, 4), SPIKE)
IF = Neuron(np.array(9.0), fixed=LOIHI)
CONV = Conv2d(np.arange(36.0).reshape(2, 2, 3, 3) - 17, padding=(1, 1))


def residual(steps: int = 3) -> Graph:
    """Two convolutions, an OR shortcut, a delayed branch, a soft reset and a readout."""
    return build(
        (X,),
        [
            ("conv", CONV, ("x",)),
            ("first", IF, ("conv",)),
            ("wide", Conv2d(np.ones((2, 1, 1, 1)), groups=2), ("first",)),
            ("second", Neuron(np.array(2.0), reset="subtract", fixed=LOIHI), ("wide",)),
            ("late", Delay(2), ("second",)),
            ("join", Gate("or"), ("late", "first")),
            ("flat", Flatten(), ("join",)),
            ("head", Linear(np.ones((3, 32))), ("flat",)),
            ("out", Neuron(np.array(0.0), reset="none", fixed=LOIHI), ("head",)),
        ],
        ("out", "join"),
        steps,
        dt=2e-3,
    )


def one(op: Op, edge: Edge = X, *, then: Op | None = None) -> Graph:
    nodes = [("it", op, (edge.name,))] + ([("after", then, ("it",))] if then else [])
    graph = build((edge,), nodes, (nodes[-1][0],), 2)
    return replace(
        graph, nodes=tuple(replace(n, origin=f"net.block.{n.name}") for n in graph.nodes)
    )


def signature(values: Any) -> dict[str, tuple[str, list[Any]]]:
    return {
        v.name: (
            TensorProto.DataType.Name(v.type.tensor_type.elem_type),
            [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
        )
        for v in values
    }


def facts(model: ModelProto) -> dict[str, Any]:
    return {p.key.removeprefix("purespike."): json.loads(p.value) for p in model.metadata_props}


def test_step_has_readable_inputs_states_and_outputs() -> None:
    model = step_model(residual())
    states = {
        "first_v": ("INT32", ["N", 2, 4, 4]),
        "second_v": ("INT32", ["N", 2, 4, 4]),
        "out_v": ("INT32", ["N", 3]),
        "late_d1": ("UINT8", ["N", 2, 4, 4]),
        "late_d2": ("UINT8", ["N", 2, 4, 4]),
    }
    assert signature(model.graph.input) == {"x": ("UINT8", ["N", 2, 4, 4])} | {
        f"{k}_in": v for k, v in states.items()
    }
    assert signature(model.graph.output) == {
        "out": ("INT32", ["N", 3]),
        "join": ("UINT8", ["N", 2, 4, 4]),
    } | {f"{k}_out": v for k, v in states.items()}


def test_sequence_has_a_time_axis_on_all_but_states() -> None:
    model = sequence_model(residual(7))
    assert signature(model.graph.input)["x"] == ("UINT8", [7, "N", 2, 4, 4])
    assert signature(model.graph.input)["out_v_in"] == ("INT32", ["N", 3])
    assert signature(model.graph.output)["join"] == ("UINT8", [7, "N", 2, 4, 4])
    assert signature(model.graph.output)["out_v_out"] == ("INT32", ["N", 3])


@pytest.mark.parametrize("emit", [step_model, sequence_model])
@pytest.mark.parametrize("taps", [False, True])
def test_model_is_valid_pinned_and_free_of_floats(
    emit: Callable[..., ModelProto], taps: bool
) -> None:
    model = emit(residual(), taps=taps)
    checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (10, 21)
    assert float_tensors(model) == []
    assert signature(model.graph.output).keys() >= ({"first", "second_v"} if taps else {"out"})


def test_float_tensors_finds_floats_everywhere() -> None:
    model = sequence_model(residual())
    model.opset_import.append(helper.make_opsetid("other", 1))
    body = next(a.g for a in model.graph.node[0].attribute if a.name == "body")
    body.node.append(helper.make_node("Cast", ["step/x"], ["half"], to=TensorProto.FLOAT16))
    body.initializer.append(onnx.numpy_helper.from_array(np.zeros(2), "spare"))
    body.node.append(
        helper.make_node(
            "Constant", [], ["k"], name="k", value=onnx.numpy_helper.from_array(np.float32(1))
        )
    )
    body.node.append(helper.make_node("NoSuchOperator", ["step/x"], ["untyped"], domain="other"))
    assert float_tensors(model) == [
        "half: FLOAT16",
        "k.value: FLOAT",
        "k: FLOAT",
        "spare: DOUBLE",
        "untyped: UNDEFINED",
    ]


def test_integrate_and_fire_needs_no_multiplication() -> None:
    assert "Mul" not in operators(step_model(residual()))
    leaky = one(CONV, then=replace(IF, decay=0.5))
    assert operators(step_model(leaky))["Mul"] == 3  # x 64, x decay, sign


def test_one_to_one_synapse_selects_and_does_not_multiply() -> None:
    graph = one(Scale(np.array([[[3.0]], [[-4.0]]])), then=IF)
    assert "Mul" not in operators(step_model(graph))


def test_metadata_says_what_the_graph_was() -> None:
    graph = one(CONV, then=replace(IF, initial=-2.0))
    notes = {"scales": {"it": 0.125}, "boundaries": {"input": "events", "readout": "argmax"}}
    found = facts(step_model(graph, notes=notes))
    assert (found["form"], found["T"], found["dt"]) == ("step", 2, 1e-3)
    assert found["nodes"]["it"] == {"op": "Conv2d", "origin": "net.block.it"}
    assert found["domains"]["x"] == "spike"
    assert found["states"] == [
        {
            "node": "after",
            "before": "after_v_in",
            "after": "after_v_out",
            "dtype": "int32",
            "shape": [2, 4, 4],
            "initial": -2,
        }
    ]
    assert found["membrane_units"] == {"after": 1}
    assert found["tool"].startswith("purespike ")
    assert found["scales"] == notes["scales"]
    assert found["boundaries"] == notes["boundaries"]
    with pytest.raises(OnnxError, match="reserved"):
        step_model(graph, notes={"T": 3})
    with pytest.raises(OnnxError, match="not JSON"):
        step_model(graph, notes={"scale": float("nan")})


@pytest.mark.parametrize("form", ["step", "sequence"])
def test_same_graph_same_bytes_and_whole_files_only(form: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_onnx(residual(), first, form)
    write_onnx(residual(), second, form)
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(OnnxError):
        write_onnx(one(CONV, then=replace(IF, fixed=None)), first, form)
    assert first.read_bytes() == second.read_bytes()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="no file can be put here"):
        write_onnx(residual(), tmp_path / "folder", form)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "folder"]
    with pytest.raises(UsageError, match="onnx"):
        write_onnx(residual(), first, "loop")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["step", "sequence"])
@pytest.mark.parametrize("taps", [False, True])
def test_file_runs_as_the_model_does(form: Any, taps: bool, tmp_path: Path) -> None:
    graph, path = residual(), tmp_path / "model.onnx"
    write_onnx(graph, path, form, taps=taps)
    x = np.random.default_rng(1).integers(0, 2, (3, 4, 2, 4, 4), dtype=np.uint8)
    assert difference(run(graph, x), run_onnx(path, graph, x), graph) == ""
    assert difference(run(graph, x), run_onnx(str(path), graph, x, threads=2), graph) == ""


@pytest.mark.parametrize("top", [1, 128, 129, 255])
def test_bytes_as_input_are_exact(top: int) -> None:
    edge = Edge("x", (2, 5, 5), Domain(0, top, 1))
    rng = np.random.default_rng(top)
    weight = rng.choice([-128.0, 127.0], (4, 2, 3, 3))
    graph = build(
        (edge,),
        [
            ("conv", Conv2d(weight, padding=(1, 1)), ("x",)),
            ("n", Neuron(np.array(5000.0), fixed=LOIHI), ("conv",)),
            ("pool", MaxPool2d((2, 2), (2, 2), (1, 1)), ("x",)),
            ("flat", Flatten(), ("pool",)),
            ("head", Linear(rng.choice([-128.0, 127.0], (3, 18)) // 16), ("flat",)),
            ("out", Neuron(np.array(0.0), reset="none", fixed=LOIHI), ("head",)),
        ],
        ("n", "out", "pool"),
        4,
    )
    x = rng.choice([0, top], (4, 2, 2, 5, 5)).astype(np.uint8)
    x[0] = top
    for model in (step_model(graph), sequence_model(graph)):
        for executor in ("onnxruntime", "reference"):
            found = run_onnx(model, graph, x, executor=executor)
            assert difference(run(graph, x), found, graph) == ""


WIDE = {"positive": (0, 255, 1), "negative": (-255, 0, 1), "even": (-256, 254, 2)}


@pytest.mark.parametrize("signs", WIDE)
@pytest.mark.parametrize("top", [1, 255])
def test_mantissas_beyond_int8_are_exact_and_read_back(
    signs: str, top: int, tmp_path: Path
) -> None:
    low, high, step = WIDE[signs]
    rng = np.random.default_rng(top)

    def weight(*shape: int) -> Any:
        w = rng.integers(low // step, high // step + 1, shape) * float(step)
        w.flat[:2] = low, high
        return w

    graph = build(
        (Edge("x", (2, 5, 5), Domain(0, top, 1)),),
        [
            ("conv", Conv2d(weight(4, 2, 3, 3), np.arange(4) - 2.0, padding=(1, 1)), ("x",)),
            ("n", Neuron(np.array(900.0), fixed=LOIHI), ("conv",)),
            ("flat", Flatten(), ("n",)),
            ("plain", Linear(weight(6, 100)), ("flat",)),
            ("m", Neuron(np.array(700.0), fixed=LOIHI), ("plain",)),
            ("head", Linear(weight(3, 6), [5.0, -6.0, 0.0]), ("m",)),
            ("out", Neuron(np.array(np.inf), reset="none", fixed=LOIHI), ("head",)),
        ],
        ("out",),
        4,
    )
    x = rng.choice([0, top], (4, 2, 2, 5, 5)).astype(np.uint8)
    for model in (step_model(graph), sequence_model(graph)):
        for executor in ("onnxruntime", "reference"):
            found = run_onnx(model, graph, x, executor=executor)
            assert difference(run(graph, x), found, graph) == ""
    for form in ("step", "sequence"):
        write_onnx(graph, tmp_path / "model.onnx", form)
        again = read_graph(tmp_path / "model.onnx")
        assert [n.name for n in again.nodes] == [n.name for n in graph.nodes]
        for a, b in zip(graph.nodes, again.nodes, strict=True):
            arrays, read = a.op.arrays(), b.op.arrays()
            assert all(np.array_equal(arrays[k], read[k]) for k in arrays), a.name


def test_weights_of_more_than_a_byte_are_refused() -> None:
    for weights in ([-198.0, 197.0], [257.0, 0.0], [-257.0, -2.0], [-258.0, 4.0]):
        edge = Edge("x", (2,), SPIKE)
        nodes = [("l", Linear([weights]), ("x",)), ("n", Neuron(9.0, fixed=LOIHI), ("l",))]
        with pytest.raises(OnnxError, match="a weight is too wide"):
            step_model(build((edge,), nodes, ("n",), 2))


def test_sum_of_spikes_and_several_inputs() -> None:
    # SEW's ADD: a value of 0 to 2 goes through a convolution, and it is an output itself.
    graph = build(
        (X, Edge("y", (2, 4, 4), SPIKE)),
        [
            ("sum", Add(), ("x", "y", "x")),
            ("held", Delay(1), ("sum",)),
            ("conv", CONV, ("held",)),
            ("n", IF, ("conv",)),
        ],
        ("n", "sum"),
        5,
    )
    rng = np.random.default_rng(2)
    x = {name: rng.integers(0, 2, (5, 3, 2, 4, 4), dtype=np.uint8) for name in "xy"}
    for model in (step_model(graph), sequence_model(graph)):
        assert difference(run(graph, x), run_onnx(model, graph, x), graph) == ""


@pytest.mark.parametrize(
    ("kind", "truth"),
    [
        ("and", lambda a, b, c: a and b and c),
        ("or", lambda a, b, c: a or b or c),
        ("xor", lambda a, b, c: (a + b + c) % 2),
        ("iand", lambda a, b, c: not a and b),
    ],
)
def test_gates_by_their_truth_tables(kind: Any, truth: Callable[..., object]) -> None:
    names = "ab" if kind == "iand" else "abc"
    graph = build(
        tuple(Edge(n, (1,), SPIKE) for n in "abc"), [("y", Gate(kind), tuple(names))], ("y",), 1
    )
    table = np.indices((2, 2, 2), dtype=np.uint8).reshape(3, 1, 8, 1)
    x = dict(zip("abc", table, strict=True))
    expected = [bool(truth(*row)) for row in table.reshape(3, 8).T.astype(int)]
    for model in (step_model(graph), sequence_model(graph)):
        for executor in ("onnxruntime", "reference"):
            found = run_onnx(model, graph, x, executor=executor)
            assert found.values["y"].ravel().tolist() == expected


FLOAT_IF = replace(IF, fixed=None)
REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "float neuron": (lambda: one(CONV, then=FLOAT_IF), "real numbers"),
    "float weight": (lambda: one(Conv2d(CONV.weight / 2)), "a weight is not an integer"),
    "wide weight": (lambda: one(Conv2d(CONV.weight * 9)), "a weight is too wide"),
    "float bias": (lambda: one(replace(CONV, bias=np.array([1.0, 0.5]))), "a bias is not"),
    "float factor": (lambda: one(Scale(np.array(0.5))), "a factor is not"),
    "scaled current": (lambda: one(CONV, then=Scale(np.array(2.0))), "takes spikes"),
    "fine threshold": (
        lambda: one(CONV, then=replace(IF, threshold=np.array(1 / 128))),
        "a threshold",
    ),
    "fine amount": (
        lambda: one(CONV, then=replace(IF, reset="subtract", amount=np.array(1 / 128))),
        "amount of a soft reset",
    ),
    "fine start": (lambda: one(CONV, then=replace(IF, initial=1 / 128)), "initial membrane"),
    "average pool": (lambda: one(AvgPool2d((2, 2), (2, 2))), "no exact integer form"),
    "pool of currents": (lambda: one(CONV, then=MaxPool2d((2, 2), (2, 2))), "max pooling takes"),
    "border only": (lambda: one(MaxPool2d((2, 2), (1, 1), (2, 2))), "border of the pool"),
    "analog input": (lambda: one(CONV, replace(X, domain=Domain(0, 1, 0))), "an input of"),
    "ternary input": (lambda: one(CONV, replace(X, domain=TERNARY)), "an input of"),
    "wide input": (lambda: one(CONV, replace(X, domain=integer(9, signed=False))), "an input of"),
    "synapse on a current": (lambda: one(CONV, then=CONV), "a synapse of the golden model"),
    "read integrator": (lambda: _reads_integrator(), "integrator is a readout"),
    "host node": (lambda: _with_role("host"), "role host"),
    "auxiliary node": (lambda: _with_role("auxiliary"), "role auxiliary"),
    "huge current": (
        lambda: one(replace(CONV, bias=np.array([2.0**30, 0.0])), then=IF),
        "leaves 32 bits",
    ),
    "huge bias": (lambda: one(replace(CONV, bias=np.array([2.0**31, 0.0]))), "a bias is too wide"),
    "huge sum": (
        lambda: one(replace(CONV, bias=np.array([2.0**31 - 1, 0.0]))),
        "an accumulator may leave",
    ),
    "output is input": (lambda: replace(one(CONV), outputs=("x",)), "an output is an input"),
}


def _reads_integrator() -> Graph:
    return one(CONV, then=replace(IF, reset="none")).rebuilt(
        [
            *one(CONV, then=replace(IF, reset="none")).nodes,
            Node(Flatten(), ("after",), Edge("flat", (), SPIKE), origin="net.block.it"),
        ],
        ("flat",),
    )


def _with_role(role: Any) -> Graph:
    graph = one(CONV, then=IF)
    return replace(graph, nodes=tuple(replace(n, role=role) for n in graph.nodes))


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_names_the_module_and_the_remedy(name: str) -> None:
    make, message = REFUSED[name]
    graph = make()
    for emit in (step_model, sequence_model):
        with pytest.raises(OnnxError, match=message) as caught:
            emit(graph)
    error = caught.value
    if "input" not in name:
        assert "net.block." in error.where
    assert error.remedy or error.found or error.where


def test_reserved_names_are_refused_not_mixed_up() -> None:
    for name in ("n_v", "n_v_in", "n_v_out", "n/bool"):
        graph = build((X,), [("n", IF, ("x",)), (name, CONV, ("n",))], (name,), 2)
        with pytest.raises(OnnxError, match="two tensors would bear the name"):
            step_model(graph, taps=True)


def changed(model: ModelProto, change: Callable[[ModelProto], object]) -> bytes:
    change(model)
    return model.SerializeToString()


def _first_weight(model: ModelProto) -> None:
    weight = next(i for i in model.graph.initializer if i.name == "conv/weight")
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]


def _external(model: ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")


def _loop(model: ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", [], ["y"], body=body))


TAMPERED: dict[str, tuple[Callable[[ModelProto], object], str]] = {
    "one bit of a weight": (_first_weight, "SHA-256 differs"),
    "metadata": (lambda m: m.metadata_props.add(key="a", value="b"), "SHA-256 differs"),
    "no metadata": (lambda m: m.ClearField("metadata_props"), "not a golden model of purespike"),
    "other versions": (lambda m: setattr(m, "ir_version", 14), "other versions"),
    "external data": (_external, "other files"),
    "a loop": (_loop, "operators that this target never writes"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_file_that_was_changed_is_refused(name: str, tmp_path: Path) -> None:
    change, message = TAMPERED[name]
    path = tmp_path / "m.onnx"
    path.write_bytes(changed(step_model(residual()), change))
    with pytest.raises(OnnxError, match=message):
        read_onnx(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(OnnxError, match="cannot be read"):
        read_onnx(path)
    path.write_bytes(b"")
    with pytest.raises(OnnxError, match="other versions"):
        read_onnx(path)
    path.write_bytes(b"\x00\xff" * 99)
    with pytest.raises(OnnxError, match="not an ONNX model"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 1, 2, 4, 5), np.uint8), "wrong shape"),
        (np.zeros((4, 1, 2, 4, 4), np.uint8), "wrong shape"),
        (np.full((3, 1, 2, 4, 4), 2, np.uint8), "outside its domain"),
        (np.full((3, 1, 2, 4, 4), 0.5), "outside its domain"),
        ({"y": np.zeros((3, 1, 2, 4, 4), np.uint8)}, "not those of the graph"),
    ],
)
def test_input_that_does_not_fit_is_refused(x: Any, message: str) -> None:
    with pytest.raises(OnnxError, match=message):
        run_onnx(step_model(residual()), residual(), x)


def test_run_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, model = residual(), step_model(residual())
    x = np.zeros((3, 1, 2, 4, 4), np.uint8)
    with pytest.raises(OnnxError, match="of another graph"):
        run_onnx(step_model(residual(4)), graph, x)
    with pytest.raises(OnnxError, match="no such neuron"):
        run_onnx(step_model(one(CONV, then=IF)), replace(residual(2), steps=2), x[:2])
    with pytest.raises(OnnxError, match="unknown executor"):
        run_onnx(model, graph, x, executor="tvm")  # type: ignore[arg-type]
    with pytest.raises(OnnxError, match="not a golden model"):
        run_onnx(ModelProto(), graph, x)
    for executor in ("onnxruntime", "reference"):
        broken = step_model(graph)
        broken.graph.node.remove(next(n for n in broken.graph.node if n.op_type == "Flatten"))
        broken.graph.node.append(helper.make_node("Identity", ["join"], ["flat"]))
        with pytest.raises(OnnxError, match=executor):
            run_onnx(broken, graph, x, executor=executor)
    newer = ModelProto()
    newer.CopyFrom(model)
    newer.ir_version = 99
    with pytest.raises(OnnxError, match="onnxruntime does not accept the model"):
        run_onnx(newer, graph, x)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(OnnxError, match="onnxruntime is not installed"):
        run_onnx(model, graph, x)
    assert run_onnx(model, graph, x, executor="reference").values["out"].shape == (3, 1, 3)


def test_samples_of_a_batch_do_not_touch_each_other() -> None:
    case = realise(replace(layout_of(3), batch=2))
    model = step_model(case.graph)
    whole = run_onnx(model, case.graph, case.x)
    for b in range(2):
        alone = run_onnx(model, case.graph, case.x[:, b : b + 1])
        for name, values in whole.values.items():
            assert np.array_equal(values[:, b : b + 1], alone.values[name])
