"""Real folders that are not ours, and real disks that are full or cannot be written."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below a folder: names, links, and the content of files."""
    return {
        p.relative_to(folder).as_posix(): p.readlink()
        if p.is_symlink()
        else p.read_bytes()
        if p.is_file()
        else None
        for p in folder.rglob("*")
    }


def checkout(folder: Path) -> None:
    """A git repository with a manifest.json of its own, made by git."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "app.js").write_text("work of years")
    (folder / "manifest.json").write_text(json.dumps({"name": "site", "files": {"app.js": {}}}))
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@x"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)


def extension(folder: Path) -> None:
    """A browser extension."""
    folder.mkdir()
    manifest = {"manifest_version": 3, "name": "x", "version": "1", "action": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "background.js").write_text("let x")


def collection(folder: Path) -> None:
    """What another tool writes that has a "format" and "files" too (ansible-galaxy, MANIFEST)."""
    folder.mkdir()
    manifest = {"format": 1, "files": [{"name": "a.yml", "chksum_sha256": "0" * 64}]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "a.yml").write_text("a: 1")


def damaged(folder: Path) -> None:
    """A manifest that no one can read."""
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b'{"purespike": "bundle", \xff')


def thesis(folder: Path) -> None:
    """A folder without any manifest."""
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")


OTHERS = (checkout, extension, collection, damaged, thesis)


@contextmanager
def disk(folder: Path, size: str = "256k") -> Iterator[Path]:
    """A small file system of its own, mounted there."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode
    except FileNotFoundError:
        done = 1
    if done:
        pytest.skip("this user cannot mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
