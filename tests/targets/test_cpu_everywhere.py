"""Every network that the test suite runs on the interpreter runs on the cpu executor, equal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
READS = re.compile(r"^from purespike\.compiler\.ir\.interpret import .*\brun\b", re.MULTILINE)
FILES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in TESTS.rglob("test_*.py")
    if READS.search(p.read_text(encoding="utf-8"))
)
SLICES = 12


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(SLICES))
def test_every_network_of_the_suite(part: int) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "helpers.twice", "-n", "0"]
    command += ["-k", "not an_executor_that_lies"]
    done = subprocess.run(
        [*command, *FILES[part::SLICES]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    (said,) = re.findall(r"^twice: .*$", done.stdout, re.MULTILINE)
    print(said)
    assert done.returncode == 0 and said.endswith("different: []"), done.stdout[-3000:]
    assert int(re.search(r"'compared': (\d+)", said)[1]) > 0  # type: ignore[index]


def test_files_are_found() -> None:
    assert len(FILES) > 60
