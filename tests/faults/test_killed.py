"""Commands that are ended at any moment: nothing half written or left, and the next run goes on.

Seeds choose the calls of the kernel before which they end: half of them anywhere, half after
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
from helpers.stopping import Stopped

from purespike.compiler.scratch import HIDDEN

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
    """End a command at the point of a seed; what happened."""
    r = random.Random(f"{name}{seed}")
    number = r.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
    point = r.randint(r.choice((1, whole.shown)), whole.points)
    older = r.random() < 0.5
    return end(name, number, lambda running: running.go(point), whole, folder, older=older)


def end(
    name: str,
    number: signal.Signals,
    reach: Callable[[Stopped], bool],
    whole: Whole,
    folder: Path,
    *,
    older: bool = False,
) -> str:
    """End a command where it was made to stand, look at what is left, run it again."""
    case, bundle = CASES[name], contents(whole.made / "bundle")
    holds = fresh(folder, case, whole, older=older)
    running = start(folder, case.typed(whole.made))
    sessions = {running.process.pid}
    if reach(running):
        sessions |= set(processes(folder).values())
        running.leave(number)
        running.process.wait(timeout=1500)
    code, text = running.process.returncode, running.text()
    what = f"{name} by {number.name} at {running.at} of {whole.points}: code {code}"
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


SEEDS = [
    pytest.param(name, seed, id=f"{name}-{seed}")
    for name, count in POINTS.items()
    for seed in range(count)
]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_a_command_that_is_ended_anywhere(
    name: str, seed: int, whole: Callable[[str], Whole], tmp_path: Path
) -> None:
    print(end_at(name, seed, whole(name), tmp_path / "here"))


def test_a_report_that_is_ended(whole: Callable[[str], Whole], tmp_path: Path) -> None:
    print(end_at("report", 1000, whole("report"), tmp_path / "r"))


def hidden(parts: Path) -> bool:
    """Whether a file is being written there."""
    return any(parts.glob(f"{HIDDEN}*"))


MOMENTS = {  # between a file's beginning and the end of what was made for it
    "first": lambda parts: hidden(parts) and not (parts / "shards.json").exists(),
    "last": lambda parts: hidden(parts) and len(list(parts.glob("*.npz"))) == 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_test_set_that_is_killed_at_its_first_or_last_file_goes_on(
    moment: str, whole: Callable[[str], Whole], tmp_path: Path
) -> None:
    """Nothing but what the kill left lay in its folder, or nothing was left to be written there."""
    folder = tmp_path / "here"

    def reach(running: Stopped) -> bool:
        while running.go(running.at + 1):
            if MOMENTS[moment](folder / "parts"):
                return True
        return False

    words = end("test-set", signal.SIGKILL, reach, whole("test-set"), folder)
    assert "code -9, left 1" in words
