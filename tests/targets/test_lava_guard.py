"""Each way a Lava run can fail gives one clear error and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.process_tools import SHM, children, eventually, mapped, started

from purespike.compiler.scratch import scratch_folder
from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Connection, Lif, Program, SoftIf, Source
from purespike.targets.lava.run import guard
from purespike.targets.lava.run import python as interpreter
from purespike.targets.lava.run.guard import LavaRunError, run_guarded
from purespike.targets.lava.worker import session

FAULTS = Path(__file__).parent / "lava_faults" / "worker.py"
LONG = 1_000_000

PARENT = """
import sys
from pathlib import Path
from purespike.targets.lava.run.guard import run_guarded
try:
    run_guarded(Path(sys.argv[1]), timeout=100, on_progress=lambda *s: print(*s, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(7)
"""


def network(steps: int) -> Program:
    """source -> lif -> soft_if; the last is what the faulty worker replaces."""
    frames = np.ones((1, 3), np.uint8)
    return Program(
        (Source("in", (3,), frames), Lif("first", (3,), 0), SoftIf("victim", (3,), 0, 1)),
        (Connection("in", "first"), Connection("first", "victim")),
        steps,
        ("victim",),
    )


def session_of(parent: int) -> int:
    """The session in which the only Lava run of `parent` lives."""
    (child,) = [pid for pid in children(parent) if session.members(pid)]
    return child


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Fails the test if a run leaves a process, shared memory or a temporary file.

    Yields:
        The sessions of the runs; a test adds those that it learns of itself.
    """
    before = set(os.listdir(SHM))
    scratch = Path(tempfile.mkdtemp(prefix="ps-"))  # the folder of tmp_path is elsewhere
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    sessions: list[int] = []
    sweep = session.sweep

    def spy(number: int) -> None:
        sessions.append(number)
        sweep(number)

    monkeypatch.setattr(session, "sweep", spy)
    yield sessions
    assert sessions, "no run was seen"
    assert eventually(lambda: not any(session.members(number) for number in sessions))
    assert not any(session.segments(number) for number in sessions)
    # Without trusting our own names: nothing new that no living process uses. Another run on this
    # machine may be killed at this time, too; what it leaves bears its number.
    own = tuple(map(session.prefix, sessions))

    def strays() -> set[str]:
        new = set(os.listdir(SHM)) - before - mapped()
        return {n for n in new if n.startswith(own) or not n.startswith("pspk")}

    assert eventually(lambda: not strays()), strays()
    scratch.rmdir()  # empty


def test_a_long_path_of_the_temporary_folder_does_no_harm(
    nothing_left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / ("long" * 40)  # longer than the path of a socket may be
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert run_with_fault("none", tmp_path / "p").spikes["victim"].shape == (20, 3)
    assert not list(scratch.iterdir())


def run_with_fault(fault: str, folder: Path, steps: int = 20, **options: Any) -> guard.Result:
    program = network(steps)
    write(program, folder)
    command = [interpreter.python(), str(FAULTS), str(interpreter.WORKER), fault]
    settings = {"timeout": 60.0, "on_progress": None, "stall": 30.0, "keep": None, **options}
    return guard._run(command, folder, program, **settings)


def test_the_faulty_worker_works_as_long_as_it_has_no_fault(
    nothing_left: list[int], tmp_path: Path
) -> None:
    assert run_with_fault("none", tmp_path / "p").spikes["victim"].shape == (20, 3)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("raise", "victim failed: ValueError: boom in run_spk"),
        ("memory", "victim failed: MemoryError: no room"),
        ("shape", "victim failed: AssertionError: data.shape=(3, 2)"),
        ("init", "Lava could not run the program: ValueError: boom in the model's constructor"),
        ("exit", "the process of victim died with exit code 3"),
        ("os_exit", "the process of victim died with exit code 4"),
        ("kill", "the process of victim died with exit code -9"),
        ("stderr", "the simulator ended without a result after 0 of 20 steps"),
    ],
)
def test_a_failure_in_lava_is_one_error_with_its_cause(
    fault: str, cause: str, nothing_left: list[int], tmp_path: Path
) -> None:
    with pytest.raises(LavaRunError) as raised:
        run_with_fault(fault, tmp_path / "p")
    assert raised.value.message.startswith(f"the Lava run failed: {cause}")
    assert "\n" not in raised.value.message
    if fault in ("raise", "init"):
        assert "Traceback" in raised.value.trace
        assert "boom" in raised.value.trace
    if fault == "stderr":
        assert raised.value.trace.strip() == "a last word"


@pytest.mark.parametrize("fault", ["silent", pytest.param("loop", marks=pytest.mark.slow)])
def test_a_deadlock_is_seen_by_the_lack_of_progress(
    fault: str, nothing_left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that starts with the last step: a busy machine may take long until then."""
    began: list[float] = []

    def clock() -> float:
        return time.monotonic() - began[0] if began else 0.0

    def progress(step: int, steps: int) -> None:
        if step == 4:
            began.append(time.monotonic())

    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    with pytest.raises(LavaRunError, match=r"no step finished within 3 s, 4 of 20 are done"):
        run_with_fault(fault, tmp_path / "p", stall=3.0, on_progress=progress)
    assert 3 < clock() < 60


def test_a_run_that_takes_too_long_is_stopped(nothing_left: list[int], tmp_path: Path) -> None:
    write(network(LONG), tmp_path / "p")
    with pytest.raises(LavaRunError, match=r"not finished after 5 s, \d+ of 1000000 steps"):
        run_guarded(tmp_path / "p", timeout=5)


@pytest.mark.parametrize("which", ["actor", "simulator"])
def test_a_process_killed_from_outside(which: str, nothing_left: list[int], tmp_path: Path) -> None:
    write(network(LONG), tmp_path / "p")

    killed: list[int] = []

    def kill(step: int, steps: int) -> None:
        if not killed:
            leader = session_of(os.getpid())
            killed.append(max(session.members(leader)) if which == "actor" else leader)
            os.kill(killed[0], signal.SIGKILL)

    cause = {
        "actor": r"died with exit code -9",
        "simulator": r"the simulator ended by signal 9 after [1-9]\d* of 1000000 steps",
    }
    with pytest.raises(LavaRunError, match=cause[which]):
        run_guarded(tmp_path / "p", timeout=60, on_progress=kill)


def test_an_error_of_the_caller_ends_the_run(nothing_left: list[int], tmp_path: Path) -> None:
    write(network(LONG), tmp_path / "p")

    def fail(step: int, steps: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_guarded(tmp_path / "p", timeout=60, on_progress=fail)


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that runs a long program, and the session of its Lava run, once it has begun."""
    write(network(LONG), folder)
    command = [sys.executable, "-c", PARENT, str(folder)]
    with started(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().endswith(f" {LONG}\n")
        yield parent, session_of(parent.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_parent_leaves_nothing(
    number: signal.Signals, nothing_left: list[int], tmp_path: Path
) -> None:
    with running(tmp_path / "p") as (parent, leader):
        nothing_left.append(leader)
        assert session.members(leader)
        assert session.segments(leader)
        parent.send_signal(number)
        output, _ = parent.communicate(timeout=30)
    if number == signal.SIGINT:
        assert (parent.returncode, output.splitlines()[-1]) == (7, "interrupted")
    else:
        assert parent.returncode == -number
    assert eventually(lambda: not session.members(leader) and not session.segments(leader))
    assert eventually(lambda: not os.listdir(tempfile.gettempdir()))


def test_parent_and_simulator_killed_together_leave_no_process_and_no_memory(
    nothing_left: list[int], tmp_path: Path
) -> None:
    """Nobody is left to clean up: the kernel ends the actors, Python's tracker frees memory."""
    with running(tmp_path / "p") as (parent, leader):
        nothing_left.append(leader)
        for pid in (parent.pid, leader):
            os.kill(pid, signal.SIGKILL)
        parent.communicate(timeout=30)
    assert eventually(lambda: not session.members(leader) and not session.segments(leader), 60)
    with scratch_folder():  # temporary files stay until the next start
        assert len(os.listdir(tempfile.gettempdir())) == 1


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(
    nothing_left: list[int], tmp_path: Path
) -> None:
    with running(tmp_path / "p") as (parent, leader):
        nothing_left.append(leader)
        alive = set(session.members(leader))
        with pytest.raises(LavaRunError):
            run_with_fault("raise", tmp_path / "q")
        assert set(session.members(leader)) == alive
        parent.send_signal(signal.SIGINT)
        parent.communicate(timeout=30)


def test_too_few_file_handles_are_refused_before_lava_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard.resource, "getrlimit", lambda _: (50, 100))
    with pytest.raises(LavaRunError, match="at most 100 open files") as raised:
        guard.preflight(network(5))
    assert "limits.conf" in raised.value.remedy


def test_too_little_shared_memory_is_refused_before_lava_starts() -> None:
    size = os.statvfs(SHM).f_blocks * os.statvfs(SHM).f_frsize
    wide = Program(
        (Source("in", (size // 8,)), Lif("n", (size // 8,), 1)), (Connection("in", "n"),), 1, ("n",)
    )
    with pytest.raises(LavaRunError, match="too little shared memory"):
        guard.preflight(wide)


def test_the_soft_limit_of_open_files_is_raised_for_the_child(
    nothing_left: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that needs more files than the soft limit allows runs nevertheless."""
    soft, hard = guard.resource.getrlimit(guard.resource.RLIMIT_NOFILE)
    guard.resource.setrlimit(guard.resource.RLIMIT_NOFILE, (90, hard))
    try:
        frames = np.ones((3, 4), np.uint8)
        gates = tuple(Lif(f"n{k}", (4,), 0, dv=4095) for k in range(8))
        names = ("in", *(gate.name for gate in gates))
        program = Program(
            (Source("in", (4,), frames), *gates),
            tuple(Connection(a, b) for a, b in pairwise(names)),
            3,
            ("n7",),
        )
        write(program, tmp_path / "p")
        result = run_guarded(tmp_path / "p", timeout=60)
    finally:
        guard.resource.setrlimit(guard.resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(result.spikes["n7"], frames)
