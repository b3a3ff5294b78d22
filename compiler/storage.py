"""What a disk has against a write, as one error that names the place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purespike.compiler.errors import UsageError

# What only writing meets.
STORAGE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
ELSEWHERE = "choose another place (--out)"


class OutputError(UsageError):
    """Something that cannot be written where the user wants it."""


@contextmanager
def said(path: Path, only: frozenset[int] | None = None) -> Iterator[None]:
    """Turn what the system says against a path into an OutputError that names it.

    Args:
        path: What is written.
        only: The error numbers that are meant, where files are read meanwhile.
    """
    try:
        yield
    except OSError as e:
        if only is not None and e.errno not in only:
            raise
        raise OutputError(
            "the output cannot be written",
            where=str(path),
            found=e.strerror or str(e),
            remedy=ELSEWHERE,
        ) from e


@contextmanager
def temporary(folder: Path) -> Iterator[None]:
    """The same of temporary files, whatever is done with them: what else fails is not meant.

    Args:
        folder: Where they are.
    """
    try:
        yield
    except (OSError, OutputError) as e:
        cause = e.__cause__ if isinstance(e, OutputError) else e
        if not isinstance(cause, OSError) or cause.errno not in STORAGE:
            raise
        raise OutputError(
            "temporary files cannot be written",
            where=str(folder),
            found=cause.strerror or str(cause),
            remedy="make room there, or name another folder in the environment: TMPDIR",
        ) from e
