"""The manifest of a bundle: every file with its size and sha256. Plain Python, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.compiler.files.reading import read_text

FORMAT = 1
MANIFEST = "manifest.json"
_AGAIN = "copy the bundle again, or compile again"
_LARGEST = {MANIFEST: 1 << 20, "report.json": 1 << 28}


class BundleError(UsageError):
    """A bundle that is incomplete, damaged, or not one."""


class ReplacedError(BundleError):
    """Another bundle took the place of one that was being read."""


@contextmanager
def unreplaced(folder: Path, manifest: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Read several files of one bundle: a compile may put another one in its place meanwhile.

    Which bundle lies there its manifest says, which has the hash of every file. Whatever fails
    while another one is put there is no fault of either.

    Args:
        folder: Of the bundle.
        manifest: What was read of it before; None if this is the beginning.

    Raises:
        ReplacedError: Then what was read is of both.
    """
    before = _listed(folder) if manifest is None else manifest
    file = _file(folder)
    try:
        yield
    except ReplacedError:
        raise
    except Exception as e:
        # An equal bundle is as good, but not while it takes the place: nothing is there then.
        if _listed(folder) == before and _file(folder) == file:
            raise
        raise _replaced(folder) from e
    if _listed(folder) != before:
        raise _replaced(folder)


def _listed(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None; what is wrong with it others say."""
    try:
        return read_json(folder / MANIFEST)
    except BundleError:
        return None


def _file(folder: Path) -> tuple[int, int] | None:
    """Which file the manifest is, whatever it says."""
    try:
        status = os.stat(folder / MANIFEST)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _replaced(folder: Path) -> ReplacedError:
    return ReplacedError(
        "the bundle was replaced while it was read",
        where=str(folder),
        found="another manifest.json than before, or none",
        remedy="run this again when whatever compiles into that folder has ended",
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after comparing every file with it.

    Raises:
        BundleError: If a file is missing, unlisted, or not what the manifest says.
    """
    manifest = read_json(folder / MANIFEST)
    listed = manifest.get("files")
    files: dict[str, Any] = listed if isinstance(listed, dict) else {"": None}
    entries = all(isinstance(entry, dict) for entry in files.values())
    if manifest.get("format") != FORMAT or not entries:
        raise BundleError(
            "this is not a bundle of this version",
            where=str(folder / MANIFEST),
            found=f"format {manifest.get('format')!r}, files {type(listed).__name__}",
            allowed=f"format {FORMAT}, files with bytes and sha256 of each by its name",
            remedy=_AGAIN,
        )
    present = {
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_symlink() or not p.is_dir()  # a pipe or a socket is not a file, and does not belong
    }
    wrong = sorted(present - {MANIFEST} - set(files))
    if wrong:
        raise BundleError(
            "the bundle holds a file that is not listed",
            where=str(folder / wrong[0]),
            remedy="keep your own files somewhere else, or compile again",
        )
    for name, entry in files.items():
        path = folder / name
        if name not in present or path.is_symlink() or not path.is_file():
            kind = "no file" if name in present else "nothing"
            raise BundleError(
                "a file of the bundle is missing",
                where=str(path),
                found="a link" if path.is_symlink() else kind,
                remedy=_AGAIN,
            )
        if file_hash(path) != entry.get("sha256"):
            raise BundleError(
                "a file of the bundle was changed",
                where=str(path),
                found=f"sha256 {file_hash(path)}",
                allowed=f"sha256 {entry.get('sha256')}",
                remedy=_AGAIN,
            )
    return manifest


def require_files(folder: Path, *names: str) -> None:
    """Raise if a bundle lacks one of these files.

    Raises:
        BundleError: With what to do, which is another thing where the report is all there is.
    """
    listed = set(read_json(folder / MANIFEST)["files"])
    missing = [name for name in names if name not in listed]
    if not missing:
        return
    if listed <= {"report.json", "report.html"} and "report.json" in listed:
        raise BundleError(
            "the bundle holds a report and no network: it was refused when it was compiled",
            where=str(folder),
            found=f"no {missing[0]}",
            remedy=f"read why: purespike report {folder}",
        )
    raise BundleError(f"the bundle has no {missing[0]}", where=str(folder), remedy=_AGAIN)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the bundle.

    Raises:
        BundleError: If it is missing, too large, or no JSON object.
    """
    try:
        text = read_text(path, _LARGEST[path.name], BundleError, "a file of the bundle")
        data = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            "this is not a bundle",
            where=str(path.parent),
            found=f"no {path.name}" if path.parent.is_dir() else "no folder",
            remedy="name a folder that `purespike compile` wrote",
        ) from None
    except (OSError, ValueError, RecursionError) as e:
        raise BundleError(
            "a file of the bundle cannot be read",
            where=str(path),
            found=getattr(e, "strerror", None) or str(e) or type(e).__name__,
            remedy=_AGAIN,
        ) from e
    if not isinstance(data, dict):
        raise BundleError(
            "a file of the bundle is not a JSON object",
            where=str(path),
            found=type(data).__name__,
            remedy=_AGAIN,
        )
    return data


def file_hash(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
