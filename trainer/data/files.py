"""Files from outside, read within limits."""

from __future__ import annotations

from pathlib import Path

from purespike.compiler.files import reading
from purespike.trainer.errors import DataError

__all__ = ["class_folders", "files_below", "need_folder", "read_bytes"]


def need_folder(root: str, *choices: str, remedy: str) -> Path:
    """Find the first of some folders.

    Args:
        root: where to look.
        choices: folders below it; "." is itself.
        remedy: what to do if there is none.

    Raises:
        DataError: if none is there.
    """
    base = Path(root).expanduser()
    for choice in choices:
        if (base / choice).is_dir():
            return base / choice
    raise DataError(
        "the data set is not there",
        where=str(base),
        found=_listing(base),
        allowed=" or ".join(f"a folder {c}" for c in choices),
        remedy=remedy,
    )


def read_bytes(path: Path, most: int, remedy: str) -> bytes:
    """Read a file of at most ``most`` bytes.

    Raises:
        DataError: if it cannot be read or is larger.
    """
    try:
        return reading.read_bytes(path, most, DataError, "a data file")
    except DataError as e:
        e.remedy = e.remedy or remedy
        raise
    except OSError as e:
        raise DataError(
            "a data file cannot be read",
            where=str(path),
            found=e.strerror or str(e),
            remedy=remedy,
        ) from e


def class_folders(folder: Path, remedy: str) -> tuple[str, ...]:
    """Names of the folders in a folder, sorted: its classes.

    Raises:
        DataError: if there are fewer than two.
    """
    names = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))
    if len(names) < 2:
        raise DataError(
            "a data set needs a folder for each class",
            where=str(folder),
            found=_listing(folder),
            allowed="two or more folders",
            remedy=remedy,
        )
    return names


def files_below(folder: Path, endings: tuple[str, ...], remedy: str) -> list[Path]:
    """The files right in a folder that end in one of ``endings`` (small letters), sorted.

    Raises:
        DataError: if there is none.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in endings)
    if not files:
        raise DataError(
            "a folder of the data set holds no samples",
            where=str(folder),
            found=_listing(folder),
            allowed=f"files that end in {', '.join(endings)}",
            remedy=remedy,
        )
    return files


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "an empty folder"
