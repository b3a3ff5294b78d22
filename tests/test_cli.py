"""The command line as a user meets it: each run is a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flow_cases import resnet, subject
from test_verdict import LENIENT

from purespike.build import Options, build
from purespike.trainer.checkpoint import save_checkpoint
from purespike.trainer.configuration import ModelConfig
from purespike.trainer.learner import TrainConfig
from purespike.trainer.models import build as build_model


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "purespike", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        timeout=240,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "bundle"
    built = build(subject(resnet()), Options(golden=6, lava="none", policy=LENIENT))
    built.write(folder)
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
    for command in ("demo", "train", "compile", "check", "simulate", "verify", "doctor"):
        assert f" {command} " in text


def test_doctor_runs_a_network_on_lava() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lava-nc 0.10.0" in done.stdout and "spikes equal to numpy" in done.stdout


def test_doctor_says_what_to_do_where_lava_is_missing() -> None:
    done = run("doctor", PURESPIKE_LAVA_PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "names no program" in done.stdout and "Traceback" not in done.stdout + done.stderr


def test_check_verify_and_simulate_a_bundle(bundle: Path) -> None:
    done = run("check", bundle, "--static")
    assert done.returncode == 0 and "every static rule holds" in done.stdout, done.stdout
    done = run("check", bundle / "model.nir", "--static")
    assert done.returncode == 0, done.stdout
    done = run("verify", bundle)
    assert done.returncode == 0 and "all bit for bit equal" in done.stdout, done.stdout
    done = run("simulate", bundle, "--samples", "3", "--stock", "--jobs", "2")
    assert done.returncode == 0 and "ms a step" in done.stdout, done.stdout
    assert "2 run(s) of" in done.stdout
    done = run("simulate", bundle, "--scheduler", "nonsense")
    assert done.returncode == 2 and "no Dask scheduler answered" in done.stderr, done.stderr
    done = run("check", bundle)
    assert "SPIKE-ONLY" in done.stdout or "PS012" in done.stdout
    rules = [line for line in done.stdout.splitlines() if "PS0" in line]
    assert len([line for line in rules if "PASS" in line]) >= 11


def test_what_is_not_run_is_not_proved(bundle: Path) -> None:
    done = run("check", bundle, "--no-lava")
    assert done.returncode == 1 and "not proved" in done.stdout
    assert run("check", bundle / "model.nir").returncode == 1


def test_compile_writes_a_bundle_that_verifies(checkpoint: Path, tmp_path: Path) -> None:
    done = run("compile", checkpoint, "--out", tmp_path / "b", "--samples", "4")
    assert done.returncode in (0, 1), done.stderr  # untrained: its accuracy may drop
    assert run("verify", tmp_path / "b", "--no-lava").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "/nowhere"], "this is no bundle"),
        (["verify", "/nowhere"], "this is no bundle"),
        (["compile", "/nowhere"], "a file of the checkpoint is missing"),
        (["check", __file__], "HDF5"),
        (["train", "/nowhere.toml"], "the recipe cannot be read"),
        (["train", "--set", "epochs=3"], "table.key=value"),
        (["train", "--set", "model.gate=nand"], "unknown residual gate"),
        (["train", "--set", "train.epochs=many"], "wrong type"),
        (["train", "--set", "data.x=1"], "unknown table"),
        (["compile", "x", "--bits", "9"], "8"),
        (["compile", "x", "--policy", "none"], "unknown policy"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_input_gives_one_clear_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_simulation_and_leaves_nothing(bundle: Path) -> None:
    before = set(os.listdir("/dev/shm"))
    child = subprocess.Popen(
        [sys.executable, "-m", "purespike", "simulate", str(bundle), "--stock"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while set(os.listdir("/dev/shm")) <= before and time.monotonic() < deadline:
        time.sleep(0.05)  # until Lava has made its channels
    os.kill(child.pid, signal.SIGINT)
    _, text = child.communicate(timeout=60)
    assert child.returncode == 130, text
    assert "interrupted" in text and "Traceback" not in text
    assert set(os.listdir("/dev/shm")) <= before
