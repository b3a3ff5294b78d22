"""What people see in the terminal: progress bars, the verdict, and the tables behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from purespike.compiler.errors import PurespikeError
from purespike.compiler.proofs.counts import Counts
from purespike.compiler.report.formats.read import NO_ACCURACY, amount, operations, percent
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import RULES, WAIVERS, Finding
from purespike.compiler.wording import figure, spoken

_COLOURS = {"PASS": "green", "FAIL": "bold red", "WAIVED": "yellow", "NOT RUN": "yellow"}
_SHOWN = 20  # broken findings a rule; the report file has all of them


# Markup is off: what a user wrote may hold brackets, and has to come out as it is.
out = Console(markup=False, highlight=False, emoji=False)
err = Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_error(error: PurespikeError) -> None:
    """The error in the words of the command line; long lines go on further in."""
    notes = getattr(error, "__notes__", [])
    lines = [("error: " + error.text("command line"), "")] + [(note, "dim") for note in notes]
    for text, style in lines:
        for line in text.splitlines():
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


def render(report: Report) -> RenderableType:
    """The report, verdict first."""
    colour = "green" if report.compliant else "red"
    verdict = Panel(
        Text(report.headline, style=f"bold {colour}"), title=Text(report.model), expand=False
    )
    parts: list[RenderableType] = [verdict]
    parts.append(_accuracy(report))
    if report.accuracy:
        notes = ((a.stage, report.note(a)) for a in report.accuracy)
        parts += [Text(f"{stage}: {note}", style="yellow") for stage, note in notes if note]
    parts.append(rules(report.findings))
    data = report.data()
    if report.census:
        parts += [_census(report), Text(operations(data)), _energy(report)]
    else:
        parts.append(Text(operations(data)))
    if report.resources:
        parts.append(Text(report.resources["summary"]))
    if report.timing:
        parts.append(_timing(report))
    if report.ledger:
        parts.append(_ledger(report))
    return Group(*parts)


def rules(findings: Iterable[Finding], *, judged: bool = False) -> RenderableType:
    """One line a rule, then every finding that is not PASS.

    Args:
        findings: All of them.
        judged: Whether to leave out the rules without any: the command does not judge them.
    """
    findings = tuple(findings)
    table = Listing("rule", "result", "checked", "what it demands", title="Rules")
    for rule in (WAIVERS, *RULES):
        own = [f for f in findings if f.rule.id == rule.id]
        if not own and (judged or rule == WAIVERS):
            continue
        worst = next(
            (s for s in ("FAIL", "NOT RUN", "WAIVED", "PASS") if any(f.status == s for f in own)),
            "NOT RUN",
        )
        places = f"{len(own)} place{'' if len(own) == 1 else 's'}"
        if not own or (worst == "NOT RUN" and len(own) == 1):
            places = ""
        table.add_row(rule.id, Text(worst, style=_COLOURS[worst]), places, rule.title)
    parts: list[RenderableType] = []
    waived = [f for f in findings if f.status == "WAIVED" and f.waiver]
    if waived:
        accepted = Listing(
            *("rule", "where", "found", "who", "why", "until"),
            title=Text("WAIVED", style="bold yellow"),
        )
        for f in waived[:_SHOWN]:
            texts = (f.where, f.measured, *(vars(f.waiver).values()))
            accepted.add_row(f.rule.id, *texts)
        if len(waived) > _SHOWN:
            accepted.add_row("", f"and {len(waived) - _SHOWN} more", "", "", "", "")
        parts.append(accepted)
    parts.append(table)
    broken = [f for f in findings if f.status == "FAIL"]
    if broken:
        details = Listing(
            "rule", "where", "found", "allowed", "to do", title="Broken", show_lines=True
        )
        for f in broken[:_SHOWN]:
            texts = (f.where, f.measured, f"{f.limit} {f.unit}".strip(), _todo(f))
            details.add_row(f.rule.id, *texts)
        if len(broken) > _SHOWN:
            details.add_row("", f"and {len(broken) - _SHOWN} more", "see the report file", "", "")
        parts.append(details)
    open_ = [f for f in findings if f.status == "NOT RUN" and f.remedy]
    if open_:
        rest = Listing("rule", "where", "why", "to do", title="Not run", show_lines=True)
        for f in open_[:_SHOWN]:
            rest.add_row(f.rule.id, f.where, f.measured, _todo(f))
        parts.append(rest)
    return Group(*parts)


def _todo(finding: Finding) -> str:
    return spoken(finding.remedy, "command line")


def _accuracy(report: Report) -> RenderableType:
    if not report.accuracy:
        return Text(f"Accuracy: {NO_ACCURACY}")
    table = Listing(
        "stage", "correct", "accuracy", "95 % interval", "same decisions", title="Accuracy"
    )
    for a in report.accuracy:
        low, high = a.interval
        same = "" if a.identical is None else f"{a.identical}/{a.n}"
        table.add_row(
            a.stage,
            f"{a.correct}/{a.n}",
            f"{100 * a.rate:.2f} %",
            f"{100 * low:.2f} to {100 * high:.2f} %",
            same,
        )
    return table


def _census(report: Report) -> Listing:
    table = Listing(title="Operations a sample (all time steps)")
    table.add_column("layer", overflow="fold", min_width=20)
    for name in ("AC", "MAC", "MUL", "ADD", "CMP", "fires"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.census:
        c = row.counts
        if not any((c.ac, c.mac, c.mul, c.add, c.cmp, c.logic, c.unknown)):
            continue
        rate = "" if row.firing_rate is None else f"{100 * row.firing_rate:.1f} %"
        numbers = [figure(n) if n else "" for n in (c.ac, c.mac, c.mul, c.add, c.cmp)]
        place = "" if row.runs_on == "chip" else " (host)"
        place += f" ({row.arrays} arrays)" if (row.arrays or 1) > 1 else ""
        table.add_row(f"{row.name}{place}", *numbers, rate)
    table.add_section()
    chip = report.chip_counts() or Counts()  # there are layers, so there is a sum
    total = (chip.ac, chip.mac, chip.mul, chip.add, chip.cmp)
    table.add_row("chip", *map(amount, total), "")
    return table


def _energy(report: Report) -> Listing:
    table = Listing(
        "table",
        "nJ a sample",
        "quietest to busiest",
        "leaves out",
        title="Energy (a projection, not a result)",
    )
    for row in report.energy():
        value, ends = row["nanojoule_per_sample"], row["nanojoule_range"]
        known = value is not None
        table.add_row(
            row["table"],
            figure(value, 1) if known else "no figure",
            "" if None in ends else " to ".join(figure(x, 1) for x in ends),
            row["boundary"],
        )
    return table


def _timing(report: Report) -> Listing:
    table = Listing(
        "join", "branch from", "arrives after", "delayed by", title="Timing of joins (steps)"
    )
    for row in report.timing:
        table.add_row(row["neuron"], row["source"], str(row["earliest"]), str(row["delay"]))
    return table


def _ledger(report: Report) -> RenderableType:
    table = Listing(title="Ledger, from torch to the last executor (MAC of one step)")
    for name in ("stage", "nodes", "MAC", "moved", "equal", "least equal layer"):
        table.add_column(name, no_wrap=name != "least equal layer", overflow="fold")
    first = []
    for line in report.ledger:
        table.add_row(
            line.name,
            f"{line.nodes_before} -> {line.nodes_after}",
            f"{line.counts_before.mac:,.0f} -> {line.counts_after.mac:,.0f}",
            "" if line.deviation is None else f"{line.deviation:.3g}",
            "" if line.agreement is None else percent(line.agreement),
            _least(line.layers),
        )
        first += [f"{line.name}: {line.divergence}"] if line.divergence else []
    table.add_section()
    for name, data in report.executors.items():
        shares = {layer: min(found.values()) for layer, found in data["layers"].items() if found}
        equal = sum(share == 1 for share in shares.values())
        compared = f"{equal} of {len(shares)}"
        table.add_row(name, "", "", "", compared, _least(shares))
        first += [f"{name}: {data['divergence']}"] if data["divergence"] else []
    return Group(table, *(Text(f"First divergence, {words}") for words in first))


def _least(shares: Mapping[str, float]) -> str:
    name = min(shares, key=lambda layer: shares[layer], default="")
    return f"{name} {percent(shares[name])}" if name and shares[name] < 1 else ""
