"""The C program in a bundle: written, run as an executor, and never trusted when it is read."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adversarial.edits import seal
from helpers.flow_cases import FAST, resnet, subject
from helpers.rendered import render
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.cli.terminal import out
from purespike.compiler.errors import UsageError
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report
from purespike.flow.build import Build, build
from purespike.judge.bundle.contents import Examination, examine
from purespike.options import Options
from purespike.targets.bundle.bundle import NotWritten, read_bundle
from purespike.targets.c.run import run_c

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")
FILES = {"network.h", "network.c", "parameters.h", "parameters.c", "golden.h", "golden.c"}
FILES |= {"main.c", "Makefile"}


@pytest.fixture(scope="module")
def built() -> Build:
    """Golden samples that are a part of those reported."""
    return build(subject(resnet(), samples=12), replace(FAST, c=True))


@pytest.fixture
def bundle(built: Build, tmp_path: Path) -> Path:
    built.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def verified(folder: Path) -> Examination:
    return examine(read_bundle(folder), lava=False)


def test_it_is_an_executor_of_the_verdict_and_its_needs_are_in_the_report(
    built: Build, tmp_path: Path
) -> None:
    report = Report.from_json(built.report.to_json())
    (row,) = [e for e in report.executors if e.name == "C"]
    assert row.samples == 8 and row.divergence is None
    neurons = {a.name for a in report.activity}
    assert set(row.layers) == neurons
    needs = report.c_program
    assert needs is not None and {r.name for r in needs.layers} >= neurons
    # What the run added is what the census counts; no step adds more than the most.
    assert report.census.chip is not None
    added = sum(r.measured for r in needs.layers) * 3
    assert added == pytest.approx(report.census.chip.ac)
    assert all(r.measured <= r.additions for r in needs.layers)
    assert f"{needs.ram_bytes:,} bytes of working memory" in to_html(report)
    with out.capture() as printed:
        out.print(render(report))
    assert f"{needs.ram_bytes:,} bytes of working memory" in " ".join(printed.get().split())


def test_without_it_nothing_in_a_bundle_says_so(tmp_path: Path) -> None:
    build(subject(resnet(), samples=8), FAST).save(tmp_path / "b")
    for name in ("report.json", "manifest.json"):
        data = json.loads((tmp_path / "b" / name).read_text())
        assert "c_program" not in data and not {"c", "c_ram"} & set(data["options"])
    assert not (tmp_path / "b" / "c").exists()


def test_the_bundle_holds_it_and_verify_runs_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {p.name for p in (bundle / "c").iterdir()} == FILES
    done = CliRunner().invoke(app, ["verify", str(bundle), "--no-lava"])
    assert done.exit_code == 0, done.output
    found = verified(bundle)
    assert {"c/" + n for n in FILES} <= {n for n, who, *_ in found.by_file() if "C" in who}
    assert all(f.status == "PASS" for f in found.findings)
    monkeypatch.setenv("CC", "no-such-compiler")
    done = CliRunner().invoke(app, ["verify", str(bundle), "--no-lava"])
    assert done.exit_code == 1 and "no C compiler is found" in done.output


def test_what_lies_there_is_compared_and_never_run(bundle: Path) -> None:
    """Whatever it would do: the marks it would leave are not there afterwards."""
    marks = bundle.parent / "marks"
    marks.mkdir()
    changed = ("main.c", "Makefile", "network.c", "golden.c")
    for name in changed:
        mark = marks / name
        bad = f'#include <stdio.h>\nint main(void) {{ fopen("{mark}", "w"); return 0; }}\n'
        bad = f"all check:\n\ttouch {mark}\n" if name == "Makefile" else bad
        (bundle / "c" / name).write_text(bad)
    (bundle / "c" / "network").write_bytes(b"\x7fELF")  # a file beside them follows from nothing
    seal(bundle)
    wrong = {f.where for f in verified(bundle).findings if f.status == "FAIL"}
    assert wrong == {f"c/{name}" for name in (*changed, "network")}
    assert not list(marks.iterdir())


def test_a_golden_membrane_that_is_not_the_networks_is_found_by_the_program(built: Build) -> None:
    assert built.graph is not None and built.golden is not None
    ran = run_c(built.graph, built.golden.inputs)
    for name, membranes in built.golden.membranes.items():
        assert np.array_equal(ran.membranes[name], membranes)
    for name, spikes in built.golden.spikes.items():
        assert np.array_equal(ran.values[name], spikes)


def test_a_limit_leaves_the_program_out_and_names_the_layer(built: Build, tmp_path: Path) -> None:
    assert built.report.c_program is not None
    ram = built.report.c_program.ram_bytes
    tight = replace(built, options=replace(built.options, c_ram=ram - 1))
    with pytest.raises(NotWritten, match="more working memory") as e:
        tight.save(tmp_path / "b")
    assert e.value.where in {r.name for r in built.report.c_program.layers}
    assert "leave out --c" in e.value.remedy
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert set(manifest["not_written"]) == {"c"} and not (tmp_path / "b" / "c").exists()
    replace(built, options=replace(built.options, c_ram=ram)).save(tmp_path / "fits")
    assert (tmp_path / "fits" / "c" / "network.c").exists()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="not asked for"):
        Options(c_ram=1000)
    with pytest.raises(UsageError, match="c_ram"):
        Options(c=True, c_ram=0)


def test_a_bundle_without_the_program_that_was_too_large_verifies(
    built: Build, tmp_path: Path
) -> None:
    tight = replace(built.options, c_ram=1)
    report = replace(
        built, report=build(subject(resnet(), samples=12), tight).report, options=tight
    )
    with pytest.raises(NotWritten):
        report.save(tmp_path / "b")
    assert [f for f in verified(tmp_path / "b").findings if f.status != "PASS"] == []
