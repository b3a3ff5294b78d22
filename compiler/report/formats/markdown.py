"""The report as Markdown, for a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from purespike.compiler.report.report import Report
from purespike.compiler.report.sentences import (
    NO_ACCURACY,
    given,
    latency,
    operations,
    origin,
    silence,
)
from purespike.compiler.report.tables.findings import (
    findings_table,
    open_findings,
    rules_table,
    waived_table,
)
from purespike.compiler.report.tables.stages import accuracy_table
from purespike.compiler.report.tables.table import Cell, Result, Table, text
from purespike.compiler.rules.finding import Finding

SHOWN = 20  # findings; report.json has all of them
_MARKS = {"PASS": "✅", "FAIL": "❌", "WAIVED": "⚠️", "NOT RUN": "❔"}


def to_markdown(report: Report) -> str:
    """A summary: verdict, waivers, rules, what is open, accuracy and counts."""
    findings = report.findings
    reserved = any(f.status == "WAIVED" or f.excused for f in findings)
    mark = "❌" if not report.compliant else "⚠️" if reserved else "✅"
    parts = [
        f"## {mark} {_escaped(report.headline)}",
        f"{_escaped(report.model)} for {_escaped(report.target)}, policy `{report.policy}`, "
        + given(report),
        *([f"⚠️ {_escaped(silence(report))}."] if silence(report) else []),
    ]
    parts += [f"Network: {_escaped(origin(report))}"] if report.file else []
    waived, open_ = (
        waived_table(findings).first(SHOWN),
        findings_table("Open", open_findings(findings)).first(SHOWN),
    )
    parts += _part("Waived", waived) if waived.rows else []
    parts += _part("Rules", rules_table(findings))
    parts += (
        [*_part("Open", open_), _rules(f for _, f in open_findings(findings))] if open_.rows else []
    )
    accuracy = accuracy_table(report)
    parts += (
        _part("Accuracy", accuracy)
        if accuracy.rows
        else ["### Accuracy", f"{NO_ACCURACY.capitalize()}."]
    )
    return "\n\n".join([*parts, operations(report), *filter(None, [latency(report)])]) + "\n"


def _rules(findings: Iterable[Finding]) -> str:
    """What prints the pages of these rules: a summary of CI has no place for a link to lead to."""
    named = sorted({f"`{f.rule.command}`" for f in findings})
    return f"Why, and what to do: {', '.join(named)}."


def _part(heading: str, table: Table) -> list[str]:
    table = table.plain()
    names = [_escaped(c.name) for c in table.columns]
    rows = [[_cell(c) for c in row] for row in table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in (names, *rows)]
    rule = "|" + "".join("---:|" if c.numeric else "---|" for c in table.columns)
    return [f"### {heading}", "\n".join([lines[0], rule, *lines[1:]]), *map(_escaped, table.notes)]


def _cell(cell: Cell) -> str:
    if isinstance(cell, Result):
        return f"{_MARKS[cell.status]} {cell.status}"
    return _escaped(text(cell))


def _escaped(text: str) -> str:
    """Text that can neither end its cell nor become markup."""
    plain = " ".join(text.split())
    for c in "\\`*_[]<>|#":
        plain = plain.replace(c, f"\\{c}" if c not in "<>" else {"<": "&lt;", ">": "&gt;"}[c])
    return plain
