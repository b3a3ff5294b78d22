"""Tables of findings: rule by rule, what is open, what was waived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from purespike.compiler.report.lookup import by_rule, limit, worst
from purespike.compiler.report.tables.table import Column, Link, Result, Table, headings
from purespike.compiler.rules.finding import Finding

Numbered = tuple[int, Finding]  # its place among all of them

_WAIVED = headings("rule", "where", "found", "who", "why", "until")


def rules_table(findings: Iterable[Finding], *, judged: bool = False) -> Table:
    """Every rule with its worst result.

    Args:
        findings: All of them.
        judged: Whether to leave out rules without any, which a command did not judge.
    """
    rows = tuple(
        (
            Link(rule.id, rule.id if found else "", rule.help),
            Result(worst(found)),
            str(len(found)),
            rule.title,
        )
        for rule, found in by_rule(findings).items()
        if found or not judged
    )
    places = Column("places", numeric=True)
    columns = (*headings("rule", "result"), places, Column("what it demands"))
    return Table("Every rule with its worst result", columns, rows)


def waived_table(findings: Iterable[Finding]) -> Table:
    """What was accepted, by whom, why, and until when."""
    rows = tuple(
        (f.rule.id, f.where, f.measured, w.who, w.why, w.until)
        for f in findings
        if f.status == "WAIVED" and (w := f.waiver)
    )
    return Table("Waived", _WAIVED, rows)


def findings_table(
    title: str,
    findings: Iterable[Numbered],
    nodes: Mapping[int, int] | None = None,
    *,
    usual: str = "",
) -> Table:
    """Findings with what was found, what is allowed and what to do.

    Args:
        title: Of the table.
        findings: Each with its place among all.
        nodes: Index of the drawn node by index of the finding.
        usual: The result that the title says already.
    """
    findings, drawn = tuple(findings), nodes or {}
    rows = tuple(
        (
            Link(f.rule.id, page=f.rule.help),
            Result(f.status),
            Link(f.where or "whole network", f"n{drawn[k]}" if k in drawn else ""),
            f.measured,
            limit(f),
            f.remedy,
        )
        for k, f in findings
    )
    wordy = (Column(name, wordy=True) for name in ("found", "allowed", "to do"))
    result = Column("result", usual=usual)
    columns = (Column("rule"), result, Column("where", layer=True), *wordy)
    return Table(title, columns, rows, anchors=tuple(f"f{k}" for k, _ in findings))


def open_findings(findings: Iterable[Finding]) -> list[Numbered]:
    """What is broken or did not run, the broken first, each with its place among all."""
    left = [(k, f) for k, f in enumerate(findings) if f.status in ("FAIL", "NOT RUN")]
    return sorted(left, key=lambda pair: (pair[1].status, pair[1].rule.id))
