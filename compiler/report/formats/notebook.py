"""The verdict as a notebook shows it: a heading and a small table, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

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
    wrong = [f for f in findings if f.status != "PASS"]
    colour = "#1a7f37" if holds else "#b42318"
    rows = [
        f"<tr>{''.join(f'<td>{escape(str(text))}</td>' for text in _row(f))}</tr>"
        for f in wrong[:_MOST]
    ]
    heads = "".join(f"<th>{h}</th>" for h in ("rule", "where", "status", "found", "to do"))
    table = f"<table><tr>{heads}</tr>{''.join(rows)}</table>"
    more = f"<p>and {len(wrong) - _MOST} more</p>" if len(wrong) > _MOST else ""
    return (
        f"<div><p>{escape(name)}</p>"
        f'<p style="color:{colour};font-weight:bold">{escape(headline)}</p>'
        f"{table if rows else ''}{more}</div>"
    )


def _row(f: Finding) -> tuple[str, ...]:
    return (f"{f.rule.id} {f.rule.title}", f.where, f.status, f.measured, f.remedy)
