"""The commands around the report: show it in a format, compare two builds, show a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from purespike.cli.console import out
from purespike.cli.listing import Listing
from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.outputs import require_file
from purespike.compiler.files.writing import write_file
from purespike.compiler.report.formats.diff import (
    Difference,
    Row,
    compare_reports,
    read_gates,
    tripped,
)
from purespike.compiler.report.formats.junit import to_junit
from purespike.compiler.report.formats.read import Data, read_report
from purespike.compiler.report.formats.sarif import to_sarif
from purespike.compiler.report.formats.schema import schema_text
from purespike.compiler.report.formats.text import to_markdown, to_text
from purespike.compiler.rules.policy import read_policy
from purespike.compiler.wording import figure
from purespike.targets.bundle.manifest import read_manifest

Format = Literal["html", "sarif", "junit", "markdown", "json", "text"]
Source = Annotated[Path, typer.Argument(help="A bundle, or a report.json.")]

policy_app = typer.Typer(
    help="What a team accepts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def load_report(path: Path) -> Data:
    """The report of a bundle, every hash checked, or a report.json on its own."""
    if path.is_dir():
        read_manifest(path)
        path = path / "report.json"
    return read_report(path)


def report(
    source: Annotated[Path | None, typer.Argument(help="A bundle, or a report.json.")] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = "text",
    file: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; the terminal if left out.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of report.json.")
    ] = False,
) -> None:
    """Write the report as HTML, SARIF, JUnit XML, Markdown, JSON or text."""
    if file is not None:
        require_file(file)
    if schema:
        text = schema_text()
    elif source is None:
        raise PurespikeError("which report?", allowed="a bundle, or a report.json")
    else:
        text = _formatted(source, format_)
    if file is None:
        typer.echo(text, nl=False)
        return
    write_file(file, text)
    out.print(f"{format_}: {file}", markup=False, highlight=False)


def _formatted(source: Path, format_: Format) -> str:
    data = load_report(source)
    if format_ == "json":
        path = source / "report.json" if source.is_dir() else source
        return path.read_text(encoding="utf-8")
    if format_ == "html":
        from purespike.compiler.report.page.page import to_html
        from purespike.targets.bundle.bundle import read_golden

        golden = source / "golden.npz"
        return to_html(data, read_golden(golden).spikes if golden.is_file() else None)
    writers = {
        "sarif": to_sarif,
        "junit": to_junit,
        "markdown": to_markdown,
        "text": to_text,
    }
    return writers[format_](data)


def diff(
    old: Source,
    new: Source,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="Gate: accuracy=POINTS (largest drop), ac=PERCENT (largest growth), findings "
            "(no new one), cores=N (most cores more). May be given several times.",
        ),
    ] = None,
) -> None:
    """Compare two builds; exit 1 if a gate trips."""
    gates = read_gates(fail_on or [])
    difference = compare_reports(load_report(old), load_report(new))
    _print_difference(difference)
    reasons = tripped(difference, gates)
    for reason in reasons:
        out.print(Text(f"GATE {reason}", style="bold red"))
    if gates and not reasons:
        out.print(Text("gates held: " + ", ".join(map(str, gates)), style="bold green"))
    raise typer.Exit(1 if reasons else 0)


def _print_difference(difference: Difference) -> None:
    table = Listing(title="Two builds")
    table.add_column("figure")
    for name in ("old", "new", "change"):
        table.add_column(name, justify="right")
    for row in difference.rows:
        table.add_row(row.name, _number(row.old, row), _number(row.new, row), _change(row))
    out.print(table)
    for note in difference.notes:
        out.print(Text(f"Note: {note}"))
    for what, findings in (
        ("New", difference.appeared),
        ("Newly waived", difference.waived),
        ("Gone", difference.gone),
    ):
        if not findings:
            continue
        rows = Listing("rule", "status", "where", "found", title=f"{what} findings")
        for f in findings[:20]:
            rows.add_row(*(Text(f[k]) for k in ("rule", "status", "where", "measured")))
        if len(findings) > 20:
            rows.add_row("", "", f"and {len(findings) - 20} more", "")
        out.print(rows)


def _number(x: float | None, row: Row) -> str:
    if x is None:
        return "not measured"
    return f"{figure(x, 2)} {row.unit}" if row.unit else figure(x)


def _change(row: Row) -> str:
    if row.change is None:
        return ""
    if row.unit == "%":
        return f"{row.change:+.2f} points"
    change = figure(row.change, 2 if row.unit else 0, "+")
    return f"{change} ({row.percent or 0.0:+.2f} %)" if row.old else change


@policy_app.command("show")
def show_policy(
    name: Annotated[
        str | None, typer.Argument(help="strict, leaky, paper, or the path of a .toml file.")
    ] = None,
) -> None:
    """Print a policy as TOML, or all that are built in."""
    from purespike.compiler.rules.policy import BUILT_IN

    names = [name] if name else BUILT_IN
    typer.echo("\n".join(read_policy(n).to_toml() for n in names), nl=False)
