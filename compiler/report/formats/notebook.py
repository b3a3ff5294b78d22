"""The verdict as a notebook shows it: a heading and what does not hold, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable

from purespike.compiler.report.page.elements import el
from purespike.compiler.report.page.tables import shown as table_shown
from purespike.compiler.report.tables.findings import findings_table
from purespike.compiler.rules.finding import Finding

_MOST = 20  # rows; the report itself has all of them


def shown(name: str, holds: bool, headline: str, findings: Iterable[Finding]) -> str:
    """HTML with the verdict and every finding that does not hold.

    Args:
        name: Of the network.
        holds: Whether it is compliant.
        headline: The verdict in words.
        findings: All of them.
    """
    wrong = [(k, f) for k, f in enumerate(findings) if f.status != "PASS"]
    table = findings_table("What does not hold", wrong).first(_MOST).plain()
    style = f"color:{'#1a7f37' if holds else '#b42318'};font-weight:bold"
    return el("div", el("p", name), el("p", headline, style=style), table_shown(table))
