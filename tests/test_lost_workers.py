"""A test that kills its process, or never ends, ends the run with its name: with our settings."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DIES = """
import os, time

def test_before():
    time.sleep(0.1)

def test_dies():
    os.abort()

def test_after():
    pass
"""
HANGS = """
import itertools, time

def test_sleeps():
    time.sleep(1000)

def test_never_leaves_c():
    sum(itertools.repeat(0))
"""
PASSES = "def test_one(): pass\ndef test_two(): pass\n"


def project(folder: Path, **files: str) -> Path:
    """A project with this one's settings of pytest and its conftest."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (section,) = re.findall(r"^\[tool\.pytest\.ini_options\]\n.*?(?=^\[)", text, re.M | re.S)
    (folder / "tests" / "helpers").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(section, encoding="utf-8")
    for name in ("conftest.py", "helpers/turns.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    for name, code in files.items():
        (folder / "tests" / f"{name}.py").write_text(code, encoding="utf-8")
    return folder


def make_test(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What ``make test`` runs, there."""
    (line,) = re.findall(
        r"^\t\$\(BIN\)/python (-m pytest -n .*)$", (ROOT / "Makefile").read_text(), re.M
    )
    mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, *line.split(), "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=mine,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )


@pytest.mark.timeout(450)
def test_a_lost_worker_ends_the_run_with_the_name_of_its_test(tmp_path) -> None:
    others = dict.fromkeys(("test_b", "test_c", "test_d"), PASSES)
    done = make_test(project(tmp_path, test_a=DIES, **others))
    assert done.returncode == 1, done.stdout
    assert re.search(
        r"worker 'gw\d' crashed while running 'tests/test_a.py::test_dies", done.stdout
    )
    assert "Fatal Python error: Aborted" in done.stdout  # the signal's stack
    assert re.search(r'File ".*test_a\.py", line \d+ in test_dies', done.stdout)


@pytest.mark.timeout(450)
def test_every_test_has_a_time_limit_also_where_python_cannot_interrupt_it(tmp_path) -> None:
    done = make_test(project(tmp_path, test_a=HANGS, test_b=PASSES), "-o", "timeout=3")
    assert done.returncode == 1, done.stdout
    assert re.search(r"FAILED tests/test_a.py::test_sleeps.*Timeout", done.stdout)
    assert re.search(r"crashed while running 'tests/test_a.py::test_never_leaves_c", done.stdout)
    assert re.search(r'File ".*test_a\.py", line \d+ in test_never_leaves_c', done.stdout)


def test_the_settings_have_a_time_limit(pytestconfig) -> None:
    assert 0 < float(pytestconfig.getini("timeout")) <= 300
