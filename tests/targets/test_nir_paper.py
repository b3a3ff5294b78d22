"""The networks of the NIR paper: read, equal to loops of their own, on every target."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from helpers.nir_cases import differences
from helpers.nir_paper_cases import DT, Form, braille, chain, cnn, ramp, single_lif, two_lifs
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, quantized

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import SYNAPSES, Neuron
from purespike.compiler.ir.verify import verify
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

SAID: dict[str, Any] = {"dt": DT, "steps": 40, "reset": "zero", "domain": SPIKE, "fires": "above"}
CUBA: dict[str, Any] = {"current": "new", "feedback": "previous"}


def read(graph: nir.NIRGraph, path: Path, **said: Any) -> Graph:
    nir.write(path / "f.nir", graph)
    found = read_nir(path / "f.nir", **(SAID | said))
    verify(found)
    return found


def spikes_into(graph: Graph, samples: int, rate: float) -> Any:
    shape = (graph.steps, samples, *graph.inputs[0].shape)
    return (np.random.default_rng(0).random(shape) < rate).astype(np.float64)


def test_the_single_neuron(tmp_path: Path) -> None:
    x = ramp()
    graph = read(single_lif(), tmp_path, steps=len(x))
    v, gain, expected = 0.0, 1e-4 / np.float64(np.float32(0.0025)), []
    for frame in x[:, 0, 0]:
        v = v + gain * (frame - v)
        expected.append(v > np.float32(0.1))
        v = 0.0 if expected[-1] else v
    assert 2 < np.sum(expected) < 20
    np.testing.assert_array_equal(run(graph, x).values["1"][:, 0, 0], expected)
    chip = quantized(graph, samples=2)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)


def test_a_file_from_before_w_in_has_it_at_one(tmp_path: Path) -> None:
    one = np.ones(1)
    neuron = nir.CubaLIF(5 * DT * one, 2 * DT * one, 3 * one, 0 * one, one, 0 * one, w_in=one)
    graph = chain({"lif": neuron}, [1], [1])
    nir.write(tmp_path / "f.nir", graph)
    with h5py.File(tmp_path / "f.nir", "a") as file:
        del file["node/nodes/lif/w_in"]
    kept = nir.read(tmp_path / "f.nir").nodes["lif"]
    np.testing.assert_array_equal(kept.w_in, one)  # nir's own reading
    found = read_nir(tmp_path / "f.nir", **(SAID | {"current": "new"}))
    x = spikes_into(found, 1, 0.6)
    current, v, expected = 0.0, 0.0, []
    for s in x[:, 0, 0]:
        current += DT / kept.tau_syn.item() * (s - current)
        v += DT / kept.tau_mem.item() * (3 * current - v)
        expected.append(v > 1)
        v = 0.0 if v > 1 else v
    assert 3 < sum(expected) < 35
    np.testing.assert_array_equal(run(found, x).values["lif"][:, 0, 0], expected)


def test_a_neuron_that_drives_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NirFileError, match="a v_leak other than 0") as e:
        read(two_lifs(), tmp_path)
    assert "node 'lif1'" in str(e.value)


def layers_of_cnn(graph: nir.NIRGraph, x: Any, reset: str) -> dict[str, Any]:
    """The spikes of each IF by torch, step by step, everything in float64."""
    v: dict[str, Any] = {}
    made: dict[str, list[Any]] = {}
    for frame in torch.from_numpy(x):
        y = frame
        for name in map(str, range(13)):
            n = graph.nodes[name]
            if isinstance(n, nir.Conv2d):
                weight = torch.from_numpy(n.weight.astype(np.float64))
                y = torch.nn.functional.conv2d(y, weight, None, n.stride, n.padding)
            elif isinstance(n, nir.SumPool2d):
                y = 4 * torch.nn.functional.avg_pool2d(y, 2)
            elif isinstance(n, nir.Flatten):
                y = y.flatten(1)
            elif isinstance(n, nir.Affine):
                y = y @ torch.from_numpy(n.weight.astype(np.float64)).T
            else:
                v[name] = v.get(name, 0.0) + y
                y = (v[name] > 1).double()
                v[name] = v[name] * (1 - y) if reset == "zero" else v[name] - y
                made.setdefault(name, []).append(y.numpy())
    return {name: np.stack(y) for name, y in made.items()}


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_convolutional_network(reset: Any, tmp_path: Path) -> None:
    source = cnn()
    graph = read(source, tmp_path, steps=6, reset=reset, if_r="step")
    x = spikes_into(graph, 2, 0.1)
    found = run(graph, x).values
    for name, wanted in layers_of_cnn(source, x, reset).items():
        assert 0.01 < wanted.mean() < 0.9
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


@pytest.mark.slow
def test_the_convolutional_network_on_every_target(tmp_path: Path) -> None:
    graph = read(cnn(), tmp_path, steps=4, if_r="step")
    chip = quantized(graph, samples=2)
    synapses = [n for n in chip.nodes if isinstance(n.op, SYNAPSES)]
    assert len(synapses) == 5  # both pools went into the layers behind them
    assert all(chip.edge(n.inputs[0]).domain <= SPIKE for n in synapses)
    x = spikes_into(chip, 1, 0.1)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)


def test_shapes_with_a_batch_are_those_of_a_sample(tmp_path: Path) -> None:
    """Files in the history of the paper have them; its layers say what is meant."""
    tidy = read(cnn(), tmp_path, if_r="step")
    assert differences(tidy, read(cnn(flatten_from=1), tmp_path, if_r="step")) == []
    assert differences(tidy, read(cnn(batch=True), tmp_path, if_r="step")) == []
    tidy = read(braille(), tmp_path, **CUBA)
    for shape in ((1, 12), (256, 12)):
        assert differences(tidy, read(braille(entry=shape), tmp_path, **CUBA)) == []


def loop_of_braille(form: Form, x: Any, reset: str, always: bool, **options: Any) -> dict[str, Any]:
    """NIR's equations by forward Euler, current first; the loop carries a step.

    At first it carries nothing, or where ``always`` the bias of the recurrent layer.
    """
    nodes = braille("flattened", **options).nodes
    fc1, w_rec, fc2 = (nodes[n] for n in ("fc1", "w_rec", "fc2"))
    state: dict[str, Any] = dict.fromkeys(("lif1", "lif2"), (0.0, 0.0))

    def layer(n: Any, y: Any) -> Any:
        return y @ n.weight.T.astype(np.float64) + getattr(n, "bias", np.float32(0))

    def fires(name: str, y: Any) -> Any:
        n, (i, v) = nodes[name], state[name]
        i = i + DT / n.tau_syn * (n.w_in * y - i)
        v = v + DT / n.tau_mem * (n.r * i - v)
        s = (v > n.v_threshold).astype(np.float64)
        state[name] = (i, v * (1 - s) if reset == "zero" else v - s * n.v_threshold)
        return s

    back: Any = layer(w_rec, np.zeros(len(w_rec.weight))) if always else 0.0
    hidden, out = [], []
    for frame in x:
        hidden.append(fires("lif1", layer(fc1, frame) + back))
        back = layer(w_rec, hidden[-1])
        out.append(fires("lif2", layer(fc2, hidden[-1])))
    name = {"flat": "lif1.lif", "flattened": "lif1", "nested": "lif1.lif"}
    return {name.get(form, "lif1.lif1.lif"): np.stack(hidden), "lif2": np.stack(out)}


VERSIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "zero": ("zero", {"bias": True, "hidden": 38}),
    "subtract": ("subtract", {"bias": False, "hidden": 55}),
    "old": ("zero", {"bias": True, "recurrent_bias": True, "hidden": 38}),
}
STATED: dict[str, Any] = {"zero": None, "subtract": None, "always": "always", "delayed": "delayed"}
VERSIONS |= {"always": VERSIONS["old"], "delayed": VERSIONS.pop("old")}


def read_version(version: str, form: Form, path: Path) -> Graph:
    reset, options = VERSIONS[version]
    said = CUBA | {"reset": reset, "recurrent_bias": STATED[version]}
    return read(braille(form, **options), path, **said)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "form",
    [
        "flat",
        "nested",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("flattened", "renamed")),
    ],
)
def test_the_recurrent_network(form: Form, version: str, tmp_path: Path) -> None:
    graph = read_version(version, form, tmp_path)
    reset, options = VERSIONS[version]
    x = spikes_into(graph, 3, 0.3)
    found = run(graph, x).values
    for name, wanted in loop_of_braille(form, x, reset, version == "always", **options).items():
        assert 0.02 < wanted.mean() < 0.6
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)


@pytest.mark.parametrize(
    "version",
    ["subtract", *(pytest.param(v, marks=pytest.mark.slow) for v in VERSIONS if v != "subtract")],
)
def test_the_recurrent_network_on_every_target(version: str, tmp_path: Path) -> None:
    graph = read_version(version, "nested", tmp_path)
    chip = quantized(graph)
    assert sum(isinstance(n.op, Neuron) and n.op.current_decay > 0 for n in chip.nodes) == 2
    x = spikes_into(chip, 3, 0.3)
    assert 0.02 < run(chip, x).values["lif2"].mean() < 0.6
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)


@pytest.mark.parametrize("version", ["delayed", pytest.param("zero", marks=pytest.mark.slow)])
def test_snntorch_itself_runs_the_recurrent_network_alike(version: str, tmp_path: Path) -> None:
    """snnTorch 1.0, in memory: its nirtorch cannot import the graph in a file's order of nodes.

    In float32; no membrane comes near the threshold. Of a loop it takes the step before, zero at
    first, and the current of this step: so its importer delays a bias that its own RSynaptic has
    from the first step on.
    """
    importer = pytest.importorskip("snntorch.import_nir")
    options = VERSIONS[version][1]
    graph = read_version(version, "nested", tmp_path)
    x = spikes_into(graph, 3, 0.3)
    found = []
    for i in range(3):
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            model, state, sample = importer.import_from_nir(braille("nested", **options)), None, []
            for frame in torch.from_numpy(x[:, i : i + 1].astype(np.float32)):
                y, state = model(frame, state)
                sample.append(y.numpy())
        found.append(np.concatenate(sample))
    np.testing.assert_array_equal(run(graph, x).values["lif2"], np.stack(found, axis=1))


def test_what_a_recurrent_file_leaves_open_is_asked(tmp_path: Path) -> None:
    for form in ("flat", "nested"):
        with pytest.raises(NirFileError, match="a loop has no Delay node"):
            read(braille(form), tmp_path, current="new")
    with pytest.raises(NirFileError, match="leaves open: current"):
        read(braille(), tmp_path, feedback="previous")
    with pytest.raises(NirFileError, match="leads to no Output") as e:
        read(braille("unlooped"), tmp_path, **CUBA)
    assert "node 'lif1.w_rec'" in str(e.value)
