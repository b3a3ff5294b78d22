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
        lit: A further class of a box, by its name.
        ways: A further class of an edge, by the names of its ends.
    """

    layers: Layers | None = None
    broken: Mapping[int, list[int]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    lit: Mapping[str, str] = field(default_factory=dict)
    ways: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, box: Box) -> list[int]:
        """The open findings of a box, the worst first."""
        mine = [k for layer in box.layers for k in self.broken.get(layer, [])]
        return sorted(mine, key=lambda k: list(MARK).index(self.findings[k].status))


def rules(mine: Sequence[int], marks: Marks) -> tuple[str, str]:
    """The broken rules of a box: the first and how many more, and all of them."""
    ids = sorted({marks.findings[i].rule.id for i in mine})
    return f" ✕ {ids[0]}" + (f" +{len(ids) - 1}" if ids[1:] else ""), ", ".join(ids)


def cut(name: str, more: str) -> str:
    """A name that fits into a box, and what stands behind it."""
    room = _LETTERS - len(more)
    return (name if len(name) <= room else "…" + name[1 - room :]) + more
