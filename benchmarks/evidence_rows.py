"""The trainings on MNIST by cell, and accuracies with their intervals.

Intervals are of 95 %: of one seed over the images (Wilson; of differences Newcombe), of several
over the seeds (Student's t).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from evidence import read_rows
from scipy import stats

from purespike.compiler.statistics import wilson_interval

__all__ = [
    "DEPTHS",
    "GATES",
    "SHORT",
    "Evidence",
    "Key",
    "Row",
    "half_width",
    "load",
    "points",
    "share",
    "table",
]

HERE = Path(__file__).resolve().parent
GATES = ("or", "sn", "iand", "xor", "and")
DEPTHS = ("10", "18", "34")
SHORT = 8  # epochs of the map
Row = dict[str, Any]
Key = tuple[str, str, str, str]  # depth, gate, method, variant


class Evidence:
    """The trainings on MNIST by cell, each with its seeds in order, and the scans before them.

    Two seeds say nothing about the spread: until there are three, tables show the first.
    """

    def __init__(self, rows: Sequence[Row], scans: Sequence[Row]) -> None:
        self.rows, self.scans = rows, scans

    def cell(
        self, key: Key, part: str = "validation", epochs: int = SHORT, data: str = "mnist-5k"
    ) -> list[Row]:
        """The seeds of one cell."""
        names = ("network", "gate", "method", "variant")
        found = [
            r
            for r in self.rows
            if (r["data"], r["part"], r["epochs"]) == (data, part, epochs)
            and tuple(r[n] for n in names) == key
        ]
        found.sort(key=lambda r: int(r["seed"]))
        return found if len(found) > 2 else found[:1]


def share(rows: Sequence[Row]) -> str:
    """Accuracy in % with its interval."""
    values = [100 * r["correct"] / r["n"] for r in rows]
    if len(rows) == 1:
        low, high = (100 * x for x in wilson_interval(rows[0]["correct"], rows[0]["n"]))
        return f"{values[0]:.1f} [{low:.1f}, {high:.1f}]"
    half, middle = half_width(values), mean(values)
    return f"**{middle:.1f}** [{max(0.0, middle - half):.1f}, {min(100.0, middle + half):.1f}]"


def points(rows: Sequence[Row], plain: Sequence[Row]) -> str:
    """What a cell has more than another, in points, over the seeds that both have."""
    other = {r["seed"]: r for r in plain}
    pairs = [(r, other[r["seed"]]) for r in rows if r["seed"] in other]
    values = [100 * (a["correct"] / a["n"] - b["correct"] / b["n"]) for a, b in pairs]
    if not pairs:
        return ""
    if len(pairs) > 2:
        half, middle = half_width(values), mean(values)
        return f"**{middle:+.1f}** [{middle - half:+.1f}, {middle + half:+.1f}]"
    a, b = pairs[0]
    (la, ua), (lb, ub) = (wilson_interval(r["correct"], r["n"]) for r in (a, b))
    pa, pb = a["correct"] / a["n"], b["correct"] / b["n"]
    low = values[0] - 100 * sqrt((pa - la) ** 2 + (ub - pb) ** 2)
    high = values[0] + 100 * sqrt((ua - pa) ** 2 + (pb - lb) ** 2)
    return f"{values[0]:+.1f} [{low:+.1f}, {high:+.1f}]"


def half_width(values: Sequence[float]) -> float:
    """Half of Student's interval around the mean."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1)) * stdev(values) / sqrt(n)


def load() -> Evidence:
    """What the committed files hold."""
    scans = (HERE / "evidence_scan.jsonl").read_text().splitlines()
    return Evidence(read_rows(HERE / "evidence.jsonl"), [json.loads(line) for line in scans])


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Lay rows out as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
