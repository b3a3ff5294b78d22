"""Programs of torch.export give the graph of their module; all others are refused by node."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.errors import InputError
from purespike.flow.inputs.load import load_subject
from purespike.flow.inputs.stated import Stated
from purespike.trainer.capture.exported import read_exported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.errors import CheckpointError
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build, main_only
from purespike.trainer.nn import gates, layers
from purespike.trainer.nn.attention import AttentionScores
from purespike.trainer.nn.neuron import IF, PLIF, Neuron

STEPS, SAMPLES, SHAPE = 3, 2, (2, 6, 6)
CONFIG = ModelConfig(
    in_channels=2, classes=3, steps=STEPS, size=(6, 6), stem=3, widths=(3, 4), strides=(1, 2),
    neuron=NeuronConfig(threshold=0.5),
)  # fmt: skip


def frames(samples: int = SAMPLES, shape: tuple[int, ...] = SHAPE) -> Tensor:
    r = np.random.default_rng(0)
    return torch.tensor((r.random((STEPS, samples, *shape)) < 0.4).astype(np.float32))


def lively(model: nn.Module) -> nn.Module:
    """Random statistics, so that every parameter matters."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                nn.init.normal_(module.running_mean, 0.0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 2.0)
            nn.init.normal_(module.bias, 0.2, 0.2)
    return model.eval()


def exported(
    model: nn.Module, path: Path, x: Tensor | None = None, **options: Any
) -> torch.export.ExportedProgram:
    program = torch.export.export(model, (frames() if x is None else x,), **options)
    torch.export.save(program, path)
    return program


def same(a: Any, b: Any) -> bool:
    """Equal in every field, arrays in every bit."""
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    if is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def neurons(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda m, i, o, path=path: seen.update({path: o}))
    with torch.no_grad():
        model(x)
    return seen


def plain() -> nn.Module:
    return nn.Sequential(
        layers.Conv2d(2, 4, 3, padding="same"),
        layers.ThresholdBatchNorm2d(4, 0.5, terms=2),
        Neuron(threshold=0.3, reset="subtract", amount=1.0),
        layers.MaxPool2d(2),
        nn.Dropout(0.5),
        layers.Conv2d(4, 4, 3, groups=2, bias=False, stride=2, padding=2, dilation=2),
        Neuron(threshold=0.1, reset="subtract", decay=0.75),
        layers.GlobalAvgPool2d(),
        layers.Flatten(),
        nn.Linear(4, 3),
        layers.TimeMean(),
    )


