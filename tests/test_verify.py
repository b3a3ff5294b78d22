"""`purespike verify`: everything in a bundle is run or compared, and it says no more than that."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adversarial.campaign import KINDS, campaign, chosen, sight, three_bundles
from adversarial.edits import Edit, seal
from helpers.flow_cases import FAST, Plain, subject
from helpers.parsing import CHILD
from helpers.report_cases import page_of
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError
from purespike.flow.build import build
from purespike.judge.bundle.contents import examine
from purespike.targets.bundle.bundle import MANIFEST, BundleError, read_bundle
from purespike.targets.bundle.golden_network import replay_bundle
from purespike.targets.nir.guard import guard
from purespike.trainer.nn.neuron import IF, Neuron

pytestmark = pytest.mark.usefixtures("parsed_here")

SEED = 20261129


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequential network in every form, its golden samples a part of those reported."""
    folder = tmp_path_factory.mktemp("verify") / "plain"
    model = Plain(nn.Identity())
    build(subject(model), replace(FAST, netx=True, onnx="qonnx")).save(folder)
    return folder


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    shutil.copytree(bundle, tmp_path / "copy")
    return tmp_path / "copy"


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize("kind", chosen(SEED), ids=lambda e: f"{e.file}: {e.kind}")
def test_an_edit_of_any_file_is_caught_though_every_hash_is_right(kind: Edit, bundle: Path) -> None:
    found = sight(kind, SEED, bundle)
    if found is None:
        pytest.skip("this bundle has nothing of the kind")
    assert found.caught


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_edits_are_caught(tmp_path: Path) -> None:
    sightings = list(campaign(three_bundles(tmp_path), 200, SEED))
    assert len(sightings) == 200
    assert {s.edit for s in sightings} == set(KINDS)
    assert [(s.edit.file, s.edit.kind, s.seed, s.bundle) for s in sightings if not s.caught] == []


