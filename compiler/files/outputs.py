"""What may be written where: nothing but what is ours is ever replaced. Nothing is touched here.

A folder is replaced as a whole, so it has to be ours as a whole: its manifest says so (the key
``purespike``), lists every file in it, and no file was changed since. These checks cost little:
commands make them before any work, and writers once more when they write.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from purespike.compiler.files.kinds import BUNDLE, CHECKPOINT, Kind
from purespike.compiler.scratch import HIDDEN, hidden_name
from purespike.compiler.storage import ELSEWHERE, OutputError, said

_SHOWN = 5
_MOVE = "move it away, or choose another place (--out)"


def require_folder(folder: Path, kind: Kind) -> Path:
    """Where a folder of a kind can be put, in place of an older one.

    Returns:
        The absolute path.

    Raises:
        OutputError: If something else is there, or it could not be written.
    """
    with said(folder):
        target = _place(folder)
        if _is_folder(target, folder):
            _require_movable(target, folder)
            if os.listdir(target):
                _require_ours(target, folder, kind)
    return target


def require_open_folder(folder: Path, kind: Kind | None) -> Path:
    """Where files can be put beside others: in a missing or empty folder, or one of that kind.

    A folder in which another process writes its first file, or was killed meanwhile, is empty.

    Args:
        folder: The folder.
        kind: The kind; None if any folder will do.

    Returns:
        The absolute path.

    Raises:
        OutputError: If something else is there, or it could not be written.
    """
    with said(folder):
        target = _place(folder)
        if _is_folder(target, folder):
            _try(target)
            others = [n for n in os.listdir(target) if not n.startswith(HIDDEN)]
            if kind is not None and others and kind.read(target) is None:
                raise _something_else(target, folder, kind)
    return target


def require_file(file: Path, ours: Callable[[Path], bool] | None = None) -> Path:
    """Where a file can be put, in place of an older one.

    Args:
        file: The path.
        ours: Whether a file that is there may be replaced; None if the user named this very file,
            and so means it.

    Returns:
        The absolute path.

    Raises:
        OutputError: If something else is there, or it could not be written.
    """
    with said(file):
        target = _place(file)
        mode = _mode(target)
        if mode is None:
            return target
        _refuse_link(mode, target, file)
        if not stat.S_ISREG(mode):
            raise OutputError(
                "no file can be put here",
                where=str(file),
                found="a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket",
                remedy=ELSEWHERE,
            )
        if ours is not None and not ours(target):
            raise OutputError(
                "there is a file of this name that purespike did not write",
                where=str(file),
                remedy=_MOVE,
            )
    return target


def _mode(path: Path) -> int | None:
    """What stands there, without following a link; None if nothing does."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _place(path: Path) -> Path:
    """The absolute path, after a look at the folders above it."""
    if "\0" in str(path):
        raise OSError(errno.EINVAL, "a path cannot hold a NUL")
    if path.name in ("", ".."):  # such as "." and "/"
        target = Path(os.path.realpath(path))
    else:
        target = Path(os.path.realpath(path.parent)) / path.name
    above = target.parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise OutputError(
            "a file is where a folder has to be",
            where=str(path),
            found=str(above),
            remedy=ELSEWHERE,
        )
    longest = max(len(os.fsencode(part)) for part in (*target.relative_to(above).parts, "x"))
    if longest > os.pathconf(above, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    _try(above)
    for parent in target.parents:
        for kind in (BUNDLE, CHECKPOINT):
            with suppress(OSError):
                if kind.read(parent) is not None:
                    raise OutputError(
                        f"a {kind.name} holds its own files only",
                        where=str(path),
                        found=f"the {kind.name} {parent}",
                        remedy="write beside it: another file in it breaks it",
                    )
    return target


def _try(folder: Path) -> None:
    """Make something there and remove it: no flag tells all that a system may have against it."""
    tried = folder / hidden_name()
    try:
        tried.mkdir()
    finally:
        with suppress(OSError):
            tried.rmdir()


def _refuse_link(mode: int, target: Path, path: Path) -> None:
    if stat.S_ISLNK(mode):
        raise OutputError(
            "the output is a symbolic link",
            where=str(path),
            found=f"a link to {os.readlink(target)}",
            remedy="name the place itself",
        )


def _is_folder(target: Path, folder: Path) -> bool:
    """Whether there is a folder; anything but a folder or nothing is refused."""
    mode = _mode(target)
    if mode is None:
        return False
    _refuse_link(mode, target, folder)
    if not stat.S_ISDIR(mode):
        raise OutputError(
            "the output folder is a file", where=str(folder), found="a file", remedy=ELSEWHERE
        )
    return True


def _require_movable(target: Path, folder: Path) -> None:
    """A folder that is replaced changes places with the new one, which not every folder can."""
    here = Path(os.path.realpath(os.curdir))
    if target == here or target in here.parents:
        found = "the current folder, or one above it"
    elif os.path.ismount(target):
        found = "a mount point"
    elif not os.access(target, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    else:
        return
    raise OutputError(
        "this folder cannot be replaced",
        where=str(folder),
        found=found,
        allowed="a folder in it that is missing, empty, or ours",
        remedy=f"name a folder in it, such as {folder / 'bundle'}",
    )


def _something_else(target: Path, folder: Path, kind: Kind) -> OutputError:
    names = sorted(os.listdir(target))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return OutputError(
        "the output folder holds something else",
        where=str(folder),
        found=", ".join(names[:_SHOWN]) + more,
        allowed=f"a missing or empty folder, or a {kind.name} that purespike wrote",
        remedy=ELSEWHERE,
    )


def _require_ours(target: Path, folder: Path, kind: Kind) -> None:
    """Every file is listed and as it was written; some may be gone."""
    manifest = kind.read(target)
    if manifest is None:
        raise _something_else(target, folder, kind)
    files = {**kind.files(manifest), kind.manifest: {}}
    for name in _contents(target, files):
        if name not in files:
            wrong = (
                f"the {kind.name} in the output folder holds a file that purespike did not write"
            )
        elif not _unchanged(target / name, files[name]):
            wrong = f"a file of the {kind.name} in the output folder was changed by someone"
        else:
            continue
        raise OutputError(wrong, where=str(folder), found=name, remedy=_MOVE)


def _contents(target: Path, files: Mapping[str, Any]) -> Iterator[str]:
    """All that is in a folder, relative to it, but the folders that the listed files need."""
    needed = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for place, folders, names in os.walk(target, onerror=_raise):
        if not os.access(place, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        inside = Path(place).relative_to(target)
        for name in (*folders, *names):
            path = (inside / name).as_posix()
            if name in names or path not in needed or (target / path).is_symlink():
                yield path


def _raise(error: OSError) -> None:
    raise error


def _unchanged(path: Path, entry: Any) -> bool:
    mode = _mode(path)
    if mode is None or not stat.S_ISREG(mode) or not isinstance(entry, dict):
        return False
    if entry.get("bytes", path.stat().st_size) != path.stat().st_size:
        return False
    with path.open("rb") as file:
        return (
            "sha256" not in entry
            or hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
        )
