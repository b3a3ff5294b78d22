"""What tests of child processes look at."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SHM = "/dev/shm"


@contextmanager
def heeding() -> Iterator[None]:
    """Children that start meanwhile heed Ctrl-C and a lost terminal.

    The tests themselves ignore them in the background of a script and under nohup, and a child
    takes that over.
    """
    ignored = [n for n in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(n) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def started(command: list[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """A child process, `heeding`, gone with its pipes afterwards, however the test ends.

    One that a failed test leaves is found when its object is collected: the ResourceWarning then
    fails whichever test runs at that time.
    """
    with heeding():
        child = subprocess.Popen(command, **how)
    with child:
        try:
            yield child
        finally:
            child.kill()


def children(pid: int) -> list[int]:
    """Ids of the living processes that `pid` started directly."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether that comes true. Machines are busy; only a test that fails waits that long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def free_port() -> int:
    """A port of this machine that nobody has, and that the system gives to nobody who asks for any.

    One that the system chooses may be another process's before the one it is for listens there.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)  # below ip_local_port_range; no seed repeats it
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def mapped() -> set[str]:
    """Names of the files in /dev/shm that some living process uses: other runs on this machine."""
    names = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(errors="replace").splitlines()
        except OSError:
            continue
        names |= {Path(line.split()[5]).name for line in lines if SHM in line}
    return names
