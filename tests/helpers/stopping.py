"""A command stopped before its n-th call of the kernel: by what it did, not by a clock.

Counted are the calls that change files, open one or start a process, of the command and of all that
it starts (`stopping_child.CALLS`). Between two of them nothing changes on a disk. A tracer that
stops at every call (ptrace) needs ten times as long: importing torch alone makes 200,000.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers import stopping_child
from helpers.process_tools import heeding

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # requests of seccomp_unotify(2)
_ASKED, _ANSWER = struct.Struct("QII64x"), struct.Struct("QqiI")
_GO_ON = 1
_DEATH_SIGNAL = 1  # of prctl(2): a command never outlives its test
_libc = ctypes.CDLL(None, use_errno=True)


class Stopped:
    """A command that stands still, first before its first instruction.

    Attributes:
        process: The command.
        output: The file of all that it prints.
        at: How many calls it was stopped at.
    """

    def __init__(self, folder: Path, words: tuple[str, ...], temporary: Path) -> None:
        self.output = folder.parent / f"{folder.name}.out"
        here, there = socket.socketpair()
        child = [sys.executable, "-IS", stopping_child.__file__, str(there.fileno())]
        with self.output.open("wb") as output, here, there, heeding():
            self.process = subprocess.Popen(
                [*child, sys.executable, "-m", "purespike", *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[there.fileno()],
                preexec_fn=lambda: _libc.prctl(_DEATH_SIGNAL, signal.SIGKILL),
                env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            )
            there.close()
            _, found, _, _ = socket.recv_fds(here, 1, 1)
        if not found:
            self.process.wait()
            pytest.skip(f"no seccomp filter: {self.text()}")
        self.at = 0
        self._questions = found[0]
        self._ended = os.pidfd_open(self.process.pid)
        self._held: int | None = self._next(0)

    def go(self, point: int) -> bool:
        """Run to that call; False if the command ended before."""
        while self.at < point:
            self._answer()
            if (question := self._next(self._ended)) is None:
                self._run_on()
                self.process.wait()
                return False
            self._held = question
            self.at += 1
        return True

    def leave(self, number: int = 0) -> None:
        """Let it run on unwatched, with that signal."""
        if number:
            self.process.send_signal(number)
        self._run_on()

    def text(self) -> str:
        """All that it has printed."""
        return self.output.read_text(errors="replace")

    def _next(self, ended: int) -> int | None:
        """The next question; None when that process has ended, or there is nobody to ask one."""
        poll = select.poll()
        poll.register(self._questions, select.POLLIN)
        if ended:
            poll.register(ended, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if ready.get(self._questions, 0) & select.POLLIN:
                asked = bytearray(_ASKED.size)
                with contextlib.suppress(FileNotFoundError):  # a signal took it back
                    fcntl.ioctl(self._questions, _RECEIVE, asked)
                    return int(_ASKED.unpack(asked)[0])
            elif ready:
                return None

    def _answer(self) -> None:
        """Let a call that waits be made."""
        if self._held is not None:
            answer = bytearray(_ANSWER.pack(self._held, 0, 0, _GO_ON))
            with contextlib.suppress(FileNotFoundError):  # it ended, or a signal took it back
                fcntl.ioctl(self._questions, _SEND, answer)
        self._held = None

    def _run_on(self) -> None:
        """Let every call be made, until nothing of the command is left."""

        def serve() -> None:
            while True:
                self._answer()
                if (question := self._next(0)) is None:
                    break
                self._held = question
            os.close(self._questions)
            os.close(self._ended)

        threading.Thread(target=serve, daemon=True).start()
