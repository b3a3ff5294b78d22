"""Golden models read back as graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.checker_cases import residual
from helpers.nir_cases import op_differences
from helpers.onnx_cases import layout_of, realise
from helpers.recurrent_cases import recurrent_graphs
from hypothesis import HealthCheck, given, settings
from onnx import TensorProto, helper

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.emit import write_onnx
from purespike.targets.onnx.graph import is_golden, read_graph


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


# ---- files of other tools: see test_onnx_step*.py ------------------------------------------------


def test_a_file_of_another_tool_is_no_golden_model(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    node = helper.make_node("Relu", ["x"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [value], [result])), tmp_path / "m")
    write_onnx(residual(), tmp_path / "own.onnx")
    assert is_golden(tmp_path / "own.onnx") and not is_golden(tmp_path / "m")
    with pytest.raises(OnnxError, match="other versions than this target writes"):
        read_graph(tmp_path / "m")


def test_no_onnx_at_all_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(OnnxError, match="not an ONNX model"):
        read_graph(tmp_path / "m.onnx")
