"""The command line as a user meets it: `run` in a process of its own, `inside` in this one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.command_line import inside
from helpers.flow_cases import CHANNELS, CLASSES, LENIENT, SIZE, STEPS, subject
from helpers.process_tools import children, eventually, started
from helpers.user_files import foreign

from purespike.flow.build import Options, build
from purespike.targets.lava.worker import session
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build as build_model
from purespike.trainer.training.checkpoint import save_checkpoint
from purespike.trainer.training.learner import TrainConfig


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "purespike", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=240,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block: half of Lava's processes, each of which costs as much as it works."""
    folder = tmp_path_factory.mktemp("cli") / "bundle"
    config = ModelConfig(CHANNELS, CLASSES, STEPS, (SIZE, SIZE), stem=4, widths=(4,), strides=(2,))
    case = subject(build_model(config, seed=1))
    build(case, Options(golden=6, lava="none", policy=LENIENT)).save(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for the digits."""
    model = build_model(ModelConfig(5, 10, stem=4, widths=(4,), strides=(2,)), seed=0)
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    return save_checkpoint(folder, model.eval(), TrainConfig(epochs=1), {})


def test_version_and_help() -> None:
    assert run("--version").stdout.startswith("purespike 0.")
    text = run("--help").stdout
    for command in (
        "demo",
        "train",
        "compile",
        "check",
        "report",
        "diff",
        "policy",
        "verify",
        "doctor",
    ):
        assert f" {command} " in text


def test_doctor_runs_a_network_on_lava() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lava-nc 0.10.0" in done.stdout and "spikes equal to numpy" in done.stdout


def test_doctor_says_what_to_do_where_lava_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURESPIKE_LAVA_PYTHON", "/nowhere/python")
    done = inside("doctor")
    assert done.returncode == 1
    assert "names no program" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_check_verify_and_simulate_a_bundle(bundle: Path) -> None:
    done = inside("check", bundle, "--static")
    assert done.returncode == 0 and "every static rule holds" in done.stdout, done.stdout
    done = inside("check", bundle / "model.nir", "--static")
    assert done.returncode == 0, done.stdout
    done = inside("verify", bundle)
    assert done.returncode == 0 and "all bit for bit equal" in done.stdout, done.stdout
    done = run("simulate", bundle, "--samples", "3", "--stock", "--jobs", "2")
    assert done.returncode == 0 and "ms per step" in done.stdout, done.stdout
    assert "2 run(s) of" in done.stdout
    done = inside("simulate", bundle, "--scheduler", "nonsense")
    assert done.returncode == 2 and "no Dask scheduler answered" in done.stderr, done.stderr
    done = inside("check", bundle)
    assert "SPIKE-ONLY" in done.stdout or "PS012" in done.stdout
    rules = [line for line in done.stdout.splitlines() if "PS0" in line]
    assert len([line for line in rules if "PASS" in line]) >= 11


def test_the_report_in_every_format(bundle: Path, tmp_path: Path) -> None:
    for name in ("text", "json", "markdown", "sarif", "junit", "html"):
        shown = inside("report", bundle, "--format", name)
        assert shown.returncode == 0 and shown.stdout, shown.stderr
        written = inside("report", bundle, "-f", name, "-o", tmp_path / name)
        assert written.returncode == 0, written.stderr
        assert (tmp_path / name).read_text() == shown.stdout
    assert (tmp_path / "html").read_text() == (bundle / "report.html").read_text()
    done = inside("report", bundle / "report.json", "-o", bundle / "report.txt")
    assert done.returncode == 2 and "a bundle holds its own files only" in done.stderr
    assert '"title": "purespike compliance report"' in inside("report", "--schema").stdout


def test_two_builds_are_compared_and_gated(bundle: Path, tmp_path: Path) -> None:
    done = inside("diff", bundle, bundle, "--fail-on", "ac=0", "--fail-on", "findings")
    assert done.returncode == 0 and "gates held: ac=0, findings" in done.stdout, done.stderr
    data = json.loads((bundle / "report.json").read_text())
    data["census"]["chip"]["ac"] *= 2
    (tmp_path / "worse.json").write_text(json.dumps(data))
    done = inside("diff", bundle, tmp_path / "worse.json", "--fail-on", "ac=5")
    assert done.returncode == 1 and "GATE ac=5: AC grew by 100.00 %" in done.stdout


def test_a_policy_is_shown_changed_and_used(bundle: Path, tmp_path: Path) -> None:
    shown = inside("policy", "show", "leaky")
    assert shown.returncode == 0 and "leak_multiplies = true" in shown.stdout
    (tmp_path / "ours.toml").write_text(shown.stdout)
    done = inside("check", bundle, "--static", "--policy", tmp_path / "ours.toml")
    assert done.returncode == 0, done.stdout


def test_a_waiver_that_nothing_needs_fails_the_check(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(
        '[[waiver]]\nrule = "PS005"\nwhere = "*"\nwho = "me"\nwhy = "x"\nuntil = 2026-06-30\n'
    )
    arguments = ("check", bundle, "--static", "--waivers", path, "--today")
    for today, says in (("2026-06-01", "matches nothing"), ("2027-01-01", "expired")):
        done = inside(*arguments, today)
        assert done.returncode == 1 and says in done.stdout and "PS000" in done.stdout


def test_replay_runs_with_numpy_alone(bundle: Path, tmp_path: Path) -> None:
    done = run("replay", bundle, "--samples", "2")
    assert done.returncode == 0 and "equal bit for bit" in done.stdout, done.stdout
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "replay.py").write_text("print('equal')")
    done = inside("replay", copy)
    assert done.returncode == 2 and "was changed" in done.stderr and "replay.py" in done.stderr


def test_map_says_what_fits_and_what_does_not(bundle: Path) -> None:
    done = inside("map", bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Loihi 2 (estimate)" in done.stdout and "Not published for Loihi 2" in done.stdout
    done = inside("map", bundle / "model.nir", "--chip", "loihi1", "--json")
    data = json.loads(done.stdout)
    assert data["chip"] == "loihi1" and data["fits"] and data["not_published"] == []
    assert data["cores"] == sum(len(layer["cores"]) for layer in data["layers"]) > 0
    report = json.loads((bundle / "report.json").read_text())
    assert report["resources"] == json.loads(inside("map", bundle, "--json").stdout)
    done = inside("map", bundle, "--chip", "loihi9")
    assert done.returncode == 2 and "loihi2, loihi1" in done.stderr
    done = inside("map", foreign(bundle.parent / "theirs.nir"))
    assert done.returncode == 2 and "purespike compile" in done.stderr
    assert "--dt" not in done.stderr  # map has no such option


def test_what_is_not_run_is_not_proved(bundle: Path) -> None:
    done = inside("check", bundle, "--no-lava")
    assert done.returncode == 1 and "NOT PROVED: not run PS010" in done.stdout
    assert inside("check", bundle / "model.nir").returncode == 1


def test_compile_writes_a_bundle_that_verifies(checkpoint: Path, tmp_path: Path) -> None:
    done = inside("compile", checkpoint, "--out", tmp_path / "b", "--samples", "4")
    assert done.returncode in (0, 1), done.stderr  # untrained: its accuracy may drop
    assert inside("verify", tmp_path / "b", "--no-lava").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "/nowhere"], "there is no network of this name"),
        (["verify", "/nowhere"], "this is not a bundle"),
        (["compile", "/nowhere"], "there is no network of this name"),
        (["check", __file__], "there is no network of this name"),
        (["train", "/nowhere.toml"], "the recipe cannot be read"),
        (["train", "--set", "epochs=3"], "table.key=value"),
        (["train", "--set", "model.gate=nand"], "unknown residual gate"),
        (["train", "--set", "train.epochs=many"], "wrong type"),
        (["train", "--set", "run.x=1"], "unknown table"),
        (["compile", "x", "--bits", "9"], "8"),
        (["compile", "x", "--policy", "none"], "unknown policy"),
        (["compile", "x", "--policy", "/nowhere.toml"], "the policy cannot be read"),
        (["compile", "x", "--waivers", "/nowhere.toml"], "the waiver file cannot be read"),
        (["check", "x", "--waivers", __file__, "--today", "soon"], "--today is not a date"),
        (["report"], "which report?"),
        (["report", "/nowhere"], "the report cannot be read"),
        (["diff", "/nowhere", "/nowhere", "--fail-on", "ac"], "this gate has no meaning"),
        (["policy", "show", "none"], "unknown policy"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_gives_one_clear_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = inside(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_simulation_and_leaves_nothing(bundle: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="ps-"))  # a short path: sockets live there
    words = ("simulate", str(bundle), "--stock", "--jobs", "1")  # else one for two cores
    command = [sys.executable, "-m", "purespike", *words]
    environment = {**os.environ, "TMPDIR": str(scratch)}

    def sessions(parent: int) -> list[int]:
        """Lava's process leads a session: shared memory is named after its id."""
        return [pid for pid in children(parent) if session.segments(pid)]

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, **pipes, text=True, start_new_session=True, env=environment) as child:
        assert eventually(lambda: bool(sessions(child.pid)))
        (number,) = sessions(child.pid)
        os.kill(child.pid, signal.SIGINT)
        _, text = child.communicate(timeout=60)
    assert child.returncode == 130, text
    assert "interrupted" in text and "Traceback" not in text
    assert not session.segments(number) and not session.members(number)
    scratch.rmdir()  # empty


def test_ctrl_c_while_the_command_line_is_loaded_shows_no_traceback() -> None:
    script = """
import sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "purespike.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from purespike.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
