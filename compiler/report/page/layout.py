"""Where the boxes of a drawing stand, and what is written on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.parts import Box
from purespike.compiler.rules.finding import Finding

WIDE, GAP_X, GAP_Y = 250.0, 40.0, 30.0  # px
_LETTERS = 34  # of a name that fit into a box
MARK = {"FAIL": "fail", "NOT RUN": "open", "WAIVED": "waived"}


def kind_of(domain: str) -> str:
    """``spike``, ``integer`` or ``real``: how an edge is drawn."""
    if domain == "spike":
        return "spike"
    return "integer" if domain.startswith(("int", "ternary")) else "real"


@dataclass(frozen=True)
class Marks:
    """What is written on the boxes beside names and shapes.

    Attributes:
        layers: With domain, rate, bits and cores of each; None for names and shapes alone.
        broken: Indices of the open findings of a layer, by its number.
        findings: All findings.
    """

    layers: Layers | None = None
    broken: Mapping[int, list[int]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

    def of(self, box: Box) -> list[int]:
        """The open findings of a box, the worst first."""
        mine = [k for layer in box.layers for k in self.broken.get(layer, [])]
        return sorted(mine, key=lambda k: list(MARK).index(self.findings[k].status))


class Part:
    """Places of the boxes of one part: x around 0, y from its top."""

    def __init__(self, drawn: Sequence[Box], run: range, high: float) -> None:
        self.drawn, self.run, self.high = drawn, run, high
        self.depth: dict[int, int] = {}
        for b in run:
            before = (self.depth[i] for i in drawn[b].reads if i in self.depth)
            self.depth[b] = 1 + max(before, default=-1)
        rows: dict[int, list[int]] = {}
        for b, d in self.depth.items():
            rows.setdefault(d, []).append(b)
        self.place: dict[int, tuple[float, float]] = {}
        for d, own in rows.items():
            left = -(len(own) * WIDE + (len(own) - 1) * GAP_X) / 2
            for k, b in enumerate(own):
                self.place[b] = (left + k * (WIDE + GAP_X), GAP_Y + d * (high + GAP_Y))
        widest = max(map(len, rows.values()))
        self.width = widest * WIDE + (widest - 1) * GAP_X
        self.height = len(rows) * (high + GAP_Y)
        self.folded = high + GAP_Y


def rules(mine: Sequence[int], marks: Marks) -> tuple[str, str]:
    """The broken rules of a box: the first and how many more, and all of them."""
    ids = sorted({marks.findings[i].rule.id for i in mine})
    return f" ✕ {ids[0]}" + (f" +{len(ids) - 1}" if ids[1:] else ""), ", ".join(ids)


def cut(name: str, more: str) -> str:
    """A name that fits into a box, and what stands behind it."""
    room = _LETTERS - len(more)
    return (name if len(name) <= room else "…" + name[1 - room :]) + more
