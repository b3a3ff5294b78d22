"""The report as plain text, for logs: the tables without markup."""

from __future__ import annotations

from collections.abc import Iterator

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
from purespike.compiler.report.tables.table import Link, Table, text

WIDE = 110  # characters of a line


def to_text(report: Report) -> str:
    """Verdict, waivers, rules, what is open, accuracy and counts."""
    findings = report.findings
    parts = [
        f"{report.headline}\n{report.model}, target {report.target}, policy {report.policy}, "
        + given(report),
        *([silence(report)] if silence(report) else []),
    ]
    parts += [f"Network: {origin(report)}"] if report.file else []
    for table in (
        waived_table(findings),
        rules_table(findings),
        findings_table("Open findings", open_findings(findings)),
        accuracy_table(report),
    ):
        if table.rows:
            parts.append("\n".join(_lines(table)))
    parts += [] if report.accuracy else [f"Accuracy: {NO_ACCURACY}"]
    return "\n\n".join([*parts, operations(report), *filter(None, [latency(report)])]) + "\n"


def _lines(table: Table) -> Iterator[str]:
    """Columns side by side where they fit, else one entry below the other."""
    table = table.plain()
    names = [c.name for c in table.columns]
    rows = [[" ".join(text(cell).split()) for cell in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    yield f"{table.title}:"
    if sum(widths) + 2 * len(widths) <= WIDE:
        numeric = [c.numeric for c in table.columns]
        for row in (names, *rows):
            cells = zip(row, widths, numeric, strict=True)
            yield "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in cells).rstrip()
    else:
        short = [k for k, c in enumerate(table.columns) if not c.wordy][:3]
        for row in rows:
            yield " ".join(row[k] for k in short)
            rest = (k for k in range(len(row)) if k not in short and row[k])
            yield from (f"  {names[k]}: {row[k]}" for k in rest)
    yield from table.notes
    if not table.anchors:
        return
    rules = sorted({c.text for row in table.rows for c in row if isinstance(c, Link) and c.page})
    yield from [f"see: {', '.join(f'purespike rule {rule}' for rule in rules)}"] if rules else []
