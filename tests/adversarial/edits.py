"""Seeded edits of a bundle by someone who knows its formats: every hash is redone.

An edit changes one thing that one file says. Those called "and the page again" also write
report.html anew, which takes nothing but the report.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from purespike.targets.bundle.bundle import MANIFEST
from purespike.targets.bundle.manifest import file_hash

Random = np.random.Generator
Change = Callable[[Random, Path], None]


@dataclass(frozen=True)
class Edit:
    """A kind of edit of one file.

    Attributes:
        kind: In words.
        file: Which file it changes.
        change: Does it; may raise `Inapplicable`.
    """

    kind: str
    file: str
    change: Change


class Inapplicable(Exception):
    """This bundle has nothing of the kind."""


EDITS: list[Edit] = []


def edit(kind: str, file: str) -> Callable[[Change], Change]:
    """Add the decorated function as a kind of edit."""

    def add(change: Change) -> Change:
        EDITS.append(Edit(kind, file, change))
        return change

    return add


def apply(kind: Edit, seed: int, folder: Path) -> None:
    """Edit a bundle and redo every hash; the file is another one afterwards."""
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    kind.change(np.random.default_rng(seed), folder)
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert after != before, f"{kind.kind} changed nothing"
    seal(folder)


def seal(folder: Path) -> None:
    """Hashes and sizes as the files are; what the program says of its arrays too."""
    program = folder / "lava" / "program.json"
    if program.is_file():
        text = json.loads(program.read_text())
        if isinstance(text, dict) and "arrays_sha256" in text:
            text["arrays_sha256"] = file_hash(folder / "lava" / "arrays.npz")
            program.write_text(json.dumps(text, indent=1) + "\n")
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    wrong = manifest.pop("wrong size of", None)
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p != path]
    manifest["files"] = {
        p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)}
        for p in files
    }
    if wrong:
        manifest["files"][wrong]["bytes"] += 1
    path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
