"""`check BUNDLE` uses the policy that the bundle records, says so, and says what differs."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_cases import Plain, subject
from torch import nn
from typer.testing import CliRunner

import purespike as ps
from purespike.cli.app import app
from purespike.compiler.rules.policy import LEAKY, Policy
from purespike.compiler.rules.waiver import Waiver, Waivers
from purespike.flow.build import Options, build
from purespike.targets.bundle.manifest import file_hash
from purespike.trainer.nn.neuron import LIF


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leaky network, which only the policy leaky takes; with a waiver that nothing needs."""
    case = subject(Plain(nn.Identity()))
    case.model.neuron2 = LIF(tau=2.0)
    waiver = Waiver("PS012", "*", "A. Person", "few samples", date(2999, 1, 1))
    waivers = Waivers((waiver,), date(2026, 1, 1))
    options = Options(golden=4, lava="none", policy=LEAKY, waivers=waivers)
    folder = tmp_path_factory.mktemp("policy") / "bundle"
    build(case, options).save(folder)
    return folder


def changed(bundle: Path, folder: Path, **values: object) -> Path:
    """A copy whose report says something else of its policy, with hashes that fit."""
    shutil.copytree(bundle, folder)
    report, manifest = folder / "report.json", folder / "manifest.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | values))
    said = json.loads(manifest.read_text())
    said["files"]["report.json"] = {
        "bytes": report.stat().st_size,
        "sha256": file_hash(report),
    }
    manifest.write_text(json.dumps(said))
    return folder


def test_the_recorded_policy_is_used_and_named(bundle: Path) -> None:
    done = run("check", bundle, "--static")
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()[:2]
    assert first == "policy: leaky, recorded in the bundle (--policy FILE.toml for another)"
    assert "1 waiver, which do not count here unless you state --waivers" in second
    assert json.loads(run("check", bundle, "--static", "--json").stdout)["policy"] == "leaky"
    checked = ps.check(bundle, static=True)
    assert checked.compliant and checked.policy == "leaky" and len(checked.notes) == 2


def test_another_policy_overrides_and_says_what_differs(bundle: Path, tmp_path: Path) -> None:
    done = run("check", bundle, "--static", "--policy", "strict")
    assert done.exit_code == 1 and "PS005" in done.stdout
    says = "policy: strict; the bundle was compiled under leaky: leak_multiplies false, not true"
    assert done.stdout.splitlines()[0] == says
    assert not ps.check(bundle, static=True, policy="strict").compliant
    assert ps.check(bundle, static=True, policy="leaky").notes[0] == (
        "policy: leaky, under which the bundle was compiled"
    )
    (tmp_path / "ours.toml").write_text(LEAKY.to_toml())
    assert ps.check(bundle, static=True, policy=tmp_path / "ours.toml").notes[0] == (
        "policy: ours; the bundle was compiled under leaky (the same choices)"
    )


def test_a_recorded_policy_that_only_has_the_name_of_a_built_in_one_is_told(
    bundle: Path, tmp_path: Path
) -> None:
    lenient = Policy("strict", leak_multiplies=True, accuracy_drop=90.0).choices()
    copy = changed(bundle, tmp_path / "copy", policy="strict", policy_choices=lenient)
    assert ps.check(copy, static=True).notes[1] == (
        "its strict is not the built-in policy of that name: leak_multiplies true, not false, "
        "accuracy_drop 90.0, not 0.5"
    )


def test_a_report_without_choices_is_judged_strictly_and_says_so(
    bundle: Path, tmp_path: Path
) -> None:
    checked = ps.check(changed(bundle, tmp_path / "copy", policy_choices={}), static=True)
    assert not checked.compliant
    assert checked.notes == ("policy: strict (the bundle does not record its own)",)


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ({"leak_multiplies": True}, "accuracy_drop"),
        ({**LEAKY.choices(), "accuracy_drop": 900}, "900"),
    ],
)
def test_a_recorded_policy_without_a_meaning_is_one_error(
    bundle: Path, tmp_path: Path, choices: dict[str, object], found: str
) -> None:
    copy = changed(bundle, tmp_path / "copy", policy_choices=choices)
    done = run("check", copy, "--static")
    text = done.exception.text("command line")
    assert "the policy that the bundle records has no meaning" in text and found in text
    assert "state one: --policy FILE.toml" in text
    assert run("check", copy, "--static", "--policy", "leaky").exit_code == 0
