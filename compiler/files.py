"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purespike.compiler.errors import PurespikeError


class OutputError(PurespikeError):
    """Something that cannot be written where the user wants it."""


@contextmanager
def staged_folder(folder: Path, *, mark: str) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of ``folder`` when all went well.

    Args:
        folder: Where the result belongs; an older result there is replaced.
        mark: File that tells an older result from anything else, which is never replaced.

    Raises:
        OutputError: If ``folder`` holds something else, or cannot be written.
    """
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / mark).is_file())
    ):
        raise OutputError(
            "the output folder holds something else",
            where=str(folder),
            found=", ".join(sorted(p.name for p in folder.iterdir())[:5])
            if folder.is_dir()
            else "a file",
            allowed=f"a missing or empty folder, or an older result (with {mark})",
            remedy="choose another folder",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as e:
        raise OutputError(
            "the output folder cannot be made", where=str(folder), found=e.strerror or str(e)
        ) from e
    try:
        stage.chmod(0o755)
        yield stage
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        if folder.exists():
            os.rename(folder, old / folder.name)
        os.rename(stage, folder)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, stage = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as e:
        raise OutputError(
            "the file cannot be written", where=str(path), found=e.strerror or str(e)
        ) from e
    try:
        with open(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(stage, 0o644)
        os.replace(stage, path)
    except OSError as e:
        raise OutputError(
            "the file cannot be written", where=str(path), found=e.strerror or str(e)
        ) from e
    finally:
        Path(stage).unlink(missing_ok=True)
