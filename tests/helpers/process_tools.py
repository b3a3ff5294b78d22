"""What tests of child processes look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

SHM = "/dev/shm"


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


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


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
