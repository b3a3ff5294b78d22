"""What a run leaves behind when it is killed, and how it is removed: exactly that and nothing else.

Parent and child use the same code. A run is one session (in the sense of `setsid`), whose number
is the process id of its first process; its shared memory bears that number in its names. Its
sockets lie in the folder in which it works, which is the parent's to remove.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import threading
import time
from multiprocessing import process, shared_memory

UNWRITTEN = 100  # and an error's number: the exit code of a worker that cannot write its result
SHARED_MEMORY = "/dev/shm"
_PR_SET_PDEATHSIG = 1
_KILL_SECONDS = 10.0
_PARENT_POLL_SECONDS = 0.2


def prefix(session: int) -> str:
    """Beginning of the names of the session's files in /dev/shm."""
    return f"pspk{session:x}_"


def claim(session: int) -> None:
    """Makes Python name this process's shared memory after the session, and put sockets here.

    Lava makes both through `multiprocessing`, which has no public setting for either. All processes
    of the session work in one folder; a socket's path may have 107 bytes (unix(7)), but this one is
    short wherever that folder is.
    """
    shared_memory._SHM_NAME_PREFIX = "/" + prefix(session)  # type: ignore[attr-defined]
    shared_memory._SHM_SAFE_NAME_LENGTH = 30  # type: ignore[attr-defined]
    process.current_process()._config["tempdir"] = os.curdir  # type: ignore[attr-defined]


def die_with_parent() -> None:
    """Makes every process that this one forks die when this one does, even by SIGKILL."""
    libc = ctypes.CDLL(None, use_errno=True)
    forking = [os.getpid()]

    def note() -> None:
        forking[0] = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != forking[0]:  # it died before the line above
            os._exit(1)

    os.register_at_fork(before=note, after_in_child=arm)


def members(session: int) -> list[int]:
    """Ids of the processes in that session, those that have ended left out."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                # The name in parentheses may hold anything; state and session come after it.
                fields = file.read().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry))
    return found


def segments(session: int) -> list[str]:
    """Paths of the session's files in /dev/shm."""
    begin = prefix(session)
    return [
        os.path.join(SHARED_MEMORY, name)
        for name in os.listdir(SHARED_MEMORY)
        if name.startswith(begin)
    ]


def sweep(session: int) -> None:
    """Kills every process of the session but the caller, then removes what they have left."""
    end = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < end:
        others = [pid for pid in members(session) if pid != os.getpid()]
        if not others:
            break
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for path in segments(session):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def watch_parent(parent: int, scratch: str) -> None:
    """Starts a thread that removes the whole session, and `scratch`, once the parent has gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_SECONDS)
        sweep(os.getpid())
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="purespike.parent", daemon=True).start()


def wait_if_orphaned(parent: int) -> None:
    """Does not return once the parent has gone: the thread above is cleaning up, and then ends all.

    What it kills first looks like a failure to the main thread, which must not exit before it.
    """
    while os.getppid() != parent:
        time.sleep(_PARENT_POLL_SECONDS)
