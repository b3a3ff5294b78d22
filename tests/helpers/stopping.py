"""A command stopped at its n-th system call by ptrace(2): by what it did, not by a clock.

Only the first thread of the process is followed, which writes all that purespike writes, with a
stop before and one after each call. Its children run freely.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_TRACEME, _DETACH, _SYSCALL, _SETOPTIONS = 0, 17, 24, 0x4200
_SYSGOOD, _EXITKILL = 1, 1 << 20  # tell a call's stop from a signal; never outlive the test
_AT_CALL = signal.SIGTRAP | 0x80
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class Stopped:
    """A command that stands still, first before its first instruction."""

    def __init__(self, folder: Path, words: tuple[str, ...], temporary: Path) -> None:
        self.output = folder.parent / f"{folder.name}.out"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "purespike", *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _libc.ptrace(_TRACEME, 0, None, None),
                env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            )
        self.at = 0
        self._signal = 0
        _, status = os.waitpid(self.process.pid, 0)
        if not os.WIFSTOPPED(status):
            self.process.returncode = os.waitstatus_to_exitcode(status)
            pytest.skip("this user cannot trace a process (ptrace)")
        _libc.ptrace(_SETOPTIONS, self.process.pid, None, _SYSGOOD | _EXITKILL)

    def go(self, point: int) -> bool:
        """Run to that stop; False if the process ended before."""
        pid = self.process.pid
        while self.at < point:
            _libc.ptrace(_SYSCALL, pid, None, self._signal)
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status):
                self.process.returncode = os.waitstatus_to_exitcode(status)
                return False
            number = os.WSTOPSIG(status)
            self._signal = 0 if number in (_AT_CALL, signal.SIGTRAP) else number
            self.at += number == _AT_CALL
        return True

    def leave(self, number: int = 0) -> None:
        """Let it run on untraced, with that signal."""
        if number == signal.SIGKILL:
            self.process.kill()
        _libc.ptrace(_DETACH, self.process.pid, None, number)

    def text(self) -> str:
        """All that it has printed."""
        return self.output.read_text(errors="replace")
