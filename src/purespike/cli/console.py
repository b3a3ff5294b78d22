"""What people see in the terminal: progress bars, the verdict, and the tables behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from purespike.cli.listing import Listing
from purespike.cli.shown import SHOWN
from purespike.compiler.errors import PurespikeError
from purespike.compiler.report.report import Report
from purespike.compiler.report.sentences import NO_ACCURACY, operations
from purespike.compiler.report.tables.c_program import c_program_table
from purespike.compiler.report.tables.counts import energy_table, operations_table
from purespike.compiler.report.tables.findings import findings_table, rules_table, waived_table
from purespike.compiler.report.tables.layers import timing_table
from purespike.compiler.report.tables.stages import accuracy_table, ledger_table
from purespike.compiler.report.tables.table import Cell, Result, Table, text
from purespike.compiler.rules.finding import Finding
from purespike.compiler.wording import spoken

_COLOURS = {"PASS": "green", "FAIL": "bold red", "WAIVED": "yellow", "NOT RUN": "yellow"}


# Markup is off: what a user wrote may hold brackets, and has to come out as it is.
out = Console(markup=False, highlight=False, emoji=False)
err = Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_error(error: PurespikeError) -> None:
    """The error in the words of the command line; long lines go on further in."""
    notes = getattr(error, "__notes__", [])
    lines = [("error: " + error.text("command line"), "")] + [(note, "dim") for note in notes]
    for words, style in lines:
        for line in words.splitlines():
            err.print(_hanging(line, err.width), style=style, soft_wrap=True)


def _hanging(line: str, width: int) -> Text:
    """A line of an error wrapped between words; paths and options stay whole."""
    bare = line.lstrip()
    lead = " " * (len(line) - len(bare))
    wrapped = textwrap.fill(
        bare,
        max(width, 20),
        initial_indent=lead,
        subsequent_indent=lead + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    text = Text(wrapped)
    if bare.startswith("error: "):
        text.stylize("bold red", 0, len("error:"))
    return text


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One bar a stage; the yielded function takes (stage, done, total)."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def render(report: Report, most: int | None = SHOWN) -> RenderableType:
    """The report, verdict first; of findings the first rows, None for all."""
    return Group(verdict(report), tables(report, most))


def verdict(report: Report) -> RenderableType:
    """The verdict in a box."""
    colour = "green" if report.compliant else "red"
    return Panel(
        Text(report.headline, style=f"bold {colour}"), title=Text(report.model), expand=False
    )


def tables(report: Report, most: int | None = SHOWN) -> RenderableType:
    """What the verdict rests on; of findings the first rows, None for all."""
    parts: list[RenderableType] = []
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