class Own(nn.Module):
    """What users write: merged time by hand, functions, a sum, a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.lif = PLIF(tau=1.7, threshold=0.2)
        self.join = gates.Xor()
        self.fc = nn.Linear(36, 36)
        self.out = Neuron(decay=0.9, threshold=0.3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        t, b = x.shape[:2]
        y = self.norm(self.conv(x.reshape(t * b, *x.shape[2:])))
        s = self.lif(functional.max_pool2d(y, 2).reshape(t, b, -1))
        first = self.fc(s)
        second = self.out(first + self.fc(s) + s)
        return {"other": first.mean(0), "main": self.join(second, s)}


@pytest.mark.parametrize(
    "make",
    [
        lambda: build(CONFIG, seed=1).double(),
        lambda: main_only(build(replace(CONFIG, gate="iand"), seed=2)),
        lambda: build(
            replace(CONFIG, neuron=NeuronConfig(decay=0.6, input_scale=0.4, learned_tau=True)),
            seed=3,
        ),
        plain,
    ],
    ids=["residual-or-auxiliary", "residual-iand", "leaky-learned", "plain"],
)
def test_a_program_is_the_graph_of_its_module(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    model = lively(make())
    kind = next(model.parameters()).dtype
    exported(model, tmp_path / "m.pt2", frames().to(kind))
    read = read_exported(tmp_path / "m.pt2")
    assert (read.shape, read.steps) == (SHAPE, STEPS)
    wanted = capture(model, SHAPE, STEPS).graph
    found = capture(read.module, SHAPE, STEPS).graph
    if "x" not in {e.name for e in wanted.inputs}:  # nn.Sequential calls it otherwise
        wanted = renamed(wanted)
    assert [n.name for n in found.nodes] == [n.name for n in wanted.nodes]
    for a, b in zip(found.nodes, wanted.nodes, strict=True):
        assert same(a, b), a.name
    for what in ("inputs", "outputs", "steps", "dt"):
        assert getattr(found, what) == getattr(wanted, what)
    x = frames(samples=5).to(kind)
    spikes, theirs = neurons(read.module, x), neurons(model, x)
    assert list(spikes) == list(theirs)
    for path in spikes:
        assert torch.equal(spikes[path], theirs[path])
    assert any(0 < float(s.mean()) < 1 for s in theirs.values())


def renamed(graph: Graph) -> Graph:
    (edge,) = graph.inputs
    nodes = tuple(
        replace(n, inputs=tuple("x" if i == edge.name else i for i in n.inputs))
        for n in graph.nodes
    )
    return replace(graph, inputs=(replace(edge, name="x"),), nodes=nodes)


@pytest.mark.parametrize("strict", [False, True])
def test_a_module_of_functions_and_views(tmp_path: Path, strict: bool) -> None:
    model = lively(Own())
    program = exported(model, tmp_path / "m.pt2", strict=strict)
    x = frames()
    with torch.no_grad():
        wanted = model(x)
        assert torch.equal(program.module()(x)["main"], wanted["main"])  # torch runs it, too
    read = read_exported(tmp_path / "m.pt2")
    graph = capture(read.module, SHAPE, STEPS).graph
    values = run(graph, x.double().numpy()).values
    assert 0 < float(wanted["main"].mean()) < 1
    np.testing.assert_array_equal(values[graph.outputs[0]], wanted["main"].numpy())
    names = [n.name for n in graph.nodes]
    assert {"conv", "norm", "max_pool2d", "lif", "fc", "fc-2", "add", "add-2", "join"} < set(names)


def test_compile_and_check_take_it(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    exported(lively(main_only(build(CONFIG, seed=1))), path)
    subject = load_subject(str(path))
    assert subject.shape == SHAPE and len(subject.spikes) == STEPS
    with pytest.raises(InputError, match="does not take steps=N"):
        load_subject(str(path), Stated(steps=STEPS))
    said = ["--lava", "none", "--samples", "4", "-o", str(tmp_path / "b")]
    result = CliRunner().invoke(app, ["compile", str(path), *said])
    assert result.exit_code == 1 and "PS012" in result.output  # nothing labelled: not proved
    found = json.loads((tmp_path / "b" / "report.json").read_text())["findings"]
    wrong = {(f["rule"], f["where"]) for f in found if f["status"] != "PASS"}
    assert wrong == {("PS010", "Lava"), ("PS012", "whole network")}  # neither was asked for


class Unrolled(nn.Module):
    """A neuron as other frameworks write it, and as torch.export leaves it."""

    def __init__(self) -> None:
        super().__init__()
        self.lif = Leaky()

    def forward(self, x: Tensor) -> Tensor:
        v = torch.zeros_like(x[0])
        out = []
        for step in x:
            s, v = self.lif(step, v)
            out.append(s)
        return torch.stack(out)


class Leaky(nn.Module):
    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.9 * v + x
        s = (v >= 1.0).to(x.dtype)
        return s, v * (1.0 - s)


class Call(nn.Module):
    """Any function, with a neuron behind it."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f
        self.inner = nn.Sequential(IF())

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.inner(self.f(x))
        return spikes


