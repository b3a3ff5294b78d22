"""Runs a Lava program in a child process and comes back: with the recordings or with one error.

Inside Lava an exception, a killed process or a deadlock makes the caller wait for ever, and a
killed caller leaves processes and shared memory behind. So Lava runs in a session of its own. The
child reports failures (`worker.watchdog`); the parent watches progress and time, and removes every
process of that session and its shared memory whatever happened. If the parent itself is killed,
the child does that.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.parsing import parsed
from purespike.compiler.memory import SMALLER, said
from purespike.compiler.scratch import claimed_folder
from purespike.compiler.wording import Advice
from purespike.targets.lava.program.file import read
from purespike.targets.lava.program.program import Program, Shape, output_shape, process_named
from purespike.targets.lava.run import python as interpreter
from purespike.targets.lava.worker import session

Progress = Callable[[int, int], None]
Rows = TypeVar("Rows", NDArray[np.uint8], NDArray[np.int32])

STALL_SECONDS = 120.0
_POLL_SECONDS = 0.02
_EXIT_SECONDS = 5.0
_LOG_TAIL = 2000
_KILLED = Advice(f"if the system ended it for want of memory: {SMALLER.template}")
# What Lava 0.10.0 opens in its main process (measured, see tests): pipes, queues and shared memory.
_HANDLES_PER_PROCESS = 12
_HANDLES_PER_CONNECTION = 2
_HANDLES_SPARE = 64
# Slots of a channel (worker/watchdog.py) times bytes of Lava's messages.
_BYTES_PER_VALUE = 4 * 8


class LavaRunError(PurespikeError):
    """A Lava run that gave no result.

    Attributes:
        trace: Traceback inside Lava, or the end of its output; may be empty.
    """

    trace: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run recorded.

    Attributes:
        spikes: For each recorded name, uint8 (steps, *shape) in Lava's layout; row t - 1 is
            Lava's time step t.
        membranes: For each recorded neuron, int32 (recorded steps, *shape), in 1/64 of a weight
            unit, after firing and reset; which steps, `program.membrane_steps` says.
        seconds: Time the steps took.
        total_seconds: With building and stopping, without starting Python.
        processes: Lava processes, the recorder among them; each is a process of the system.
    """

    spikes: dict[str, NDArray[np.uint8]]
    membranes: dict[str, NDArray[np.int32]]
    seconds: float
    total_seconds: float
    processes: int


