"""Every kind of input, through the function and through the commands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adversarial.graphs import chain
from helpers.checker_cases import residual
from helpers.user_files import foreign
from typer.testing import CliRunner

import purespike as ps
from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError
from purespike.errors import InputError
from purespike.flow.build import Options, build
from purespike.flow.inputs.load import load_subject
from purespike.flow.inputs.stated import Stated
from purespike.targets.netx import write_netx
from purespike.targets.nir.emit import write_nir
from purespike.targets.onnx.emit import write_onnx

QUICK = Options(lava="none", golden=4)
USER = """
import torch
from torch import nn
from purespike.trainer.nn.neuron import Neuron
from purespike.trainer.nn import layers

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1 = nn.Linear(6, 8, bias=False)
        self.n1 = Neuron(threshold=1.0)
        self.fc2 = nn.Linear(8, 3, bias=False)
        self.mean = layers.TimeMean()

    def forward(self, x):
        return self.mean(self.fc2(self.n1(self.fc1(x))))

def factory():
    return Net()

net = Net()
number = 3

class Odd(Net):
    def forward(self, x):
        hidden = self.n1(self.fc1(x))
        if isinstance(hidden, torch.Tensor):  # tracing meets no tensor
            raise RuntimeError("out of order")
        return self.mean(self.fc2(hidden))

def odd():
    return Odd()

