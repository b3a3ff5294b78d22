"""Golden models read back as graphs, and what is said of ONNX files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from checker_cases import residual
from hypothesis import HealthCheck, given, settings
from nir_cases import op_differences
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import layout_of, realise
from recurrent_cases import recurrent_graphs
from torch import nn

from purespike.compiler.interpret import run
from purespike.compiler.ir import Graph
from purespike.compiler.ops import Neuron
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.emit import write_onnx
from purespike.targets.onnx.graph import read_graph


def assert_equal(a: Graph, b: Graph) -> None:
    """The same network: nodes, operations, arrays, domains; and the same spikes and states."""
    assert (a.inputs, a.steps, a.dt) == (b.inputs, b.steps, b.dt)
    assert tuple(dict.fromkeys(a.outputs)) == b.outputs
    mine, theirs = ({n.name: n for n in g.nodes} for g in (a, b))
    assert mine.keys() == theirs.keys()
    for name, m in mine.items():
        n = theirs[name]
        assert (m.inputs, m.output, a.origin(name)) == (n.inputs, n.output, n.origin)
        allowed = set()
        if isinstance(m.op, Neuron) and isinstance(n.op, Neuron):
            # What nothing depends on is not in the file: an integrator's threshold, and where a
            # neuron starts that forgets all in a step.
            allowed = set() if m.op.fires else {"threshold", "amount"}
            same = m.op.initial == n.op.initial or m.op.decay == 0
            allowed |= {"initial"} if same else set()
        assert set(op_differences(m.op, n.op)) <= allowed
    r = np.random.default_rng(1)
    (x,) = a.inputs
    spikes = r.integers(0, int(x.domain.hi) + 1, (a.steps, 2, *x.shape)).astype(np.float64)
    one, two = run(a, spikes), run(b, spikes)
    for name in mine:
        assert np.array_equal(one.values[name], two.values[name]), name
    for name, v in one.membranes.items():
        assert np.array_equal(v, two.membranes[name]), name


@pytest.mark.parametrize("form", ["step", "sequence"])
@pytest.mark.parametrize("seed", range(8))
def test_a_golden_model_comes_back_as_the_network_it_is(
    tmp_path: Path, seed: int, form: Any
) -> None:
    graph = realise(layout_of(seed)).graph
    write_onnx(graph, tmp_path / "m.onnx", form)
    assert_equal(graph, read_graph(tmp_path / "m.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8, 300))
def test_many_golden_models_come_back(tmp_path: Path, seed: int) -> None:
    graph = realise(layout_of(seed)).graph
    write_onnx(graph, tmp_path / "m.onnx")
    assert_equal(graph, read_graph(tmp_path / "m.onnx"))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=recurrent_graphs(clocked=False))
def test_loops_delays_and_currents_come_back(
    graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("loops") / "m.onnx"
    write_onnx(graph, path)
    assert_equal(graph, read_graph(path))


def test_sums_that_happen_to_be_zero_or_one_come_back(tmp_path: Path) -> None:
    """They are written in the form of currents, beside the spikes that they look like."""
    write_onnx(residual(), tmp_path / "m.onnx")
    assert_equal(residual(), read_graph(tmp_path / "m.onnx"))


def test_taps_are_more_than_the_network(tmp_path: Path) -> None:
    write_onnx(residual(), tmp_path / "m.onnx", taps=True)
    with pytest.raises(OnnxError, match=r"says more than the network|no network can be read"):
        read_graph(tmp_path / "m.onnx")


def test_the_form_for_fpga_flows_is_not_read_back(tmp_path: Path) -> None:
    write_onnx(residual(), tmp_path / "m.onnx", "qonnx")
    with pytest.raises(OnnxError):
        read_graph(tmp_path / "m.onnx")


# ---- files of other tools ---------------------------------------------------------------------


def save(path: Path, nodes: list[Any], inputs: list[str], outputs: list[str]) -> Path:
    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])

    constants = [
        numpy_helper.from_array(np.ones((3, 3), np.float32), "w"),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
    ]
    graph = helper.make_graph(
        nodes, "g", [value(i) for i in inputs], [value(o) for o in outputs], constants
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


MATMUL = helper.make_node("MatMul", ["x", "w"], ["a"], name="fc")


def fire(source: str) -> list[Any]:
    return [
        helper.make_node("Greater", [source, "half"], ["b"], name="lif"),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT, name="spike"),
    ]


FILES = [
    ([MATMUL, *fire("a")], ["x"], ["y"], "threshold without a state pair", "lif"),
    (
        [
            MATMUL,
            helper.make_node("Add", ["v", "half"], ["v_out"]),
            *fire("a"),
        ],
        ["x", "v"],
        ["y", "v_out"],
        "depends on no state",
        "lif",
    ),
    (
        [MATMUL, helper.make_node("Add", ["a", "v"], ["v_out"], name="sum"), *fire("v_out")],
        ["x", "v"],
        ["y", "v_out"],
        "states are explicit, but no metadata",
        "",
    ),
    (
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        ["x"],
        ["y"],
        "nothing in it fires",
        "",
    ),
    (
        [helper.make_node("Spike", ["x"], ["y"], name="s", domain="vendor")],
        ["x"],
        ["y"],
        "program of its own",
        "s",
    ),
]


@pytest.mark.parametrize(("nodes", "inputs", "outputs", "why", "node"), FILES)
def test_a_file_of_another_tool_is_refused_by_name_and_reason(
    tmp_path: Path, nodes: list[Any], inputs: list[str], outputs: list[str], why: str, node: str
) -> None:
    path = save(tmp_path / "m.onnx", nodes, inputs, outputs)
    with pytest.raises(OnnxError, match=why) as caught:
        read_graph(path)
    assert node in caught.value.where and "PyTorch" in caught.value.remedy


class _Frozen(nn.Module):
    """What a framework's neuron becomes in ONNX: a loop over steps is gone, the state a zero."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v = torch.zeros_like(self.fc.bias) * 0.9 + self.fc(x)
        return (v > 1.0).to(x.dtype)


def test_a_hidden_state_that_an_exporter_has_frozen_is_found_out(tmp_path: Path) -> None:
    with torch.no_grad():
        torch.onnx.export(
            _Frozen().eval(), (torch.zeros(1, 3),), str(tmp_path / "m.onnx"), dynamo=False
        )
    with pytest.raises(OnnxError, match="threshold without a state pair"):
        read_graph(tmp_path / "m.onnx")


@pytest.mark.filterwarnings("ignore")
def test_snntorch_exports_a_frozen_membrane(tmp_path: Path) -> None:
    snntorch = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(3, 3), snntorch.Leaky(0.9, init_hidden=True))
    with torch.no_grad():
        torch.onnx.export(net.eval(), (torch.zeros(1, 3),), str(tmp_path / "m.onnx"), dynamo=False)
    with pytest.raises(OnnxError, match="threshold without a state pair") as caught:
        read_graph(tmp_path / "m.onnx")
    assert "Greater" in caught.value.where


def test_no_onnx_at_all_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(OnnxError, match="no ONNX model"):
        read_graph(tmp_path / "m.onnx")
