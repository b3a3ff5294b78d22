"""Folders for a moment: removed when they are done with, and those of killed processes as well.

Nothing runs after SIGKILL, so whoever makes such a folder next removes what is left of others. A
process holds a lock in its folder for as long as it lives, whichever container it lives in: a
process id would not say so.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from purespike.compiler.storage import temporary

__all__ = ["HIDDEN", "Kept", "claimed_folder", "hidden_name", "scratch_folder", "sweep"]

HIDDEN, SHOWN = ".purespike-", "purespike-"
_LOCK, _FRESH = "lock", "lock.new"
_TRIES = 100


class Kept(Exception):
    """Raised through a claimed folder whose content must stay."""


def hidden_name() -> str:
    """A name for what is there for a moment only; short, for what it stands beside may be long."""
    return HIDDEN + secrets.token_hex(6)


@contextmanager
def scratch_folder(where: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """An empty folder that is gone afterwards.

    Args:
        where: In which folder; None is the one for temporary files (TMPDIR).

    Raises:
        OSError: If it cannot be made.
        OutputError: If it is for temporary files, and the disk has no room or can only be read.
    """
    above = Path(tempfile.gettempdir() if where is None else where)
    with temporary(above) if where is None else nullcontext(), claimed_folder(above) as folder:
        work = folder / "work"
        work.mkdir()
        yield work


@contextmanager
def claimed_folder(
    above: Path, prefix: str = SHOWN, left: Callable[[Path], None] = lambda folder: None
) -> Iterator[Path]:
    """A folder that holds the lock of this process, and is gone afterwards.

    Args:
        above: In which folder.
        prefix: Of its name; folders with the same one that dead processes left are removed.
        left: Called with each of those before that; one for which it raises OSError stays.

    Raises:
        OSError: If it cannot be made.
    """
    sweep(above, prefix, left)
    folder = above / (prefix + secrets.token_hex(6))  # known before it exists: Ctrl-C may come
    lock, stays = -1, False
    try:
        lock = _make(folder)
        yield folder
    except Kept:
        stays = True
        raise
    finally:
        if not stays:
            try:
                _remove(folder)
            except BaseException:  # Ctrl-C comes here as well
                _remove(folder)
                raise
        if lock >= 0:
            os.close(lock)


def _make(folder: Path) -> int:
    """Make a folder and lock it; -1 where the file system knows no locks."""
    fresh = folder / _FRESH
    for k in range(_TRIES):
        time.sleep(0.001 * k)  # until that process has removed it
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except (
            FileNotFoundError,
            FileExistsError,
        ):  # another process takes it for one that was left
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(folder / _LOCK)  # locked before anyone can see it
        except (BlockingIOError, FileNotFoundError):  # as above: it has not been locked yet
            os.close(lock)
            continue
        except OSError:
            os.close(lock)
            fresh.unlink(missing_ok=True)
            return -1
        return lock
    raise FileNotFoundError(f"{folder} is removed as soon as it is made")


def sweep(above: Path, prefix: str, left: Callable[[Path], None]) -> None:
    """Remove the folders of that prefix whose process is dead; all others stay as they are.

    Args:
        above: In which folder.
        prefix: Of their names.
        left: As for `claimed_folder`.
    """
    with suppress(OSError):
        for entry in list(os.scandir(above)):
            if entry.name.startswith(prefix):
                with suppress(OSError):
                    _remove_dead(Path(entry.path), left)


def _remove_dead(folder: Path, left: Callable[[Path], None]) -> None:
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return
    names = os.listdir(folder)
    if not names:
        folder.rmdir()  # killed before it was locked; one that holds anything else stays
        return
    name = _FRESH if names == [_FRESH] else _LOCK
    lock = os.open(folder / name, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its process lives
        if not os.path.samestat(os.fstat(lock), os.lstat(folder / name)):
            return  # another process removed it meanwhile, and whoever had made it did so again
        if name == _FRESH:
            # No more than this: once the file is gone, whoever had made the folder makes a new one.
            os.unlink(folder / name)
            folder.rmdir()
            return
        left(folder)
        _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """The lock last, and alone: of a folder without one, nobody knows that its process was killed.

    What cannot be removed now (a process that ends may still write there) whoever makes such a
    folder next removes.
    """
    for _ in range(2):
        with suppress(OSError):
            for entry in list(os.scandir(folder)):
                if entry.name == _LOCK:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)
    with suppress(OSError):
        if os.listdir(folder) == [_LOCK]:
            os.unlink(folder / _LOCK)
        folder.rmdir()