def run_guarded(
    folder: Path,
    *,
    timeout: float,
    on_progress: Progress | None = None,
    stall: float = STALL_SECONDS,
    keep: Path | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Runs the program of a folder in Lava.

    Args:
        folder: A program written by `purespike.targets.lava.program.file.write`.
        timeout: Seconds for the whole run.
        on_progress: Called with (finished steps, steps) whenever the number changed.
        stall: Seconds without a finished step after which the run counts as deadlocked.
        keep: Folder for the recordings, which then are memory-mapped; by default they are read
            into memory and leave no file.
        stop: Asked again and again whether the run shall be given up.

    Raises:
        ProgramError: The folder holds no program that Lava can run.
        LavaUnavailable: No Python with Lava.
        LavaRunError: The run failed, died, made no progress, took too long or was given up.
        KeyboardInterrupt: Ctrl-C, after everything has been removed.
    """
    program = read(folder)
    preflight(program)
    return _run(
        [interpreter.python(), str(interpreter.WORKER)],
        folder,
        program,
        timeout=timeout,
        on_progress=on_progress,
        stall=stall,
        keep=keep,
        stop=stop,
    )


def handles_needed(program: Program) -> int:
    """Open files that Lava's main process needs for this program."""
    connections = len(program.connections) + len(program.record) + 2 * len(program.record_v)
    processes = len(program.processes) + 2
    return _HANDLES_PER_PROCESS * processes + _HANDLES_PER_CONNECTION * connections + _HANDLES_SPARE


def memory_needed(program: Program) -> int:
    """Bytes of shared memory that the channels of this program may fill."""
    sent = [connection.source for connection in program.connections]
    values = sum(
        int(np.prod(output_shape(process_named(program, name))))
        for name in (*sent, *program.record, *program.record_v)
    )
    return values * _BYTES_PER_VALUE + len(program.processes) * (1 << 14) + (1 << 20)


def preflight(program: Program, runs: int = 1) -> None:
    """Refuses a program for which this machine has too few handles or too little shared memory.

    Lava itself stops with an operating-system error after dozens of layers, or hangs on a bus
    error.

    Args:
        program: The program.
        runs: How many of it run at the same time.

    Raises:
        LavaRunError: One of them does not suffice.
    """
    needed, (_, hard) = handles_needed(program), resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise LavaRunError(
            "too few file handles for this network in Lava",
            found=f"at most {hard} open files a process (ulimit -Hn)",
            allowed=f"at least {needed}",
            remedy="raise the hard limit of open files (limits.conf, or `--ulimit nofile=` of the "
            "container)",
        )
    room = os.statvfs(session.SHARED_MEMORY)
    free, wanted = room.f_bavail * room.f_frsize, runs * memory_needed(program)
    if wanted > free:
        raise LavaRunError(
            "too little shared memory for this network in Lava",
            found=f"{free / 2**20:.0f} MiB free in {session.SHARED_MEMORY}",
            allowed=f"at least {wanted / 2**20:.0f} MiB",
            remedy="free it, or enlarge it (`mount -o remount,size=`, or the container's "
            "`--shm-size`)" + (", or run fewer jobs at a time" if runs > 1 else ""),
        )


def _run(
    command: Sequence[str],
    folder: Path,
    program: Program,
    *,
    timeout: float,
    on_progress: Progress | None,
    stall: float,
    keep: Path | None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """As `run_guarded`, with the worker's command line given."""
    # All of it is the child's to remove when this process is killed.
    with claimed_folder(Path(keep or tempfile.gettempdir())) as scratch:
        _supervise(command, folder, scratch, program, timeout, on_progress, stall, stop)
        answer = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
        if "error" in answer:
            log = _tail(scratch / "worker.log")  # of processes that could not say why they ended
            raise _failed(answer["error"], folder, answer["trace"], log=log)
        if keep is not None:
            for name in ("spikes.npy", "membranes.npy"):
                os.replace(scratch / name, keep / name)
        mode: Literal["r"] | None = None if keep is None else "r"
        where = keep or scratch
        spikes: NDArray[np.uint8]
        membranes: NDArray[np.int32]
        spikes = parsed(lambda: np.load(where / "spikes.npy", mmap_mode=mode))
        membranes = parsed(lambda: np.load(where / "membranes.npy", mmap_mode=mode))
        return Result(
            spikes=_split(spikes, program, program.record),
            membranes=_split(membranes, program, program.record_v),
            seconds=answer["seconds"],
            total_seconds=answer["total_seconds"],
            processes=answer["processes"],
        )


def _supervise(
    command: Sequence[str],
    folder: Path,
    scratch: Path,
    program: Program,
    timeout: float,
    on_progress: Progress | None,
    stall: float,
    stop: Callable[[], bool] | None,
) -> None:
    """Starts the child, waits for `result.json` and leaves nothing of it running."""
    progress = np.memmap(scratch / "progress", np.int64, "w+", shape=(1,))
    log = scratch / "worker.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [*command, str(folder.resolve()), str(scratch), str(os.getpid())],
            env=interpreter.environment(command[0]),
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = max(handles_needed(program), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (soft, hard))
        _wait(
            child, command[0], scratch, program, progress, timeout, on_progress, stall, stop, folder
        )
    finally:
        session.sweep(child.pid)
        child.wait()
        # Again: a process that was being forked during the first sweep.
        session.sweep(child.pid)


def _wait(
    child: subprocess.Popen[bytes],
    executable: str,
    scratch: Path,
    program: Program,
    progress: NDArray[np.int64],
    timeout: float,
    on_progress: Progress | None,
    stall: float,
    stop: Callable[[], bool] | None,
    folder: Path,
) -> None:
    result, steps = scratch / "result.json", program.steps
    started = moved = time.monotonic()
    done = 0
    while not result.exists():
        if child.poll() is not None and not result.exists():
            if child.returncode > session.UNWRITTEN:  # which `scratch_folder` says of its disk
                number = child.returncode - session.UNWRITTEN
                raise OSError(number, os.strerror(number), str(result))
            if not done:
                interpreter.versions(executable)  # says so if it is for want of Lava
            tail = _tail(scratch / "worker.log")
            how = f"by signal {-child.returncode}" if child.returncode < 0 else "without a result"
            raise _failed(
                f"the simulator ended {how} after {done} of {steps} steps",
                folder,
                tail,
                remedy=_KILLED if child.returncode == -signal.SIGKILL else "",
            )
        if stop is not None and stop():
            raise _failed(f"given up after {done} of {steps} steps", folder)
        now = time.monotonic()
        if int(progress[0]) != done:
            done, moved = int(progress[0]), now
            if on_progress is not None:
                on_progress(done, steps)
        if now - moved > stall:
            raise _failed(
                f"no step finished within {stall:g} s, {done} of {steps} are done: a deadlock, or "
                "steps slower than that",
                folder,
                _tail(scratch / "worker.log"),
                remedy="give a longer `stall` time if a step may take that long",
            )
        if now - started > timeout:
            raise _failed(
                f"not finished after {timeout:g} s, {done} of {steps} steps are done",
                folder,
                _tail(scratch / "worker.log"),
                remedy="give a longer time-out, or run fewer steps",
            )
        time.sleep(_POLL_SECONDS)
    if on_progress is not None and int(progress[0]) != done:
        on_progress(int(progress[0]), steps)
    with contextlib.suppress(subprocess.TimeoutExpired):  # what does not end is killed
        child.wait(timeout=_EXIT_SECONDS)


def _failed(
    cause: str, folder: Path, trace: str = "", remedy: str = "", log: str = ""
) -> LavaRunError:
    found = ""
    if not remedy and any(map(said, (cause, trace, log))):
        found, remedy = "too little memory for Lava's processes", SMALLER
    error = LavaRunError(
        f"the Lava run failed: {cause}", where=str(folder), found=found, remedy=remedy
    )
    error.trace = trace
    return error


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")


def _split(rows: Rows, program: Program, names: tuple[str, ...]) -> dict[str, Rows]:
    """The recorder's file, layer by layer."""
    layers: dict[str, Rows] = {}
    start = 0
    for name in names:
        shape: Shape = output_shape(process_named(program, name))
        size = int(np.prod(shape))
        layers[name] = rows[:, start : start + size].reshape(len(rows), *shape)
        start += size
    return layers
