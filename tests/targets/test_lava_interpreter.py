"""Which Python runs Lava, what is said when there is none, and that it makes no difference."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Program,
    SoftIf,
    Source,
)
from purespike.targets.lava.program.program import Sparse as SparseLayer
from purespike.targets.lava.run import python as interpreter
from purespike.targets.lava.run.guard import run_guarded
from purespike.targets.lava.run.probe import probe
from purespike.targets.lava.run.python import LavaUnavailable

ROOT = Path(__file__).parents[2]


def python310() -> str:
    """The Python 3.10 that runs Lava as its authors intended, or ""."""
    for path in (os.environ.get(interpreter.VARIABLE), str(ROOT / ".venv310" / "bin" / "python")):
        if path and os.access(path, os.X_OK):
            return path
    return ""


def stand_in(folder: Path, body: str) -> str:
    """A program that answers in the place of a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def tiny() -> Program:
    return Program(
        (Source("in", (2,), np.ones((1, 2), np.uint8)), Lif("n", (2,), 0)),
        (Connection("in", "n"),),
        2,
        ("n",),
    )


def test_this_python_runs_lava(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)
    found = interpreter.versions()
    assert interpreter.python() == found.executable == sys.executable
    assert (found.lava, found.numpy) == ("0.10.0", np.__version__)
    assert found.shim == (sys.version_info >= (3, 11))


def test_the_probe_compares_real_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)
    found = probe()
    assert found.spikes > 50
    assert found.versions.lava == "0.10.0"


def test_a_variable_that_names_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(interpreter.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(LavaUnavailable, match="PURESPIKE_LAVA_PYTHON names no program") as raised:
        interpreter.python()
    assert raised.value.found == str(tmp_path / "none")


def test_a_relative_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = stand_in(tmp_path, f'exec "{sys.executable}" "$@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(interpreter.VARIABLE, "./python")
    assert interpreter.python() == path
    write(tiny(), tmp_path / "p")
    assert run_guarded(Path("p"), timeout=60).spikes["n"].tolist() == [[1, 1], [0, 0]]


def test_a_python_without_lava(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Without its site packages this very Python has no Lava.
    path = stand_in(tmp_path, f'exec "{sys.executable}" -S "$@"')
    monkeypatch.setenv(interpreter.VARIABLE, path)
    with pytest.raises(LavaUnavailable, match="Lava cannot be imported") as raised:
        interpreter.versions()
    assert "ModuleNotFoundError" in raised.value.found
    assert "lava-nc==0.10.0" in raised.value.remedy
    assert raised.value.where == path
    write(tiny(), tmp_path / "p")
    with pytest.raises(LavaUnavailable, match="Lava cannot be imported"):
        run_guarded(tmp_path / "p", timeout=60)


@pytest.mark.parametrize("body", ["exit 3", "echo nonsense", "echo"])
def test_a_program_that_is_no_python(body: str, tmp_path: Path) -> None:
    with pytest.raises(LavaUnavailable, match="does not answer"):
        interpreter.versions(stand_in(tmp_path, body))


def test_variables_of_this_python_stay_away_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert interpreter.environment(sys.executable)["PYTHONPATH"] == "/somewhere"
    other = interpreter.environment("/usr/bin/other")
    assert "PYTHONPATH" not in other
    assert other["OMP_NUM_THREADS"] == "1"


@pytest.mark.skipif(
    not python310(),
    reason="no Lava for Python 3.10: `make lava310` installs it, if python3.10 is there",
)
@pytest.mark.parametrize("models", ["fast", "stock"])
def test_both_interpreters_give_the_same_spikes(
    models: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    shape, window = (6, 5, 3), 5
    reset = {"reset_interval": window}
    program = Program(
        processes=(
            Source("in", shape, (rng.random((4 * window, *shape)) < 0.4).astype(np.uint8)),
            Conv("c1", rng.integers(-50, 70, (4, 3, 3, 3)), shape, padding=(1, 1)),
            Lif("n1", (6, 5, 4), 50, dv=100, bias=3, reset_offset=2, **reset),
            Conv("c2", rng.integers(-50, 70, (4, 3, 3, 2)), (6, 5, 4), padding=(1, 1), groups=2),
            SparseLayer("skip", rng.integers(-127, 128, 120), delay=2),
            SoftIf("n2", (6, 5, 4), 60, 70, dv=50, reset_offset=3, **reset),
            Dense("fc", rng.integers(-127, 128, (10, 120))),
            Lif("out", (10,), 2**17 - 1, reset_offset=4, **reset),
        ),
        connections=(
            Connection("in", "c1"),
            Connection("c1", "n1"),
            Connection("n1", "c2"),
            Connection("n1", "skip", "flatten"),
            Connection("c2", "n2"),
            Connection("skip", "n2", (6, 5, 4)),
            Connection("n2", "fc", "flatten"),
            Connection("fc", "out"),
        ),
        steps=4 * window + 3,
        record=("n1", "n2"),
        record_v=("n2", "out"),
        conv=models,  # type: ignore[arg-type]
    )
    write(program, tmp_path)
    other = python310()
    monkeypatch.delenv(interpreter.VARIABLE, raising=False)
    here = run_guarded(tmp_path, timeout=120)
    monkeypatch.setenv(interpreter.VARIABLE, other)
    there = run_guarded(tmp_path, timeout=120)
    assert interpreter.versions().python.startswith("3.10.")
    for name in program.record:
        np.testing.assert_array_equal(here.spikes[name], there.spikes[name])
        assert 0 < here.spikes[name].mean() < 1
    for name in program.record_v:
        np.testing.assert_array_equal(here.membranes[name], there.membranes[name])
