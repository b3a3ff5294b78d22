"""What people see in the terminal: the verdict, and the tables behind it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from purespike.cli.listing import Listing
from purespike.cli.shown import SHOWN
from purespike.compiler.report.report import Report
from purespike.compiler.report.sentences import (
    NO_ACCURACY,
    given,
    latency,
    operations,
    origin,
    silence,
)
from purespike.compiler.report.tables.c_program import c_program_table
from purespike.compiler.report.tables.counts import energy_table, operations_table
from purespike.compiler.report.tables.findings import findings_table, rules_table, waived_table
from purespike.compiler.report.tables.layers import timing_table
from purespike.compiler.report.tables.stages import accuracy_table, ledger_table
from purespike.compiler.report.tables.table import Cell, Result, Table, text
from purespike.compiler.rules.finding import Finding
from purespike.compiler.wording import spoken

_COLOURS = {"PASS": "green", "FAIL": "bold red", "WAIVED": "yellow", "NOT RUN": "yellow"}


def verdict(report: Report) -> RenderableType:
    """The verdict in a box."""
    colour = "green" if report.compliant else "red"
    box = Panel(
        Text(report.headline, style=f"bold {colour}"),
        title=Text(report.model),
        subtitle=Text(given(report)),
        expand=False,
    )
    warned = silence(report)
    return Group(box, Text(f"{warned}.", style="yellow")) if warned else box


def tables(report: Report, most: int | None = SHOWN) -> RenderableType:
    """What the verdict rests on; of findings the first rows, None for all."""
    parts: list[RenderableType] = [Text(f"Network: {origin(report)}")] if report.file else []
    if report.accuracy:
        parts.append(listing(accuracy_table(report)))
    else:
        parts.append(Text(f"Accuracy: {NO_ACCURACY}"))
    parts.append(rules(report.findings, most=most))
    if report.census.layers:
        parts.append(listing(operations_table(report)))
    parts.append(Text(operations(report)))
    parts += [listing(table) for table in (energy_table(report),) if table.rows]
    if report.resources:
        parts.append(Text(report.resources.summary))
    if report.c_program:
        parts.append(listing(c_program_table(report.c_program)))
    parts += [Text(said) for said in (latency(report),) if said]
    parts += [listing(t) for t in (timing_table(report), ledger_table(report)) if t.rows]
    return Group(*parts)


def rules(
    findings: Iterable[Finding], *, judged: bool = False, most: int | None = SHOWN
) -> RenderableType:
    """One line per rule, then every finding that is not PASS.

    Args:
        findings: All of them.
        judged: Whether to leave out the rules without any: the command does not judge them.
        most: Rows of a table; None for all.
    """
    findings = tuple(findings)
    numbered = list(enumerate(findings))
    broken = [pair for pair in numbered if pair[1].status == "FAIL"]
    unrun = [pair for pair in numbered if pair[1].status == "NOT RUN" and pair[1].remedy]
    tables = (
        waived_table(findings),
        rules_table(findings, judged=judged),
        findings_table("Broken", broken, usual="FAIL"),
        findings_table("Not run", unrun, usual="NOT RUN"),
    )
    return Group(*(listing(table.first(most)) for table in tables if table.rows))


def listing(table: Table) -> RenderableType:
    """A table of the report for the terminal, in the words of the command line."""
    table = table.plain()
    lines = any(c.wordy for c in table.columns)
    made = Listing(title=table.title, show_lines=lines)
    for column in table.columns:
        made.add_column(column.name, justify="right" if column.numeric else "left")
    for k, row in enumerate(table.rows):
        if table.sums and k == len(table.rows) - table.sums:
            made.add_section()
        made.add_row(*map(_cell, row))
    return Group(made, *map(Text, table.notes)) if table.notes else made


def _cell(cell: Cell) -> Text:
    if isinstance(cell, Result):
        return Text(cell.status, style=_COLOURS[cell.status])
    return Text(spoken(text(cell), "command line"))
