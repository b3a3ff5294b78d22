"""A command at a terminal: what it shows, after how much of its own processor time."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from helpers.process_tools import heeding

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"^\S (.+?)\s+[━╸╺]+\s+(\d+/\d+)\s+(\d+:\d\d:\d\d)")
_TICKS = os.sysconf("SC_CLK_TCK")


def _processor(pid: int) -> float | None:
    """Seconds that a process has used, and those of its children that ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[11:15])) / _TICKS


def _resident(pid: int) -> int:
    """The most bytes that a process held; ``ru_maxrss`` would count what its parent held, too."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0


@dataclass
class Watched:
    """A command that ran to its end, or until it was sent SIGINT.

    Attributes:
        words: Its arguments.
        stop: Processor seconds after which SIGINT is sent; None for never.
        stages: (processor seconds, name) of the stages that were shown, as they came.
        first: Processor seconds until the first of them.
        still: The longest processor time in which no bar, count or clock was drawn anew.
        after: Processor seconds from SIGINT to the end.
        seconds: Of the processor, in all.
        peak: Resident memory at most, in bytes.
        code: Its exit code.
        text: All that it wrote.
    """

    words: list[str]
    stop: float | None = None
    stages: list[tuple[float, str]] = field(default_factory=list)
    first: float = 0.0
    still: float = 0.0
    after: float = 0.0
    seconds: float = 0.0
    peak: int = 0
    code: int = 0
    text: str = ""

    def __post_init__(self) -> None:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
        with heeding():
            process = subprocess.Popen(
                [sys.executable, "-m", "purespike", *self.words],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                env=environment,
            )
        os.close(theirs)
        try:
            self._watch(process.pid, ours)
        finally:
            os.close(ours)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = self.code = os.waitstatus_to_exitcode(status)
            self.seconds = used.ru_utime + used.ru_stime
            if self.stop is not None:
                self.after = self.seconds - self.stop

    def _watch(self, pid: int, terminal: int) -> None:
        seen: set[str] = set()
        drawn, last = "", 0.0
        sent = False
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.05)
            used = _processor(pid)
            self.peak = max(self.peak, _resident(pid))
            if ready:
                try:
                    chunk = os.read(terminal, 1 << 16)
                except OSError:  # the other end is closed
                    return
                if not chunk:
                    return
                text = _CODES.sub("", chunk.decode(errors="replace"))
                self.text += text
                for line in re.split(r"[\r\n]+", text):
                    if (bar := _BAR.match(line)) and used is not None:
                        if bar[1] not in seen:
                            seen.add(bar[1])
                            self.stages.append((used, bar[1]))
                            self.first = self.first or used
                        if bar[0][1:] != drawn:
                            self.still = max(self.still, used - last if last else 0.0)
                            drawn, last = bar[0][1:], used
            if self.stop is not None and not sent and used is not None and used >= self.stop:
                os.kill(pid, signal.SIGINT)
                self.stop, sent = used, True
            time.sleep(0)
