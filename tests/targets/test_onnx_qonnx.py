"""QONNX: every tensor says what it holds, holds it, and the spikes are those of the interpreter.

`helpers.qonnx_steps` runs the custom operators from their specification.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.netx_cases import network, neuron
from helpers.qonnx_steps import execute
from helpers.strategies import spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Gate, Linear, MaxPool2d, Neuron, Scale
from purespike.targets.onnx import OnnxError, qonnx_model, write_onnx
from purespike.targets.onnx.metadata import metadata

X = Edge("x", (3, 4, 4), SPIKE)
R = np.random.default_rng(11)


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


def test_sums_before_a_bias_have_a_datatype_of_their_own() -> None:
    """With the bias they are positive, and without it they are not."""
    for layer, x in (
        (Linear(R.integers(-9, 10, (5, 4)), np.full(5, 50.0)), Edge("x", (4,), SPIKE)),
        (Conv2d(R.integers(-9, 10, (5, 3, 1, 1)), np.full(5, 50.0)), X),
    ):
        graph = build((x,), [("c", layer, ("x",)), ("n", neuron(120.0), ("c",))], ("n",), 5)
        _, kinds = execute(qonnx_model(graph), spikes(graph, 4, seed=3))
        assert kinds["c"].startswith("UINT") and kinds["c/sums"].startswith("INT")


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
