"""Disks that are full, or become read-only while a command runs: one error, nothing half written.

Output and TMPDIR lie on a small file system of their own. Seeds choose its size between a page and
a little more than the command needs, and the system call after which it can only be read.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fault_cases import CASES, leftovers, processes, result, start
from helpers.output_cases import disk
from helpers.process_tools import eventually

FULL = {"compile": 10, "train": 6, "golden": 6, "test-set": 6, "verify": 8, "report": 4}
READ_ONLY = {"compile": 3, "train": 3, "test-set": 2, "report": 2}
PAGE = 4096
Needs = Callable[[str], tuple[dict[str, bytes], int, int, int]]


@pytest.fixture(scope="module")
def needs(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Needs:
    """What a command writes on a large disk, its bytes at most, its stops, the first of those."""
    known: dict[str, tuple[dict[str, bytes], int, int, int]] = {}

    def of(name: str) -> tuple[dict[str, bytes], int, int, int]:
        if name not in known:
            case, first, most = CASES[name], 0, 0
            with disk(tmp_path_factory.mktemp("large") / name, "64m") as large:
                running = start(large, case.typed(made))
                while running.go(running.at + 1):
                    status = os.statvfs(large)
                    used = (status.f_blocks - status.f_bfree) * status.f_frsize
                    first, most = first or running.at * bool(used), max(most, used)
                assert running.process.returncode == case.code, running.text()
                known[name] = result(case, large), most, running.at, first or running.at // 2
        return known[name]

    return of


def points(counts: dict[str, int]) -> list[object]:
    return [
        pytest.param(name, seed, id=f"{name}-{seed}")
        for name, count in counts.items()
        for seed in range(count)
    ]


def ended(name: str, small: Path, made: Path, needs: Needs, cause: str, what: str) -> None:
    """Look at a command that has ended and its disk, then run it with as much disk as it needs."""
    case, expected = CASES[name], needs(name)[0]
    assert eventually(lambda: not processes(small), 120), processes(small)
    found = result(case, small)
    print(what)
    whole = found.items() <= expected.items() if name == "test-set" else found in ({}, expected)
    assert whole, what
    subprocess.run(["mount", "-o", "remount,rw,size=64m", str(small)], check=True)
    if cause == "No space left on device":
        assert not leftovers(small), what
    again = start(small, case.typed(made, small))
    again.leave()
    assert again.process.wait(timeout=1500) == case.code, f"{what}, then {again.text()}"
    assert result(case, small) == expected, what
    assert not leftovers(small), what


def said(name: str, code: int, text: str, cause: str, what: str) -> None:
    """One error that names the cause, or the whole output."""
    assert code in (CASES[name].code, 2), f"{what}: {text}"
    assert "Traceback" not in text, f"{what}: {text}"
    if code == 2:
        assert cause in text and text.count("error:") == 1, f"{what}: {text}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "seed"), points(FULL))
def test_a_full_disk_is_one_error(
    name: str, seed: int, made: Path, needs: Needs, tmp_path: Path
) -> None:
    expected, most, _, _ = needs(name)
    size = random.Random(f"{name}{seed}").randint(1, int(1.1 * most / PAGE) + 1) * PAGE
    with disk(tmp_path / "disk", str(size)) as small:
        running = start(small, CASES[name].typed(made))
        running.leave()
        code = running.process.wait(timeout=1500)
        what = f"{name} on {size >> 10} of {most >> 10} KiB: code {code}"
        cause = "No space left on device"
        said(name, code, running.text(), cause, what)
        assert code == 2 or result(CASES[name], small) == expected, what
        ended(name, small, made, needs, cause, what)


def test_a_full_disk_is_no_verdict_about_a_bundle(made: Path, tmp_path: Path) -> None:
    """It was said to be NOT EQUAL, or there was an internal error."""
    with disk(tmp_path / "disk", "8k") as small:
        running = start(small, CASES["verify"].typed(made))
        running.leave()
        code = running.process.wait(timeout=1500)
        assert code == 2 and "temporary files cannot be written" in running.text()
        assert not leftovers(small)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "seed"), points(READ_ONLY))
def test_a_disk_that_becomes_read_only_is_one_error(
    name: str, seed: int, made: Path, needs: Needs, tmp_path: Path
) -> None:
    _, _, stops, first = needs(name)
    point = random.Random(f"{name}{seed}").randint(first, stops)
    with disk(tmp_path / "disk", "64m") as small:
        running = start(small, CASES[name].typed(made))
        command = ["mount", "-o", "remount,ro", str(small)]  # refused while a file is written
        while running.go(point) and subprocess.run(command, capture_output=True).returncode:
            point += 1
        if running.process.returncode is None:
            running.leave()
        code = running.process.wait(timeout=1500)
        what = f"{name} on a disk read-only from {point} of {stops}: code {code}"
        said(name, code, running.text(), "Read-only file system", what)
        ended(name, small, made, needs, "Read-only file system", what)
