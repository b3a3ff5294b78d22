"""What the tests start heeds Ctrl-C and a lost terminal, and is gone when a test has failed."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys

import pytest
from helpers.process_tools import started

SLEEP = [sys.executable, "-IS", "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_child_heeds_what_its_tests_ignore(number: signal.Signals) -> None:
    """In the background of a script (`make test &`), or under nohup, they do."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with started(SLEEP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None and child.stdout.readline()
            assert signal.getsignal(number) == signal.SIG_IGN
            child.send_signal(number)
            assert child.wait(timeout=30) == -number
    finally:
        signal.signal(number, before)


def test_a_failed_test_leaves_no_child_whose_end_fails_another() -> None:
    """A child that still runs, and its pipe, warn when they are collected: warnings are errors."""
    with (
        pytest.raises(ZeroDivisionError),
        started(SLEEP, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None and child.stdout.readline()
        raise ZeroDivisionError
    assert child.returncode == -signal.SIGKILL and child.stdout.closed
    del child
    gc.collect()
