"""One layer's life for the terminal: what it is, then each table that has something to say."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from purespike.cli.console import listing
from purespike.compiler.report.life import Life
from purespike.compiler.report.lookup import worst
from purespike.compiler.report.sentences import FORGETS, answered, percent, settled
from purespike.compiler.report.tables.table import Cell, Column, Result, Table, headings, numbers
from purespike.compiler.wording import figure

_OLD = "The report does not say what passes changed: it is older. Compile again to see that."


def render_life(life: Life) -> RenderableType:
    """The layer's facts, its passes, findings by rule, executors, and files."""
    tables = (_facts(life), _passes(life), _timing(life), _rules(life), _files(life))
    parts: list[RenderableType] = [listing(table) for table in tables if table.rows]
    if not life.followed:
        parts.append(Text(_OLD))
    return Group(*parts)


def _facts(life: Life) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(_said(life))
    return Table(life.layer, headings("what", "of this layer"), rows)


def _said(life: Life) -> Iterator[tuple[str, str]]:
    if life.removed_by:
        yield "now", f"not in the network any more: {life.removed_by} removed it"
        return
    yield "operation", f"{life.operation}{', fires' if life.fires else ''}"
    if life.module and life.module != life.layer:
        yield "from module", life.module
    if life.source:
        yield "written in", f"{life.source.class_}, {life.source.file}:{life.source.line}"
    if life.role != "main" and life.role:
        yield "runs", "on the host" if life.role == "host" else "while training only"
    yield "values", f"{life.domain}, shape {'x'.join(map(str, life.shape or ())) or 'scalar'}"
    yield "reads", ", ".join(life.reads) or "nothing: it is an input"
    yield "read by", ", ".join(life.feeds) or "nothing: it is an output"
    if life.membrane:
        yield "membrane", "; ".join(life.membrane)
    yield from _settled(life)
    if life.weight_bits is not None:
        yield "bits per weight", str(life.weight_bits)
    if life.scale is not None:
        yield "scale", f"integer = {life.scale:g} x real number"
    yield from _measured(life)
    yield from _costs(life)


def _settled(life: Life) -> Iterator[tuple[str, str]]:
    """How the network's file was read: its answers decide what each of its layers does."""
    if life.dt is not None and life.steps is not None:
        yield "time step", f"{life.dt:g} s, {life.steps} steps a sample"
    if life.file is None:
        return
    yield "network's file", f"{life.file.name} ({life.file.format}), SHA-256 {life.file.sha256}"
    for by, answers in answered(life.file):
        yield "stated of it" if by == "stated" else by, settled(answers)
    if life.file.taken:
        yield "taken from it", "; ".join(life.file.taken)


def _measured(life: Life) -> Iterator[tuple[str, str]]:
    a = life.activity
    if a is None:
        return
    low, high = a.membrane_bound
    if low is not None and high is not None:
        limit = f", of {life.membrane_limit:,.0f} allowed" if life.membrane_limit else ""
        yield "membrane, any input", f"{low:,g} to {high:,g}{limit} (in weights)"
    low, high = a.membrane_observed
    forgets = FORGETS in life.membrane  # as a gate does: nothing is left to measure
    if low is not None and high is not None and not forgets:
        yield "membrane, measured", f"{low:,g} to {high:,g}"
    if a.rate_by_step:
        yield "spikes, by step", ", ".join(f"{100 * r:.2f} %" for r in a.rate_by_step)


def _costs(life: Life) -> Iterator[tuple[str, str]]:
    if life.counts:
        kinds = life.counts.counts
        names = [n for n in kinds.__struct_fields__ if getattr(kinds, n)]
        each = ", ".join(f"{figure(getattr(kinds, n))} {n.upper()}" for n in names)
        yield "operations per sample", each or "none"
    if life.c_program:
        c = life.c_program
        memory = c.weights + c.constants + c.state + c.spikes
        yield "C program", f"{memory:,} bytes, {c.additions:,} additions a step at most"
    for layer in life.cores:
        own = "" if layer.layer == life.layer else f" (those of {layer.layer})"
        yield "cores", f"{len(layer.cores)} for {layer.neurons:,} neurons{own}, an estimate"


def _passes(life: Life) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            t.pass_,
            t.change or "as before",
            "" if t.equal is None else percent(t.equal),
            "; ".join(t.notes),
        )
        for t in life.passes
        if t.change or t.notes or t.equal not in (None, 1)
    )
    columns = (
        *headings("pass", "the layer"),
        *numbers("equal spikes"),
        Column("noted", wordy=True),
    )
    return Table("Passes that touched it", columns, rows)


def _timing(life: Life) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (j.neuron, j.source, str(j.earliest), str(j.delay)) for j in life.timing
    )
    columns = (*headings("join", "branch from"), *numbers("arrives after", "delayed by"))
    return Table("Timing of joins (steps)", columns, rows)


def _rules(life: Life) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for rule in dict.fromkeys(f.rule for f in life.findings):
        own = [f for f in life.findings if f.rule == rule]
        status = worst([f.finding() for f in own])
        shown = next(f for f in own if f.status == status)
        more = f" (and {len(own) - 1} more place{'s' * (len(own) > 2)})" if own[1:] else ""
        rows.append(
            (rule, Result(status), f"{shown.measured}{more}", f"{shown.limit} {shown.unit}")
        )
    columns = (
        *headings("rule", "result"),
        Column("found", wordy=True),
        Column("allowed", wordy=True),
    )
    return Table("Rules, at this layer", columns, tuple(rows))


def _files(life: Life) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (file, "; ".join(parts)) for file, parts in life.files.items()
    )
    return Table("Files it is in", (Column("file"), Column("as", wordy=True)), rows)
