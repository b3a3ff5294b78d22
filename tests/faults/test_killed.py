"""Commands that are ended at any moment: nothing half written or left, and the next run goes on.

Seeds choose the system calls before and after which they end: half of them anywhere, half after
something was written. The output that the next run gives is that of a run which nothing disturbed.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fault_cases import (
    CASES,
    Whole,
    contents,
    fresh,
    leftovers,
    processes,
    result,
    shared_memory,
    start,
    undisturbed,
)
from helpers.process_tools import eventually

PER_SLICE = 2
POINTS = {"compile": 40, "train": 40, "golden": 20, "test-set": 20, "verify": 40, "report": 40}


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    """An undisturbed run of a command, made once."""
    folder = tmp_path_factory.mktemp("whole")
    found: dict[str, Whole] = {}

    def of(name: str) -> Whole:
        if name not in found:
            found[name] = undisturbed(CASES[name], made, folder / name)
        return found[name]

    return of


def end_at(name: str, seed: int, whole: Whole, folder: Path) -> str:
    """End a command at the point of a seed, look at what is left, run it again; what happened."""
    case = CASES[name]
    r, bundle = random.Random(f"{name}{seed}"), contents(whole.made / "bundle")
    number = r.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
    point = r.randint(r.choice((1, whole.shown)), whole.points)
    holds = fresh(folder, case, whole, older=r.random() < 0.5)
    running = start(folder, case.typed(whole.made))
    sessions = {running.process.pid}
    if running.go(point):
        sessions |= set(processes(folder).values())
        running.leave(number)
        running.process.wait(timeout=600)
    code, text = running.process.returncode, running.text()
    what = f"{name} by {number.name} at {point} of {whole.points}: code {code}"
    assert code in (-number, case.code, 130 if number == signal.SIGINT else -number), text
    # Seconds, unless the machine is busy: a Lava that is loading ends when it is loaded.
    assert eventually(lambda: not processes(folder), 120), f"{what}, {processes(folder)} go on"
    assert eventually(lambda: not shared_memory(sessions), 15), f"{what}, {shared_memory(sessions)}"
    assert holds(), what
    if code >= 0:
        assert "Traceback" not in text, text
        assert not leftovers(folder), f"{what}, {leftovers(folder)}"
    left = len(leftovers(folder))
    again = start(folder, case.typed(whole.made, folder))
    again.leave()
    assert again.process.wait(timeout=1500) == case.code, f"{what}, then {again.text()}"
    assert result(case, folder) == result(case, whole.folder), what
    assert not leftovers(folder), f"{what}, {leftovers(folder)}"
    if name not in ("train", "test-set"):  # these say how long they took
        assert again.text() == whole.text, what
    assert contents(whole.made / "bundle") == bundle, "an input has changed"
    return f"{what}, left {left}"


SLICES = [
    pytest.param(name, first, id=f"{name}-{first}")
    for name, count in POINTS.items()
    for first in range(0, count, PER_SLICE)
]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "first"), SLICES)
def test_a_command_that_is_ended_anywhere(
    name: str, first: int, whole: Callable[[str], Whole], tmp_path: Path
) -> None:
    for seed in range(first, first + PER_SLICE):
        print(end_at(name, seed, whole(name), tmp_path / str(seed)))


def test_a_report_that_is_ended(whole: Callable[[str], Whole], tmp_path: Path) -> None:
    print(end_at("report", 1000, whole("report"), tmp_path / "r"))
