"""One layer's life is what the report, the passes and the files say, each looked up anew here."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.flow_cases import FAST, resnet, subject
from msgspec.structs import replace

from purespike.cli.layer import _measured
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.life import layer_names, life_of
from purespike.compiler.report.report import Report
from purespike.flow.build import build
from purespike.flow.result import Build
from purespike.targets.bundle.naming import files_with


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path]:
    """A build and its bundle."""
    made = build(subject(resnet()), FAST)
    folder = tmp_path_factory.mktemp("life") / "bundle"
    made.save(folder)
    return made, folder


def written(graph: Graph) -> dict[str, tuple[str, bytes]]:
    """Every node as text with the bytes of its parameters: nothing of the module under test."""
    return {
        n.name: (f"{n} {n.op!r}", b"".join(a.tobytes() for a in n.op.arrays().values()))
        for n in graph.nodes
    }


def test_the_ledger_says_of_every_node_whether_a_pass_changed_it(
    built: tuple[Build, Path],
) -> None:
    compiled = built[0].compiled
    assert compiled is not None
    stages = list(compiled.stages)
    for before, line in zip(stages, compiled.ledger, strict=False):
        old, new = written(compiled.stages[before]), written(compiled.stages[line.name])
        expected = {n: "removed" for n in old if n not in new}
        expected |= {n: "made" for n in new if n not in old}
        expected |= {n: "changed" for n in new if n in old and old[n] != new[n]}
        assert dict(line.changes) == expected, line.name
    assert sum(len(line.changes) for line in compiled.ledger) > 40


def test_every_layer_has_a_life_with_its_figures(built: tuple[Build, Path]) -> None:
    report = built[0].report
    data = json.loads(report.to_json())
    census = {row["name"]: row for row in data["census"]["layers"]}
    for row in data["network"]["nodes"]:
        life = life_of(report, row["name"])
        assert (life.operation, life.module, life.domain) == (
            row["operation"],
            row["origin"],
            row["domain"],
        )
        readers = [n["name"] for n in data["network"]["nodes"] if row["name"] in n["reads"]]
        assert list(life.feeds) == readers
        if life.counts:
            assert life.counts.counts.ac == census[row["name"]]["counts"]["ac"]
        scales = data["ledger"][-1]["scales"]
        assert life.scale == scales.get(row["name"])
        rules = {f["rule"] for f in data["findings"] if row["name"] in f["where"].split()}
        assert rules <= {f.rule for f in life.findings}
        if row["fires"]:
            assert life.activity and life.cores[0].layer == row["name"]
            assert set(life.executors) >= {"ONNX Runtime", "cpu", "NIR, read back"}


def test_a_layer_that_a_pass_removed_is_told_and_so_is_what_made_one(
    built: tuple[Build, Path],
) -> None:
    report = built[0].report
    gone = life_of(report, "blocks.0.bn1")
    assert (gone.removed_by, gone.operation, gone.cores) == ("fuse_batchnorm", None, ())
    assert life_of(report, "blocks.0.aap_add").removed_by == "strip_auxiliary"
    made = life_of(report, "blocks.0.gate.in0")
    assert [(t.pass_, t.change) for t in made.passes if t.change] == [("lower_gates", "made")]
    assert [c.layer for c in made.cores] == ["blocks.0.gate"]  # the neurons that read its current
    kept = life_of(report, "fc")
    assert any("shared, kept for the main path" in n for t in kept.passes for n in t.notes)


def test_an_older_report_says_that_it_does_not_know(built: tuple[Build, Path]) -> None:
    report = built[0].report
    lines = tuple(replace(line, changes=None) for line in report.ledger)
    older = Report.from_json(replace(report, ledger=lines).to_json())
    assert '"changes"' not in older.to_json()
    life = life_of(older, "stem.0")
    assert not life.followed and all(t.change is None for t in life.passes)
    with pytest.raises(UsageError):
        life_of(older, "blocks.0.bn1")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("stem.9", "stem.0"),
        ("blocks.0", "blocks.0.conv1"),
        ("GATE", "blocks.0.gate"),
        ("", ""),
    ],
)
def test_an_unknown_layer_is_answered_with_near_names(
    built: tuple[Build, Path], name: str, guess: str
) -> None:
    with pytest.raises(UsageError, match="no layer of this name") as caught:
        life_of(built[0].report, name)
    assert guess in caught.value.remedy and "stem.0" in caught.value.allowed


def test_the_files_of_a_layer_hold_it(built: tuple[Build, Path]) -> None:
    _, folder = built
    with h5py.File(folder / "model.nir") as file:
        nodes = set(file["node/nodes"])
    golden = set(np.load(folder / "golden.npz").files)
    program = (folder / "lava" / "program.json").read_text()
    every = layer_names(built[0].report)
    for name in (*every[:3], "blocks.0.gate", "blocks.0.gate.in0", "fc", every[-1]):
        files = files_with(folder, name)
        assert ("model.nir" in files) == (name in nodes)
        assert ("golden.npz" in files) == bool({f"spikes/{name}", f"membranes/{name}"} & golden)
        assert ("lava/program.json" in files) == (f'"name": "{name}"' in program)
    assert "model.onnx" in files_with(folder, "stem.0")
    assert files_with(folder, "nothing") == {}


def test_a_gate_shows_no_measured_membrane(built: tuple[Build, Path]) -> None:
    """It forgets at every step, so 0 is left behind the reset, however often it fires."""
    report = built[0].report
    rows = {name: dict(_measured(life_of(report, name))) for name in ("blocks.0.gate", "stem.2")}
    assert "membrane, measured" not in rows["blocks.0.gate"]
    assert "membrane, measured" in rows["stem.2"]
    assert all("spikes, by step" in row for row in rows.values())
