"""QONNX: every tensor says what it holds, holds it, and the spikes are those of the interpreter.

The custom operators are run from their specification (qonnx 1.0 documentation of ``IntQuant`` and
``MultiThreshold``), written here anew; everything else by onnx's reference evaluator.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.netx_cases import network, neuron
from helpers.strategies import spikes
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Gate, Linear, MaxPool2d, Neuron, Scale
from purespike.targets.onnx import OnnxError, qonnx_model, write_onnx
from purespike.targets.onnx.metadata import metadata

X = Edge("x", (3, 4, 4), SPIKE)
R = np.random.default_rng(11)


class IntQuant(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(self, x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):  # type: ignore[no-untyped-def]
        assert rounding_mode == "ROUND" and not narrow
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        whole = np.clip(np.rint(x / scale + zero), low, high)
        return (((whole - zero) * scale).astype(np.float32),)


class MultiThreshold(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(self, x, thresholds, out_dtype=None):  # type: ignore[no-untyped-def]
        assert out_dtype == "BINARY" and thresholds.shape[0] in (1, x.shape[1])
        table = thresholds.reshape(-1, *(1,) * (x.ndim - 2), thresholds.shape[1])
        return ((x[..., None] >= table).sum(axis=-1).astype(np.float32),)


def limits(datatype: str) -> tuple[int, int]:
    if datatype == "BINARY":
        return 0, 1
    bits = int(datatype.removeprefix("U").removeprefix("INT"))
    return (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def execute(model: onnx.ModelProto, x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(every tensor, states in) over the steps; each tensor is checked against its annotation."""
    kinds = {
        a.tensor_name: a.quant_parameter_tensor_names[0].value
        for a in model.graph.quantization_annotation
    }
    outputs = [o.name for o in model.graph.output]
    inner = sorted({o for n in model.graph.node for o in n.output} - set(outputs))
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in inner)
    session = ReferenceEvaluator(tapped, new_ops=[IntQuant, MultiThreshold])
    states = {
        s["before"]: np.full((x.shape[1], *s["shape"]), s["initial"], np.float32)
        for s in metadata(model)["states"]
    }
    rows: list[dict[str, Any]] = []
    for frame in x.astype(np.float32):
        feeds = {model.graph.input[0].name: frame} | states
        made = dict(zip([*outputs, *inner], session.run(None, feeds), strict=True))
        for name, value in (made | feeds).items():
            low, high = limits(kinds[name])
            assert value.dtype == np.float32 and (np.rint(value) == value).all(), name
            assert low <= value.min() and value.max() <= high, f"{name}: {kinds[name]}"
        states = {b: made[b.removesuffix("_in") + "_out"] for b in states}
        rows.append(made)
    return {n: np.stack([r[n] for r in rows]) for n in rows[0]}, kinds


def residual() -> Graph:
    """A join, a one-to-one synapse, a pool, a soft reset, a delayed loop, thresholds by channel."""
    nodes: list[Any] = [
        (
            "c",
            Conv2d(R.integers(-40, 50, (3, 3, 3, 3)), R.integers(-9, 9, 3), padding=(1, 1)),
            ("x",),
        ),
        ("n", neuron(np.array([50.0, 60.0, 70.0]).reshape(3, 1, 1)), ("c",)),
        ("d", Conv2d(R.integers(-40, 50, (3, 3, 1, 1))), ("n",)),
        ("one", Scale(np.array(45.0)), ("x",)),
        ("back", Delay(2), ("m",)),
        ("loop", Scale(np.array(-30.0)), ("back",)),
        ("sum", Add(), ("d", "one", "loop")),
        ("m", neuron(40.0, reset="subtract", amount=np.array(35.0)), ("sum",)),
        ("p", MaxPool2d((2, 2), (2, 2)), ("m",)),
        ("e", Conv2d(R.integers(-40, 50, (2, 3, 2, 2))), ("p",)),
        ("o", neuron(30.0, initial=5.0), ("e",)),
    ]
    # The loop is read before it is written, so its shape must be declared.
    drafts = [Node(op, reads, Edge(name, X.shape, SPIKE)) for name, op, reads in nodes]
    return Graph((X,), (), ("o",), 6).rebuilt(drafts)


