"""`purespike export --to nir`: other tools load the file and fire the same spikes on data."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError, UsageError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d as GraphConv
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.flow.exporting import export_nir, exported
from purespike.flow.inputs.given import as_subject
from purespike.options import Options
from purespike.subject import Samples, Subject
from purespike.targets.nir.data import data_bytes, to_nir_data
from purespike.targets.nir.emit import to_nir
from purespike.targets.nir.errors import NirError
from purespike.targets.nir.read import read_nir
from purespike.targets.nir.readers import READERS
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d, Flatten
from purespike.trainer.nn.neuron import IF, LIF

pytestmark = pytest.mark.usefixtures("parsed_here")

T, B, SHAPE = 5, 6, (2, 6, 6)


class Net(nn.Module):
    """Two convolutions with batch norm, and a linear layer of spikes."""

    def __init__(self, neuron: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.conv1, self.bn1 = Conv2d(2, 4, 3, padding=1, bias=False), BatchNorm2d(4)
        self.neuron1 = neuron()
        self.conv2, self.bn2 = Conv2d(4, 3, 3, stride=2), BatchNorm2d(3)
        self.neuron2, self.flat = neuron(), Flatten()
        self.fc, self.neuron3 = nn.Linear(12, 7), neuron()

    def forward(self, x: Any) -> Any:
        """(T, B, 2, 6, 6) -> (T, B, 7)."""
        x = self.neuron1(self.bn1(self.conv1(x)))
        x = self.flat(self.neuron2(self.bn2(self.conv2(x))))
        return self.neuron3(self.fc(x))


def subject(neuron: Callable[[], nn.Module]) -> Subject:
    r = np.random.default_rng(1)
    x = (r.random((T, B, *SHAPE)) < 0.5).astype(np.uint8)
    model = Net(neuron)
    with torch.no_grad():
        for _ in range(4):
            model.train()(torch.from_numpy(x).float())
        for layer in (model.fc, model.conv2):
            layer.weight *= 2
    return Subject("net", model.double().eval(), SHAPE, x, None)


def in_tool(name: str, file: Path, x: Any) -> Any:
    """Outputs (T, B, ...) of the tool that reads the file."""
    graph = nir.read(file, type_check=False)
    found = []
    if name == "sinabs":
        from sinabs.nir import from_nir

        model = from_nir(graph, batch_size=x.shape[1])
        flat = torch.from_numpy(x.swapaxes(0, 1).reshape(-1, *x.shape[2:])).float()
        with torch.no_grad():
            y = model(flat)
        y = y[0] if isinstance(y, tuple) else y
        return y.numpy().reshape(x.shape[1], x.shape[0], -1).swapaxes(0, 1)
    for k in range(x.shape[1]) if READERS[name].single else [slice(None)]:
        model = loaded(name, graph)
        state, rows = None, []
        with torch.no_grad():
            for frame in torch.from_numpy(x[:, k]).float():
                y, state = model(frame, state)
                rows.append(y.numpy())
        found.append(np.stack(rows))
    return np.stack(found, axis=1) if READERS[name].single else found[0]


def loaded(name: str, graph: Any) -> Any:
    if name == "spikingjelly":
        from spikingjelly.activation_based.nir_exchange import import_from_nir

        return import_from_nir(graph, dt=1.0)
    if name == "snntorch":
        from snntorch.import_nir import import_from_nir as import_snntorch

        return import_snntorch(graph)
    import norse

    return norse.torch.from_nir(graph, dt=1e-3)


def half() -> nn.Module:
    return LIF(tau=2.0, threshold=0.25)


def soft() -> nn.Module:
    return IF(reset="subtract")


CASES = [
    ("spikingjelly", IF, True),
    ("spikingjelly", IF, False),
    ("spikingjelly", half, False),
    ("snntorch", half, False),
    ("norse", IF, True),
    ("norse", IF, False),
    ("sinabs", soft, False),
]


@pytest.mark.parametrize(("name", "neuron", "integers"), CASES)
def test_a_torch_module_arrives_in_another_tool(
    name: str, neuron: Callable[[], nn.Module], integers: bool, tmp_path: Path
) -> None:
    pytest.importorskip(name)
    given = subject(neuron)
    graph = exported(given, Options(), integers=integers)
    try:
        export_nir(graph, tmp_path / "m.nir", reader=name)
    except NirError as e:
        pytest.fail(e.text("python"))
    wanted = run(graph, given.spikes.astype(float)).values[graph.outputs[0]]
    assert 0.02 < wanted.mean() < 0.98
    found = in_tool(name, tmp_path / "m.nir", given.spikes.astype(np.float32))
    if integers:
        np.testing.assert_array_equal(found, wanted)
    else:  # sums in float32
        assert (found == wanted).mean() > 0.999


def small(op: Neuron, **more: Any) -> Graph:
    weight = np.random.default_rng(2).integers(-9, 20, (5, 4)).astype(float)
    nodes = [("fc", Linear(weight), ("x",)), ("n", op, ("fc",))]
    return build((Edge("x", (4,), SPIKE),), nodes, ("n",), 4, **more)


def grouped() -> Graph:
    op = GraphConv(np.ones((4, 1, 1, 1)), groups=2)
    nodes = [("c", op, ("x",)), ("n", Neuron(12.0), ("c",))]
    return build((Edge("x", (2, 3, 3), SPIKE),), nodes, ("n",), 4)


WHOLE = FixedPoint()
REFUSED = [
    ("spikingjelly", small(Neuron(12.0, reset="subtract", fixed=WHOLE)), "reset subtract"),
    ("sinabs", small(Neuron(12.0, fixed=WHOLE)), "reset zero"),
    ("sinabs", small(Neuron(2.0, reset="subtract", fixed=WHOLE)), "membranes of -"),
    ("norse", small(Neuron(np.arange(5.0) + 3, fixed=WHOLE)), "thresholds that differ"),
    ("norse", small(Neuron(12.0, initial=3.0, fixed=WHOLE)), "initial membrane of 3"),
    ("norse", small(Neuron(12.0, decay=0.5, fixed=WHOLE)), "a leak that rounds"),
    ("snntorch", small(Neuron(12.0, fixed=WHOLE)), "IF"),
    ("norse", small(Neuron(12.0, decay=0.0)), "Threshold"),
    ("norse", grouped(), "2 groups"),
]


@pytest.mark.parametrize(("name", "graph", "found"), REFUSED)
def test_what_a_tool_would_compute_otherwise_is_refused(
    name: str, graph: Graph, found: str, tmp_path: Path
) -> None:
    with pytest.raises(NirError) as e:
        export_nir(graph, tmp_path / "m.nir", reader=name)
    assert found in e.value.found and "leave out --for" in e.value.text("command line")
    assert not (tmp_path / "m.nir").exists()


def test_a_readout_is_left_to_the_host(tmp_path: Path) -> None:
    weight = np.random.default_rng(2).integers(-9, 20, (5, 4)).astype(float)
    nodes = [
        ("fc", Linear(weight), ("x",)),
        ("n", Neuron(9.0, fixed=WHOLE), ("fc",)),
        ("head", Linear(weight[:, :1] @ np.ones((1, 5))), ("n",)),
        ("out", Neuron(np.inf, reset="none", fixed=WHOLE), ("head",)),
    ]
    graph = build((Edge("x", (4,), SPIKE),), nodes, ("out",), 6)
    export_nir(graph, tmp_path / "m.nir", reader="norse")
    said = nir.read(tmp_path / "m.nir", type_check=False).metadata
    assert json.loads(said["outputs_to_sum"]) == [0]
    x = (np.random.default_rng(3).random((6, 4, 4)) < 0.5).astype(np.float32)
    pytest.importorskip("norse")
    currents = in_tool("norse", tmp_path / "m.nir", x)
    wanted = run(graph, x.astype(float)).values["out"][-1]
    np.testing.assert_array_equal(currents.sum(axis=0), wanted)
    assert wanted.any()


@pytest.mark.parametrize("name", ["spikingjelly", "norse"])
def test_its_conventions_read_it_back_here(name: str, tmp_path: Path) -> None:
    graph = small(Neuron(12.0, fixed=WHOLE))
    export_nir(graph, tmp_path / "m.nir", reader=name)
    said = nir.read(tmp_path / "m.nir", type_check=False).metadata
    assert {k: str(said[k]) for k in ("reset_mechanism", "if_r")} == {
        "reset_mechanism": "b'zero'" if isinstance(said["if_r"], bytes) else "zero",
        "if_r": "b'step'" if isinstance(said["if_r"], bytes) else "step",
    }
    back = read_nir(
        tmp_path / "m.nir", dt=READERS[name].dt, reset="zero", if_r="step", steps=graph.steps,
        domain=SPIKE, fires="at" if READERS[name].at else "above",
    )  # fmt: skip
    x = (np.random.default_rng(3).random((4, 8, 4)) < 0.5).astype(float)
    assert run(graph, x).values["n"].any()
    np.testing.assert_array_equal(run(back, x).values[back.outputs[0]], run(graph, x).values["n"])


def test_batch_norm_as_a_layer_of_its_own(tmp_path: Path) -> None:
    given = subject(IF)
    kept, fused = (exported(given, Options(), keep_batchnorm=k) for k in (True, False))
    assert len(kept.nodes) == len(fused.nodes) + 2
    x = given.spikes.astype(float)
    wanted = run(fused, x).values[fused.outputs[0]]
    np.testing.assert_array_equal(run(kept, x).values[kept.outputs[0]], wanted)
    with torch.no_grad():
        own = given.model(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(own, wanted)
    for name in ("norse", "spikingjelly"):
        pytest.importorskip(name)
        export_nir(kept, tmp_path / "m.nir", reader=name)
        found = in_tool(name, tmp_path / "m.nir", x.astype(np.float32))
        assert (found == wanted).mean() > 0.999
    with pytest.raises(UsageError, match="fused"):
        exported(given, Options(), integers=True, keep_batchnorm=True)


def test_models_of_other_frameworks_are_exported(tmp_path: Path) -> None:
    """A module of SpikingJelly as it is, to a file that SpikingJelly reads."""
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    torch.manual_seed(1)
    model = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(v_threshold=0.25), layer.Flatten(),
        layer.Linear(144, 5), neuron.IFNode(v_threshold=0.25),
    )  # fmt: skip
    r = np.random.default_rng(1)
    x = (r.random((T, B, *SHAPE)) < 0.5).astype(np.uint8)
    functional.set_step_mode(model.double().eval(), "m")
    given = as_subject(model, Samples(x))
    graph = exported(given, Options())
    export_nir(graph, tmp_path / "m.nir", reader="spikingjelly")
    found = in_tool("spikingjelly", tmp_path / "m.nir", x.astype(np.float32))
    functional.reset_net(model)
    with torch.no_grad():
        own = model(torch.from_numpy(x).double()).numpy()
    assert 0.02 < own.mean() < 0.98 and (found == own).mean() > 0.999


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exported_net.py").write_text(
        "from torch import nn\nfrom purespike.trainer.nn.neuron import IF\n\n\n"
        "def make():\n    return nn.Sequential(nn.Linear(6, 5), IF())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    words = ["export", "exported_net:make", "--to", "nir", "--shape", "6", "--steps", "3"]
    done = CliRunner().invoke(app, [*words, "--out", "m.nir"], catch_exceptions=False)
    assert done.exit_code == 0 and "nir.read('m.nir'" in done.output, done.output
    assert read_nir("m.nir").steps == 3
    done = CliRunner().invoke(app, [*words, "--integers", "--for", "norse", "--out", "n.nir"])
    assert done.exit_code == 0 and "norse.torch.from_nir" in done.output, done.output
    for more in (["--ram", "9"], ["--for", "tpu"], ["--for", "norse", "--nir-strict"]):
        done = CliRunner().invoke(app, [*words, *more])
        assert isinstance(done.exception, PurespikeError), more
    done = CliRunner().invoke(app, ["export", "exported_net:make", "--to", "c", "--steps", "3"])
    assert isinstance(done.exception, PurespikeError)


def test_golden_samples_as_nirs_own_data(tmp_path: Path) -> None:
    graph = small(Neuron(12.0, fixed=WHOLE))
    x = (np.random.default_rng(3).random((4, 8, 4)) < 0.5).astype(np.uint8)
    trace = run(graph, x.astype(float))
    content = data_bytes(to_nir_data(graph, x, {"n": trace.values["n"]}, trace.membranes))
    assert content == data_bytes(to_nir_data(graph, x, {"n": trace.values["n"]}, trace.membranes))
    (tmp_path / "g.h5").write_bytes(content)
    back = nir.read_data(tmp_path / "g.h5")
    back.check_nodes(to_nir(graph))  # nodes and sizes are those of model.nir, says nir
    kept = back.nodes["n"].observables
    assert (kept["spikes"].dt, kept["spikes"].data.dtype) == (graph.dt, bool)
    np.testing.assert_array_equal(kept["spikes"].data.swapaxes(0, 1), trace.values["n"] > 0)
    np.testing.assert_array_equal(kept["membranes"].data.swapaxes(0, 1), trace.membranes["n"])
    np.testing.assert_array_equal(back.nodes["x"].observables["spikes"].data.swapaxes(0, 1), x > 0)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The tools' own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