@pytest.mark.slow
def test_lava_runs_the_program_that_lies_in_the_bundle(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    path = tmp_path / "b" / "lava" / "program.json"
    text = json.loads(path.read_text())
    neuron = next(p for p in text["processes"] if p["kind"] == "lif")
    neuron["vth"] = 0  # fires at once
    path.write_text(json.dumps(text, indent=1) + "\n")
    seal(tmp_path / "b")
    found = examine(read_bundle(tmp_path / "b"), lava=True)
    assert found.lava is not None and found.lava.lava is not None and not found.lava.own
    wrong = [f for f in found.lava.findings if f.status == "FAIL"]
    assert wrong and wrong[0].where.startswith("Lava on lava/program.json: ")
    code, out = run("simulate", tmp_path / "b")
    assert code == 1 and "lava/program.json is not the program of model.nir" in out
    code, out = run("simulate", bundle, "--samples", "3")
    assert code == 0 and "Lava ran lava/program.json on 3 samples" in out, out


def test_its_words_say_what_was_run_and_compared_and_nothing_else(bundle: Path) -> None:
    code, out = run("verify", bundle, "--no-lava")
    assert code == 0, out
    files = [p for p in bundle.rglob("*") if p.is_file()]
    assert f"4 of {len(files)} files were run" in out  # model.nir, model.onnx, golden_network.*
    assert f"{len(files)} compared" in out and "all bit for bit equal" in out
    assert "on 8 samples: interpreter 3, cpu 3, ONNX Runtime 3, numpy 3; Lava did not run" in out
    assert "the 4 others are not in the bundle" in out  # the report is about 12
    assert "that the labels are true" in out
    assert not re.search(r"PS0\d\d", out)  # it judges no rule


def test_an_edited_program_of_lava_is_caught_without_lava(copy: Path) -> None:
    path = copy / "lava" / "program.json"
    path.write_text("{}\n")
    seal(copy)
    code, out = run("verify", copy, "--no-lava")
    assert code == 1 and "NOT EQUAL: lava/program.json" in out
    code, out = run("simulate", copy)
    assert code == 1 and "Lava did not run\n" in out
    assert "\nNOT EQUAL: lava/program.json is not the program of model.nir" in out


def test_a_network_without_layers_replays_nothing_and_says_so(copy: Path) -> None:
    path = copy / "golden_network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "nodes": []}))
    seal(copy)
    with pytest.raises(BundleError, match="cannot be replayed") as e:
        replay_bundle(copy)
    assert "other layers than were recorded" in e.value.found
    code, out = run("verify", copy, "--no-lava")
    assert code == 1 and "NOT EQUAL: golden_network.json" in out


def test_replay_names_the_first_difference_over_all_batches(copy: Path) -> None:
    with np.load(copy / "golden.npz") as file:
        arrays = {n: file[n].copy() for n in file.files}
    many = {n: np.concatenate([a] * 3, axis=0 if n == "labels" else 1) for n, a in arrays.items()}
    name = next(n for n in many if n.startswith("spikes/"))
    many[name][1, 20].flat[3] ^= 1
    many[name][2, 1].flat[0] ^= 1
    np.savez_compressed(copy / "golden.npz", **many)
    seal(copy)
    _, rows = replay_bundle(copy)
    row = next(r for r in rows if r.different)
    assert (row.layer, row.different, row.samples) == (name.removeprefix("spikes/"), 2, 24)
    assert row.first is not None and row.first[:2] == (1, 20)
    assert {r.values for r in rows if r.layer == row.layer} == {many[name].size}


def written_by(version: str, folder: Path) -> None:
    """Say that another version wrote a bundle, wherever a bundle says so without its network."""
    from purespike.targets.bundle.bundle import read_golden

    for name in ("report.json", "manifest.json"):
        data = json.loads((folder / name).read_text())
        data["versions"]["purespike"] = version
        (folder / name).write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    data = json.loads((folder / "report.json").read_text())
    page = page_of(data, read_golden(folder / "golden.npz").trace())
    (folder / "report.html").write_text(page, encoding="utf-8")


def test_what_only_another_version_could_compare_is_not_proved_and_no_false_alarm(
    copy: Path,
) -> None:
    written_by("0.0.7", copy)
    script = copy / "replay.py"
    script.write_text(script.read_text() + "# as it was then\n")
    seal(copy)
    code, out = run("verify", copy, "--no-lava")
    flat = " ".join(out.replace("│", " ").split())
    assert code == 1 and "NOT EQUAL" not in flat
    assert "NOT PROVED: purespike 0.0.7 wrote this bundle" in flat
    assert "replay.py, manifest.json otherwise" in flat


@pytest.mark.parametrize("neuron", ["soft", "leaky"])
def test_a_bundle_whose_samples_are_all_samples_decides_every_figure(
    neuron: str, tmp_path: Path
) -> None:
    model = Plain(nn.Identity())
    soft = IF(reset="subtract", threshold=0.5, amount=1.0)
    model.neuron1 = soft if neuron == "soft" else Neuron(decay=0.7, threshold=0.5)
    build(subject(model), replace(FAST, golden=12)).save(tmp_path / "b")
    found = examine(read_bundle(tmp_path / "b"), lava=False)
    assert [str(f) for f in found.findings if f.status != "PASS"] == []
    report = tmp_path / "b" / "report.json"
    data = json.loads(report.read_text())
    # One spike more over all samples, everywhere that a sum or a mean says it.
    row = next(r for r in data["activity"] if r["rate_by_step"])
    row["rate_by_step"][0] += 1e-3
    layer = next(r for r in data["census"]["layers"] if r["name"] == row["name"])
    layer["firing_rate"] = float(np.mean(row["rate_by_step"]))
    report.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    seal(tmp_path / "b")
    wrong = [
        f for f in examine(read_bundle(tmp_path / "b"), lava=False).findings if f.status != "PASS"
    ]
    assert {f.where.split("[")[0] for f in wrong} == {
        "report.json: activity",
        "report.json: census.layers",
        "report.html",
    }


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.qonnx.onnx", "model.net", "replay.py", "lava", "report.html"]
)
def test_a_missing_file_is_named_though_no_manifest_misses_it(name: str, copy: Path) -> None:
    path = copy / name
    gone = [p.relative_to(copy).as_posix() for p in path.rglob("*")] or [name]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    seal(copy)
    code, out = run("verify", copy, "--no-lava")
    assert code == 1 and "all bit for bit equal" not in out
    assert set(re.findall(r"NOT EQUAL: (.*)", out)[0].split(", ")) >= set(gone), out


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx", "model.qonnx.onnx", "model.net"])
def test_damage_inside_a_file_is_an_error_or_a_finding_and_never_ours(
    name: str, bundle: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_run", CHILD)  # libhdf5 may crash
    whole = (bundle / name).read_bytes()
    damaged = [b"", whole[: len(whole) // 2]]
    if name != "model.net":  # HDF5 has gaps: there the content would be the same
        damaged.append(whole[:200] + bytes(400) + whole[600:])
    for content in damaged:
        (copy / name).write_bytes(content)
        seal(copy)
        try:
            found = examine(read_bundle(copy), lava=False)
        except BundleError as e:
            assert e.where.endswith(name) and e.found and "compile again" in e.remedy
        else:
            assert any(f.where == name and f.status == "FAIL" for f in found.compared)


def test_what_lies_between_the_files_is_refused(copy: Path) -> None:
    pipe = copy / "lava" / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BundleError, match="not listed") as e:
        read_bundle(copy)
    assert e.value.where == str(pipe)
    edit_manifest(copy, lambda m: m["files"].update({"lava/pipe": {"bytes": 0, "sha256": ""}}))
    with pytest.raises(BundleError, match="missing") as e:  # and never waits for a writer
        read_bundle(copy)
    assert e.value.found == "no file"


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("versions", []),
        ("versions", {}),
        ("versions", {"purespike": None}),
        ("not_written", 5),
        ("not_written", {"model.net": 5}),
        ("files", {"model.nir": None}),
    ],
)
def test_a_manifest_without_meaning_is_one_clear_error(key: str, value: Any, copy: Path) -> None:
    edit_manifest(copy, lambda m: m.update({key: value}))
    with pytest.raises(BundleError) as e:
        read_bundle(copy)
    assert e.value.found and e.value.allowed and e.value.remedy
    assert e.value.where == str(copy / MANIFEST)