def broken():
    raise RuntimeError("no weights here")
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that a user wrote, on the path."""
    (tmp_path / "user_network.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "user_network", raising=False)
    return "user_network"


def rules(findings: Any, status: str) -> set[str]:
    return {f.rule.id for f in findings if f.status == status}


@pytest.mark.parametrize("kind", ["nir", "onnx", "net"])
def test_a_compiled_network_in_a_file_is_judged_and_bundled_anew(tmp_path: Path, kind: str) -> None:
    path, graph = tmp_path / f"model.{kind}", chain(weight=2) if kind == "net" else residual()
    {"nir": write_nir, "onnx": write_onnx, "net": write_netx}[kind](graph, path)
    subject = load_subject(str(path))
    assert not subject.labelled and subject.spikes.shape == (
        graph.steps,
        64,
        *graph.inputs[0].shape,
    )
    built = build(subject, QUICK)
    assert rules(built.report.findings, "FAIL") == set()
    assert rules(built.report.findings, "NOT RUN") == {"PS010", "PS012"}  # no Lava, no labels
    assert built.report.accuracy == () and not built.report.compliant
    built.save(tmp_path / "bundle")
    again = load_subject(str(tmp_path / "bundle"))
    assert again.labelled and len(again.labels) == 4


def test_labelled_data_gives_an_accuracy(tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.nir")
    r = np.random.default_rng(0)
    x = r.integers(0, 2, (4, 20, 2))
    np.savez(tmp_path / "data.npz", inputs=x, labels=r.integers(0, 3, 20))
    stated = Stated(1e-3, "zero", "step", 4, True, data=tmp_path / "data.npz", fires="above")
    built = build(load_subject(str(path), stated), QUICK)
    stages = [a.stage for a in built.report.accuracy]
    assert stages[0] == "trained (the graph as read)" and built.report.accuracy[0].n == 20
    assert "PS012" not in rules(built.report.findings, "NOT RUN")


def test_a_module_by_its_path(user: str, tmp_path: Path) -> None:
    stated = Stated(shape=(6,), steps=3)
    for name in ("factory", "net", "Net"):
        subject = load_subject(f"{user}:{name}", stated)
        assert subject.spikes.shape == (3, 64, 6) and not subject.labelled
    built = build(subject, QUICK)
    assert rules(built.report.findings, "FAIL") == set()
    assert "PS012" in rules(built.report.findings, "NOT RUN")


@pytest.mark.parametrize(
    ("name", "stated", "why"),
    [
        ("factory", Stated(), "does not say what it takes"),
        ("factory", Stated(shape=(6,), steps=3, dt=1.0), "does not take dt=SECONDS"),
        ("number", Stated(shape=(6,), steps=3), "cannot be made"),
        ("broken", Stated(shape=(6,), steps=3), "the code that makes the module fails"),
        ("missing", Stated(shape=(6,), steps=3), "cannot be made"),
        ("odd", Stated(shape=(6,), steps=3), "does not run on such an input"),
    ],
)
def test_a_module_that_cannot_be_taken(user: str, name: str, stated: Stated, why: str) -> None:
    with pytest.raises(InputError, match=why):
        load_subject(f"{user}:{name}", stated)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"nonsense", "cannot be read"),
        ({"z": np.zeros((2, 3, 4))}, "not have the form"),
        ({"inputs": np.zeros((2, 3))}, "not have the form"),
        ({"inputs": np.zeros((4, 3, 2)), "labels": np.zeros(2, int)}, "not one label per sample"),
        ({"inputs": np.zeros((4, 3, 5))}, "does not fit the network"),
        ({"inputs": np.array([[[None]]])}, "not have the form"),
    ],
)
def test_data_is_checked(tmp_path: Path, content: Any, why: str) -> None:
    path = foreign(tmp_path / "model.nir")
    data = tmp_path / "data.npz"
    if isinstance(content, bytes):
        data.write_bytes(content)
    else:
        np.savez(data, **content)
    stated = Stated(1e-3, "zero", "step", 4, True, data=data, fires="above")
    with pytest.raises(PurespikeError, match=why):
        load_subject(str(path), stated)


def test_what_nobody_can_use_is_refused(tmp_path: Path) -> None:
    write_onnx(residual(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="dt=SECONDS, steps=N"):
        load_subject(str(tmp_path / "m.onnx"), Stated(dt=1.0, steps=4))
    (tmp_path / "m.xyz").write_text("?")
    with pytest.raises(InputError, match="file of this name"):
        load_subject(str(tmp_path / "m.xyz"))
    (tmp_path / "m.pt2").write_text("?")
    with pytest.raises(PurespikeError, match="exported program cannot be read"):
        load_subject(str(tmp_path / "m.pt2"))
    with pytest.raises(InputError, match="no network of this name"):
        load_subject(str(tmp_path / "nothing"))
    with pytest.raises(PurespikeError, match="leaves open: dt, steps, reset, if_r, fires"):
        load_subject(str(foreign(tmp_path / "model.nir")))


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_check_and_compile_take_each_of_them(tmp_path: Path) -> None:
    write_onnx(residual(), tmp_path / "m.onnx")
    write_netx(chain(weight=2), tmp_path / "m.net")
    for name in ("m.onnx", "m.net"):
        result = invoke("check", "--static", str(tmp_path / name))
        assert result.exit_code == 0, result.output
    said = ["--dt", "0.001", "--reset", "zero", "--if-r", "step", "--steps", "4", "--spike-input"]
    said += ["--fires", "above"]
    path = str(foreign(tmp_path / "model.nir"))
    result = invoke(
        "compile", path, *said, "--lava", "none", "--samples", "4", "-o", str(tmp_path / "b")
    )
    assert result.exit_code == 1 and "PS012" in result.output  # nothing labelled: not proved
    assert (tmp_path / "b" / "model.onnx").is_file()
    assert invoke("check", "--static", str(tmp_path / "b")).exit_code == 0


def test_what_only_training_needs_is_not_loaded_to_compile() -> None:
    """Lightning, the digits and plots take seconds and 200 MB."""
    script = (
        "import sys, purespike.flow.inputs.load, purespike.flow.build\n"
        "print(*sorted({'lightning', 'sklearn', 'matplotlib', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_as_many_samples_are_made_up_as_are_asked_for(user: str) -> None:
    stated = Stated(shape=(6,), steps=4)
    whole = load_subject(f"{user}:factory", stated)
    assert (whole.spikes.shape[1], len(whole.labels), whole.labelled) == (64, 64, False)
    few = load_subject(f"{user}:factory", stated, samples=3)
    assert (few.spikes.shape[1], len(few.labels)) == (3, 3)


def test_a_module_decides_in_parts_what_it_decides_at_once(
    user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = Stated(shape=(6,), steps=4)
    at_once = load_subject(f"{user}:factory", stated).labels
    monkeypatch.setattr("purespike.judge.accuracy._VALUES_AT_ONCE", 4 * 6 * 5)
    np.testing.assert_array_equal(load_subject(f"{user}:factory", stated).labels, at_once)
    monkeypatch.setattr("purespike.judge.accuracy._VALUES_AT_ONCE", 1)
    np.testing.assert_array_equal(load_subject(f"{user}:factory", stated).labels, at_once)


def test_a_network_that_was_compiled_before_has_no_trained_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its integers would be compared with themselves: a broken PS012 became a kept one."""
    monkeypatch.chdir(tmp_path)
    source = foreign(tmp_path / "model.nir")
    r = np.random.default_rng(0)
    np.savez("data.npz", inputs=r.integers(0, 2, (4, 20, 2)), labels=r.integers(0, 3, 20))
    stated = {"dt": 1e-3, "reset": "zero", "if_r": "step", "fires": "above", "spike_input": True}
    first = ps.compile(source, data="data.npz", lava="none", **stated)
    first.save("first")
    again = ps.compile("first", lava="none")
    again.save("again")
    files = (
        ps.compile("first/model.nir", data="data.npz", lava="none"),
        ps.compile("first/model.onnx", data="data.npz", lava="none"),
    )
    for built in (again, *files):
        stages = [a.stage for a in built.report.accuracy]
        assert stages[0] == "compiled before (the graph as read)"
        (missing,) = (f for f in built.report.findings if f.rule.id == "PS012")
        assert missing.status == "NOT RUN" and "compiled before" in missing.measured
        assert "PS012" in built.report.headline and not built.report.compliant
    assert again.report.file == first.report.file  # where the network came from stays known
    judged = ps.check("again", lava="none")
    (seen,) = (f for f in judged.findings if f.rule.id == "PS012")
    assert (seen.status, seen.where) == ("NOT RUN", missing.where)
    assert ps.open_bundle("again").verify(lava=False).equal
