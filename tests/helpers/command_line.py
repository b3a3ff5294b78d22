"""The command line inside the test's process: a command costs no start of Python, nor of torch."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import purespike.cli.app
from purespike.cli import terminal


def inside(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `purespike` with these arguments would return and say in a process of its own.

    Signals, the streams of a terminal and what has been imported are those of the tests: what is
    about them needs a process.
    """
    words = ["purespike", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", words)
        patch.setattr(purespike.cli.app, "stop_cleanly", lambda: None)
        for where in (terminal.out, terminal.err):
            patch.setattr(where, "width", 200)
        try:
            purespike.cli.app.main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
