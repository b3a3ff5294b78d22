"""The fidelity table: rows of what a network can hold, columns of targets.

``table.json`` holds it. Nobody writes it by hand: `tests/helpers/fidelity.py` tries each cell on a
small network (written for the target, and run or read back there), and a test compares.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

import msgspec

from purespike.compiler.errors import UsageError

Outcome = Literal["exact", "rewritten", "refused"]
COLUMNS = {
    "lava": "Lava",
    "nir": "NIR",
    "nir-strict": "strict NIR",
    "onnx": "ONNX",
    "qonnx": "QONNX",
    "netx": "netx",
    "c": "C",
    "numpy": "numpy replay",
    "cpu": "cpu",
}


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of one thing on one target.

    Attributes:
        outcome: ``exact``: every spike and membrane as the interpreter's. ``rewritten``: likewise,
            said in another way. ``refused``: no file is written.
        words: Name of the rewrite, or why it is refused.
    """

    outcome: Outcome
    words: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return {"exact": "exact", "rewritten": f"exact: {self.words}", "refused": "refused"}[
            self.outcome
        ]


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a network can hold.

    Attributes:
        name: Of it.
        cells: By column.
    """

    name: str
    cells: dict[str, Cell]


def read_table() -> tuple[Row, ...]:
    """The table as it was tried last."""
    file = resources.files("purespike.targets.fidelity") / "table.json"
    return msgspec.json.decode(file.read_bytes(), type=tuple[Row, ...])


def packed(rows: tuple[Row, ...]) -> str:
    """The table as ``table.json`` holds it."""
    return json.dumps(msgspec.to_builtins(rows), indent=1, ensure_ascii=False) + "\n"


def chosen(target: str | None) -> list[str]:
    """The columns: of one target, or all.

    Raises:
        UsageError: If there is no such target.
    """
    if target is not None and target not in COLUMNS:
        raise UsageError("there is no such target", found=target, allowed=", ".join(COLUMNS))
    return [target] if target else list(COLUMNS)


def reasons(rows: tuple[Row, ...]) -> dict[str, list[tuple[str, str]]]:
    """Why things are refused: (thing, reason) by column."""
    return {
        column: [(r.name, c.words) for r in rows if (c := r.cells[column]).outcome == "refused"]
        for column in COLUMNS
    }


def markdown(rows: tuple[Row, ...]) -> str:
    """The table for docs/targets.md, and below it every refusal with its reason."""
    lines = [
        f"| a network may hold | {' | '.join(COLUMNS.values())} |",
        f"|---{'|---' * len(COLUMNS)}|",
    ]
    lines += [
        f"| {r.name} | {' | '.join(_escaped(r.cells[c].text) for c in COLUMNS)} |" for r in rows
    ]
    lines.append("")
    for column, refused in reasons(rows).items():
        by_reason: dict[str, list[str]] = {}
        for name, why in refused:
            by_reason.setdefault(why, []).append(name)
        words = "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())
        if words:
            lines.append(f"- **{COLUMNS[column]}** refuses: {_escaped(words)}.")
    return "\n".join(lines) + "\n"


def data(rows: tuple[Row, ...], columns: list[str]) -> list[dict[str, Any]]:
    """As JSON-ready data."""
    return [
        {"name": r.name, "cells": {c: msgspec.to_builtins(r.cells[c]) for c in columns}}
        for r in rows
    ]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")