@pytest.mark.parametrize(
    ("model", "where", "why"),
    [
        (Unrolled(), "lif", r"aten\.ge\.Scalar here: a comparison with a threshold outside"),
        (Call(lambda x: x[:2] + x[1:]), "the model", r"slice\.Tensor here: it takes single steps"),
        (Call(lambda x: x * x), "the model", r"aten\.mul\.Tensor here: it is not known"),
        (Call(lambda x: x + 1.0), "the model", r"aten\.add\.Tensor here: values .* as self, not"),
        (Call(lambda x: torch.add(x, x, alpha=2)), "the model", "a sum with alpha 2"),
        (Call(lambda x: x.add_(x)), "the model", r"add_\.Tensor here: it changes a tensor in pl"),
        (Call(lambda x: x.flatten(0, 1)), "inner.0", "it meets steps merged with samples"),
        (Call(lambda x: x.reshape(2, 3, 2, 6, 6)), "the model", "it mixes steps, samples or"),
        (Call(lambda x: x.reshape(3, 2, 6, 6, 2)), "the model", "it mixes steps, samples or"),
        (Call(lambda x: x.mean((3, 4))), "the model", r"a mean over \[3, 4\]"),
        (Call(lambda x: x.mean(0)), "inner.0", "it meets a mean over time"),
        (Call(nn.Conv2d(2, 2, 1)), "f", r"a sequence \(T, B, ...\)"),
        (Call(lambda x: functional.max_pool2d(x.flatten(0, 2), 2)), "the model", "it mixes"),
        (nn.Sequential(nn.Flatten(2), nn.Flatten(0, 1), nn.BatchNorm1d(72)), "2", r"meets \(6, 72"),
        (Call(lambda x: functional.dropout(x, 0.5)), "the model", "it drops at random"),
        (Call(lambda x: functional.adaptive_avg_pool2d(x.flatten(0, 1), 4)), "the model", "window"),
        (Call(lambda x: AttentionScores(2)(x, x)), "the model", "has no operation for aten"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_by_node_and_module(
    model: nn.Module, where: str, why: str, tmp_path: Path
) -> None:
    x = frames(shape=(3, 6)) if where == "f" else frames()  # as if B were the channels
    exported(model.eval(), tmp_path / "m.pt2", x)
    with pytest.raises(CaptureError, match=why) as caught:
        read_exported(tmp_path / "m.pt2")
    assert caught.value.where.startswith(where)


def test_a_program_of_one_sample_may_have_two_meanings(tmp_path: Path) -> None:
    model = Call(lambda x: x.reshape(3, 1, 4))
    exported(model, tmp_path / "m.pt2", torch.zeros(3, 1, 1, 4))
    with pytest.raises(CaptureError, match="more than one meaning"):
        read_exported(tmp_path / "m.pt2")


def test_a_program_must_be_of_fixed_sizes_and_of_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    exported(Call(lambda x: x), path, dynamic_shapes=({1: torch.export.Dim("batch")},))
    with pytest.raises(CaptureError, match="inputs of several sizes"):
        read_exported(path)
    exported(nn.Sequential(layers.BatchNorm2d(2)).train(), path)
    with pytest.raises(CaptureError, match="statistics from the batch"):
        read_exported(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, while it copies
        torch.export.save(exported(lively(plain()), path).run_decompositions(), path)
    with pytest.raises(CaptureError, match="the program was decomposed"):
        read_exported(path)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(Trap.path),))

    path = ""


def altered(source: Path, to: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return to


def test_no_code_of_a_file_runs(tmp_path: Path) -> None:
    """torch.export.load runs it; we do not even need to be told to trust the file."""
    exported(Call(lambda x: x), tmp_path / "m.pt2")
    Trap.path = str(tmp_path / "sprung")
    evil = pickle.dumps(Trap())
    path = altered(
        tmp_path / "m.pt2",
        tmp_path / "evil.pt2",
        lambda name, old: evil if "sample_inputs" in name else old,
    )
    assert read_exported(path).steps == STEPS
    assert not Path(Trap.path).exists()
    pickle.loads(evil)
    assert Path(Trap.path).exists()  # the trap works


@pytest.mark.parametrize(
    ("part", "old", "new", "why"),
    [
        ("weights_config", b'"use_pickle": false', b'"use_pickle": true ', "which can run code"),
        ("model.json", b'"major": 8', b'"major": 9', "another version"),
        ("model.json", b'"nodes"', b'"knots"', "KeyError: 'nodes'"),
        ("model.json", b"{", b"[" * 5000, "cannot be read"),
        ("weights_config", b'"as_int": 36', b'"as_int": 99', "does not fit"),
        ("weights_config", b'"dtype": 7', b'"dtype": 9', "weights of this type"),
        ("byteorder", b"little", b"big", "another byte order"),
    ],
)
def test_damaged_files_are_refused(
    part: str, old: bytes, new: bytes, why: str, tmp_path: Path, linear: Path
) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(old, new) if part in name else content

    path = altered(linear, tmp_path / "m.pt2", change)
    assert path.read_bytes() != linear.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        read_exported(path)
    assert why in str(caught.value)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    exported(nn.Sequential(nn.Linear(36, 5)), path, frames(shape=(36,)))
    return path


def test_other_archives_are_refused(tmp_path: Path, linear: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_text("?")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_exported(path)
    torch.save({}, path)
    with pytest.raises(CheckpointError, match="does not hold one exported program"):
        read_exported(path)
    with zipfile.ZipFile(linear) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CheckpointError, match="not as torch writes it"):
        read_exported(path)
