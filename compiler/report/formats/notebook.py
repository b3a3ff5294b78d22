"""Results as a notebook shows them: a heading and a table, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable

from purespike.compiler.report.page.elements import el
from purespike.compiler.report.page.tables import shown as table_shown
from purespike.compiler.report.tables.findings import findings_table
from purespike.compiler.report.tables.table import Table
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
    colours = "#116329;background:#e8f5ec" if holds else "#b3151f;background:#fdecec"
    style = f"display:inline-block;padding:2px 8px;font-weight:bold;color:{colours}"
    return el("div", el("p", name), el("p", headline, style=style), table_shown(table))


def listed(heading: str, table: Table) -> str:
    """HTML with a line in words and a table."""
    return el("div", el("p", heading), table_shown(table.first(_MOST)))
