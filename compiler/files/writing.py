"""Outputs appear whole or not at all: all that purespike writes, it writes here."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from purespike.compiler.choices import as_path
from purespike.compiler.errors import UsageError
from purespike.compiler.files.kinds import Kind
from purespike.compiler.files.outputs import require_file, require_folder
from purespike.compiler.scratch import HIDDEN, Kept, claimed_folder, sweep
from purespike.compiler.storage import OutputError, said

__all__ = ["OutputError", "claimed", "clear_left", "new_folder", "staged_folder", "write_file"]

_NAME = "name"  # of what is written, for whoever finds the folder of a killed process


@contextmanager
def staged_folder(folder: str | os.PathLike[str], kind: Kind) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of ``folder`` when all went well.

    Args:
        folder: Where the result belongs; an older result there is replaced.
        kind: What is written; the new folder's manifest has to hold `Kind.mark`.

    Raises:
        OutputError: If ``folder`` holds anything that is not ours, or cannot be written. Then,
            as after any other exception, everything is as it was before.
    """
    folder = as_path(folder, "folder")
    target = require_folder(folder, kind)
    with _beside(target, folder) as (fresh, old):
        fresh.mkdir()
        yield fresh
        require_folder(target, kind)  # again: all the work lies between
        with suppress(FileNotFoundError):
            os.rename(target, old)
        os.rename(fresh, target)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A fresh folder to write into, which appears as ``folder`` when all went well.

    Args:
        folder: Where the result belongs; nothing may be there.

    Raises:
        OutputError: If something is there, or it cannot be written. Then, as after any other
            exception, everything is as it was before.
    """

    def require_nothing() -> None:
        if os.path.lexists(folder):
            raise OutputError(
                "there is something of this name already",
                where=str(folder),
                remedy="name a folder that does not exist yet",
            )

    require_nothing()
    target = Path(os.path.realpath(folder.parent)) / folder.name
    with _beside(target, folder) as (fresh, _):
        fresh.mkdir()
        yield fresh
        require_nothing()  # again: all the work lies between
        os.rename(fresh, target)


def write_file(
    path: str | os.PathLike[str],
    content: str | bytes | memoryview,
    *,
    ours: Callable[[Path], bool] | None = None,
) -> None:
    """Write a file, whole or not at all.

    Args:
        path: Where; a file there is replaced.
        content: Of the file.
        ours: Whether a file that is there may be replaced; None if the user named it.

    Raises:
        OutputError: If it cannot be written; then everything is as it was before.
    """
    path = as_path(path, "path")
    target = require_file(path, ours)
    with _beside(target, path) as (fresh, _):
        with fresh.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, target)


@contextmanager
def claimed(target: Path, folder: Path, what: str) -> Iterator[None]:
    """Make a folder that is written into bit by bit, in which nobody else writes meanwhile.

    The folder itself is locked: that leaves no file, and ends with the process however it ends.
    Where the file system knows no locks, nothing is.

    Args:
        target: The folder.
        folder: The same as the user names it.
        what: Whoever writes there, in the words of the error: "training".

    Raises:
        UsageError: If another one does.
        OutputError: If the folder cannot be made.
    """
    with said(folder):
        target.mkdir(parents=True, exist_ok=True)
        place = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another {what} runs in this folder",
                where=str(folder),
                allowed="one at a time",
                remedy="wait until it has ended, or name another folder",
            ) from None
        except OSError:  # no locks here
            pass
        yield
    finally:
        os.close(place)


def clear_left(folder: Path) -> None:
    """Remove what killed processes left in a folder; whoever writes a file there does so as well.

    For a folder that goes on where an earlier run stopped: there may be nothing left to write.
    """
    sweep(folder, HIDDEN, _recover)


@contextmanager
def _beside(target: Path, path: Path) -> Iterator[tuple[Path, Path]]:
    """Two free places on the target's file system: for what is new, and for what it replaces.

    Whatever happens, the second goes back to the target unless the first has taken that place, and
    nothing else is left.
    """
    with said(path), _folders(target.parent):
        with claimed_folder(target.parent, HIDDEN, _recover) as hidden:
            fresh, old = hidden / "new", hidden / "old"
            (hidden / _NAME).write_text(target.name, encoding="utf-8", errors="surrogateescape")
            try:
                yield fresh, old
            finally:
                if os.path.lexists(old) and os.path.lexists(fresh):  # stopped half-way
                    _put_back(old, target, path)
        if hidden.exists():
            raise OutputError(
                "the output was written, but what it replaced cannot be removed",
                where=str(hidden),
                remedy="remove it",
            )


class _Displaced(OutputError, Kept):
    """What was there before cannot go back: it stays where it is."""


def _recover(hidden: Path) -> None:
    """Put back what a killed process had moved away and not yet replaced.

    Raises:
        OSError: If it cannot go back; then it stays.
    """
    old = hidden / "old"
    if os.path.lexists(old) and os.path.lexists(hidden / "new"):
        name = (hidden / _NAME).read_text(encoding="utf-8", errors="surrogateescape")
        _move_back(old, hidden.parent / Path(name).name)


def _put_back(old: Path, target: Path, path: Path) -> None:
    try:
        _move_back(old, target)
    except OSError as e:
        raise _Displaced(
            "another program has taken the place of the output",
            where=str(path),
            found=e.strerror or str(e),
            remedy=f"what was there before is now {old}",
        ) from e


def _move_back(old: Path, target: Path) -> None:
    if os.path.lexists(target):  # an empty folder, too, which a rename would replace
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(old, target)


@contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """The folder and those above it; the ones that were made for it go if they stay empty."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for made in missing:
            with suppress(OSError):  # not empty: something was written
                made.rmdir()
