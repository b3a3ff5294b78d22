"""NIR and netx files parsed without a child process for each, as `command_line` runs commands.

A child costs a start of Python, numpy and h5py. That it is one, and what limits it has, is for
tests/targets/test_nir_hostile.py, tests/targets/test_nir_fuzz.py and all that start a command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from purespike.targets.nir.guard import guard, hdf5

CHILD = guard._run


def _here(path: Path, seconds: int, out: IO[bytes], form: guard.Format) -> None:
    """What the child does behind its limits."""
    hdf5.write(out, *hdf5.answer(str(path), form.name))


@contextmanager
def in_process() -> Iterator[None]:
    """The same parser writes the same frame, here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard, "_run", _here)
        yield
