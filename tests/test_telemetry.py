"""Nothing is recorded about what a user runs: not by onnxruntime, which does unless told not to."""

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

CHILD = Path(__file__).parent / "helpers" / "telemetry_child.py"


def home_of(tmp_path: Path, *command: str, **more: str) -> tuple[list[str], str]:
    """Files that a child leaves in a clean home and temporary folder, and what it prints."""
    folders = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
        "XDG_STATE_HOME": "state",
        "XDG_RUNTIME_DIR": "run",
    }
    for folder in folders.values():
        (tmp_path / folder).mkdir(exist_ok=True)
    # Not what else stands in the environment: where CI=true does, onnxruntime records nothing.
    clean = {k: os.environ[k] for k in ("PATH", "LD_LIBRARY_PATH", "LANG") if k in os.environ}
    done = subprocess.run(
        [sys.executable, "-B", *command],
        capture_output=True,
        text=True,
        timeout=200,
        env=clean | {k: str(tmp_path / v) for k, v in folders.items()} | more,
    )
    assert done.returncode == 0, done.stderr
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    return files, done.stdout


def test_a_network_that_runs_in_onnxruntime_leaves_no_record(tmp_path) -> None:
    assert home_of(tmp_path, str(CHILD), "after") == ([], "")


def test_where_onnxruntime_was_imported_first_it_is_said(tmp_path) -> None:
    files, printed = home_of(tmp_path, str(CHILD), "first")
    assert printed.startswith("TelemetryWarning: onnxruntime was imported before purespike")
    assert "ORT_DISABLE_TELEMETRY=1" in printed
    if not files:
        pytest.skip(f"onnxruntime {onnxruntime.__version__} keeps no records on this machine")
    assert any("onnxruntime" in file for file in files), files  # so the test above can fail


def test_a_user_who_switched_it_off_hears_nothing(tmp_path) -> None:
    found = home_of(tmp_path, str(CHILD), "first", ORT_DISABLE_TELEMETRY="true")
    assert found == ([], "")


def test_every_child_process_inherits_it(tmp_path) -> None:
    code = (
        "import subprocess, sys, purespike\n"
        "subprocess.run([sys.executable, '-c', 'import onnxruntime'], check=True)"
    )
    assert home_of(tmp_path, "-c", code) == ([], "")
