"""The order of slow tests where only some of them have time: another one with each seed."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

TOGETHER = 4  # tests of a file in a row: they share what its fixtures made

T = TypeVar("T")


def seed() -> str:
    """``PURESPIKE_SLOW_SEED``, or the commit: a run can be repeated, and the next one differs."""
    if said := os.environ.get("PURESPIKE_SLOW_SEED"):
        return said
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return done.stdout.strip()[:12] or "none"


def in_turns(tests: Iterable[T], file: Callable[[T], object], seed: str) -> list[T]:
    """All tests in an order by chance, so that each is as likely as any other to come early."""
    r = random.Random(seed)
    files: dict[object, list[T]] = {}
    for test in tests:
        files.setdefault(file(test), []).append(test)
    rows = []
    for held in files.values():
        r.shuffle(held)
        rows += [held[k : k + TOGETHER] for k in range(0, len(held), TOGETHER)]
    r.shuffle(rows)
    return [test for row in rows for test in row]