@pytest.mark.parametrize("name", ["model.net", "model.qonnx.onnx"])
def test_a_file_that_can_be_written_is_not_called_impossible(name: str, copy: Path) -> None:
    edit_manifest(copy, lambda m: m.update(not_written={name: "netx chains layers"}))
    code, out = run("verify", copy, "--no-lava")
    assert code == 1 and "NOT EQUAL: manifest.json" in out
    (copy / name).unlink()
    seal(copy)
    code, out = run("verify", copy, "--no-lava")
    assert code == 1 and f"NOT EQUAL: {name}, manifest.json" in out


def test_a_bundle_without_its_network_says_whether_it_was_refused(
    copy: Path, tmp_path: Path
) -> None:
    (copy / "golden.npz").unlink()
    seal(copy)
    refused = tmp_path / "refused"
    build(subject(Plain(nn.ReLU())), FAST).save(refused)
    for command in (["verify"], ["simulate"], ["replay"], ["check"], ["check", "--static"]):
        _, error = failing(*command, copy)
        assert error.message == "the bundle has no golden.npz" and "compile" in error.remedy
        _, error = failing(*command, refused)
        assert "it was refused when it was compiled" in error.message
        assert error.remedy == f"read why: purespike report {refused}"


def failing(*arguments: str | Path) -> tuple[str, PurespikeError]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert isinstance(done.exception, PurespikeError), done.output
    return done.output, done.exception


def test_what_is_no_folder_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    for place, found in (
        (tmp_path / "nowhere", "no folder"),
        (bundle / "model.nir", "no folder"),
        (tmp_path, "no manifest.json"),
    ):
        for command in ("verify", "simulate", "replay"):
            _, error = failing(command, place)
            assert (error.message, error.where, error.found) == (
                "this is not a bundle",
                str(place),
                found,
            )