GRAPHS = {
    "residual": residual,
    "vgg": lambda: network("vgg"),
    "dense": lambda: network("dense"),
    "grouped": lambda: network("grouped"),
    "odd geometry": lambda: network("odd geometry"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_spikes_and_states_are_those_of_the_interpreter(case: str) -> None:
    graph = GRAPHS[case]()
    x = spikes(graph, 4, seed=4)
    expected = run(graph, x)
    model = qonnx_model(graph)
    found, _ = execute(model, x)
    units = metadata(model)["membrane_units"]
    fired = 0
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        if node.op.fires:
            np.testing.assert_array_equal(found[node.name], expected.values[node.name])
            fired += int(found[node.name].sum())
        if node.op.decay:
            counts = found[f"{node.name}_v_out"] * (64 // units[node.name])
            np.testing.assert_array_equal(counts, expected.membranes[node.name])
    assert fired > 50


def test_its_structure_is_what_fpga_flows_read() -> None:
    graph = network("vgg")
    model = qonnx_model(graph, notes={"scales": {"c": 0.5}, "boundaries": {"host": "arg max"}})
    assert {(o.domain, o.version) for o in model.opset_import} == {
        ("", 21),
        ("qonnx.custom_op.general", 1),
    }
    _, kinds = execute(model, spikes(graph, 2, seed=1))
    quantized = {n.input[0]: n for n in model.graph.node if n.op_type == "IntQuant"}
    assert set(quantized) == {"x", "c/weight", "p/weight", "d/weight", "z/weight"}
    assert kinds["x"] == "BINARY" and kinds["c/weight"] == "INT8" and kinds["n"] == "BINARY"
    assert kinds["n_v_in"] == "INT24" and kinds["c"].startswith("INT")
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    bits = {name: float(constants[node.input[3]]) for name, node in quantized.items()}
    assert bits == {name: 1.0 if name == "x" else 8.0 for name in quantized}
    np.testing.assert_array_equal(constants["c/weight"], graph.producer("c").op.weight)  # type: ignore[union-attr]
    tensors = {o for n in model.graph.node for o in n.output} | set(constants)
    tensors |= {i.name for i in model.graph.input}
    assert tensors == set(kinds)  # nothing without a datatype
    said = metadata(model)
    assert said["form"] == "qonnx" and said["scales"] == {"c": 0.5} and said["domains"]["x"]


def test_the_file_is_the_same_twice_and_carries_its_form(tmp_path: Path) -> None:
    graph = network("dense")
    for name in ("a.onnx", "b.onnx"):
        write_onnx(graph, tmp_path / name, "qonnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    props = {p.key: p.value for p in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(props["purespike.form"]) == "qonnx"


FLAT = Edge("x", (4,), SPIKE)
REFUSED = {
    "leak": ([("a", Linear(np.eye(4)), ("x",)), ("n", neuron(1 + 1 / 64, 0.5), ("a",))], "leak"),
    "gate": ([("n", Gate("and"), ("x", "x"))], "no Gate"),
    "thresholds by neuron": (
        [
            ("c", Scale(np.array(2.0)), ("x",)),
            ("n", neuron(np.arange(1.0, 49).reshape(3, 4, 4)), ("c",)),
        ],
        "by channel, not by neuron",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_qonnx_cannot_say_is_refused(case: str) -> None:
    nodes, reason = REFUSED[case]
    x = X if "by neuron" in case else FLAT
    with pytest.raises(OnnxError, match=reason) as refusal:
        qonnx_model(build((x,), nodes, ("n",), 4))
    assert "%n " in refusal.value.where
