"""The bundle: complete, byte-identical, tamper-evident, and replayed without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.flow_cases import FAST, Plain, ReluInstead, resnet, subject
from torch import nn

from purespike.compiler.files.writing import OutputError
from purespike.compiler.ir.interpret import run
from purespike.flow.build import build
from purespike.judge.bundle.contents import examine
from purespike.judge.compiled import static_findings
from purespike.targets.bundle.bundle import BundleError, NotWritten, read_bundle
from purespike.targets.bundle.golden_network import replay_bundle
from purespike.targets.netx.read import read_netx
from purespike.trainer.nn.layers import MaxPool2d
from purespike.trainer.nn.neuron import IF, Neuron

pytestmark = pytest.mark.usefixtures("parsed_here")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "one"
    build(subject(resnet("iand")), FAST).save(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_same_build_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    build(subject(resnet("iand")), FAST).save(tmp_path / "two")
    first, second = files(bundle), files(tmp_path / "two")
    assert set(first) == {
        "model.nir",
        "model.onnx",
        "golden.npz",
        "golden_network.json",
        "golden_network.npz",
        "replay.py",
        "report.json",
        "report.html",
        "manifest.json",
        "lava/program.json",
        "lava/arrays.npz",
        "lava/run.py",
        "lava/lava_shim.py",
    }
    assert [n for n in first if first[n] != second[n]] == []


def test_it_replays_bit_for_bit_and_its_network_is_spike_only(bundle: Path) -> None:
    loaded = read_bundle(bundle)
    assert {f.status for f in examine(loaded, lava=False).findings} == {"PASS"}
    assert {f.status for f in static_findings(loaded.graph)} == {"PASS"}
    assert loaded.golden.inputs.shape[1] == 8
    assert max(float(v.mean()) for v in loaded.golden.spikes.values()) > 0


def changed(name: str) -> nn.Module:
    """A residual network, or a plain one with another neuron or a pool in it."""
    if name in ("and", "or", "iand", "xor", "sn"):
        return resnet(name)
    model = Plain(MaxPool2d(2) if name == "pooled" else nn.Identity())
    if name == "soft":
        model.neuron1 = IF(reset="subtract", threshold=0.5, amount=1.0)
    if name == "leaky":
        model.neuron1 = Neuron(decay=0.7, threshold=0.5)
    return model


@pytest.mark.parametrize("name", ["and", "or", "iand", "xor", "sn", "soft", "leaky", "pooled"])
def test_every_kind_of_network_replays_with_numpy_alone(name: str, tmp_path: Path) -> None:
    built = build(subject(changed(name)), FAST)
    built.save(tmp_path / "b")
    files, rows = replay_bundle(tmp_path / "b")
    assert [str(r) for r in rows if r.different] == []
    assert built.golden is not None
    assert files > 6 and len(rows) == len(built.golden.spikes) + len(built.golden.membranes)
    assert any(a.any() for a in built.golden.spikes.values())
    # Every file follows from model.nir, also where an array lay in another order in memory, and the
    # report and the manifest from both.
    found = examine(read_bundle(tmp_path / "b"), lava=False).findings
    assert [str(f) for f in found if f.status != "PASS"] == []


@pytest.mark.parametrize(
    "name", ["model.nir", "model.onnx", "golden.npz", "report.json", "report.html"]
)
def test_a_changed_file_is_refused_by_name(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    for path, content in files(bundle).items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(content)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match="was changed") as e:
        read_bundle(copy)
    assert e.value.where.endswith(name)


def test_missing_unlisted_and_foreign_files_are_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="this is not a bundle"):
        read_bundle(tmp_path)
    copy = tmp_path / "copy"
    for path, content in files(bundle).items():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes(content)
    (copy / "extra").touch()
    with pytest.raises(BundleError, match="not listed"):
        read_bundle(copy)
    (copy / "extra").unlink()
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match="is missing"):
        read_bundle(copy)


def test_a_changed_golden_spike_is_found_by_the_replay(bundle: Path) -> None:
    loaded = read_bundle(bundle)
    name = next(iter(loaded.golden.spikes))
    loaded.golden.spikes[name].flat[5] ^= 1
    runs = examine(loaded, lava=False).runs
    assert [r.executor for r in runs] == ["interpreter", "cpu", "ONNX Runtime", "numpy"]
    wrong = [f for run in runs[:3] for f in run.findings if f.status == "FAIL"]
    assert [f.where.split(": ")[1] for f in wrong] == [name] * 3
    assert "1 of" in wrong[0].measured
    assert str(np.unravel_index(5, loaded.golden.spikes[name].shape)[0]) in wrong[0].measured


def test_a_refused_network_leaves_its_report_only(tmp_path: Path) -> None:
    build(subject(ReluInstead()), FAST).save(tmp_path / "refused")
    assert set(files(tmp_path / "refused")) == {"report.json", "report.html", "manifest.json"}
    report = json.loads((tmp_path / "refused" / "report.json").read_text())
    assert report["verdict"]["headline"] == "NOT SPIKE-ONLY: broken PS001, PS004"
    with pytest.raises(BundleError, match=r"no model\.nir"):
        read_bundle(tmp_path / "refused")


def test_a_folder_of_someone_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="holds something else"):
        build(subject(resnet()), FAST).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_verify_runs_where_torch_cannot_be_imported(bundle: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['lightning'] = None\n"
        f"sys.argv = ['purespike', 'verify', {str(bundle)!r}, '--no-lava']\n"
        "from purespike.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all bit for bit equal" in done.stdout


def test_a_sequential_network_goes_to_lava_dl_too(tmp_path: Path) -> None:
    build(subject(Plain(nn.Identity())), replace(FAST, netx=True)).save(tmp_path / "plain")
    loaded = read_bundle(tmp_path / "plain")  # every hash checked
    again = read_netx(tmp_path / "plain" / "model.net")
    trace = run(again, loaded.golden.inputs.astype(np.float64))
    for name, spikes in loaded.golden.spikes.items():
        assert np.array_equal(trace.values[name], spikes), name
    folder = tmp_path / "residual"
    with pytest.raises(NotWritten, match=r"model\.net cannot be written") as e:
        build(subject(resnet("iand")), replace(FAST, netx=True)).save(folder)
    assert "leave out --netx" in e.value.remedy and e.value.where.startswith("%")
    assert "every other file" in e.value.__notes__[0]
    manifest = read_bundle(folder).manifest  # every hash checked
    assert "model.net" not in manifest["files"] and "model.nir" in manifest["files"]
    assert e.value.message.partition(": ")[2] in manifest["not_written"]["model.net"]
