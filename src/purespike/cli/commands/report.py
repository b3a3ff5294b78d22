"""The commands around the report: show it in a format, compare two builds, show a policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.text import Text

from purespike.cli.codes import NOT_COMPLIANT, OK
from purespike.cli.command import Command, Group
from purespike.cli.console import listing
from purespike.cli.reading import load_report
from purespike.cli.shown import AsJson, Shown, print_json
from purespike.cli.terminal import err, out, progress_bars
from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.outputs import require_file
from purespike.compiler.files.reading import read_text
from purespike.compiler.files.writing import write_file
from purespike.compiler.report.formats.diff import (
    compare_reports,
    difference_tables,
    read_gates,
    tripped,
)
from purespike.compiler.report.formats.junit import to_junit
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.sarif import to_sarif
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.lookup import LARGEST
from purespike.compiler.report.report import ReportError
from purespike.compiler.report.report import schema as json_schema
from purespike.compiler.rules.policy import read_policy
from purespike.targets.bundle.manifest import unreplaced

Format = Literal["html", "sarif", "junit", "markdown", "json", "text"]
Source = Annotated[Path, typer.Argument(help="A bundle, or a report.json.")]

policy_app = typer.Typer(
    cls=Group,
    help="What a team accepts.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


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
        text = json_schema()
    elif source is None:
        raise PurespikeError("which report?", allowed="a bundle, or a report.json")
    else:
        with progress_bars(err) as progress:
            progress("report", 0, 1)
            with unreplaced(source):
                text = _formatted(source, format_)
    if file is None:
        typer.echo(text, nl=False)
        return
    write_file(file, text)
    out.print(f"{format_}: {file}", markup=False, highlight=False)


def _formatted(source: Path, format_: Format) -> str:
    report = load_report(source)
    if format_ == "json":
        path = source / "report.json" if source.is_dir() else source
        return read_text(path, LARGEST, ReportError, "the report")
    if format_ == "html":
        from purespike.compiler.report.page.page import to_html
        from purespike.targets.bundle.bundle import read_golden

        golden = source / "golden.npz"
        return to_html(report, read_golden(golden).trace() if golden.is_file() else None)
    writers = {
        "sarif": to_sarif,
        "junit": to_junit,
        "markdown": to_markdown,
        "text": to_text,
    }
    return writers[format_](report)


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
    *,
    shown: Shown,
) -> None:
    """Compare two builds; exit 1 if a gate trips."""
    gates = read_gates(fail_on or [])
    difference = compare_reports(load_report(old), load_report(new))
    if _other_inputs(old, new):
        other = "golden samples: the inputs are not the same"
        difference = replace(difference, conditions=(*difference.conditions, other))
    reasons = tripped(difference, gates)
    if shown.as_json:
        print_json({**difference.data(), "gates": list(map(str, gates)), "tripped": list(reasons)})
        raise typer.Exit(NOT_COMPLIANT if reasons else OK)
    for condition in difference.conditions:
        out.print(Text(f"Not the same: {condition}", style="bold yellow"))
    for table in difference_tables(difference):
        if table.rows:
            shown.print(listing(table.first(shown.most)))
    for reason in reasons:
        out.print(Text(f"GATE {reason}", style="bold red"))
    if gates and not reasons:
        out.print(Text("gates held: " + ", ".join(map(str, gates)), style="bold green"))
    raise typer.Exit(NOT_COMPLIANT if reasons else OK)


def _other_inputs(old: Path, new: Path) -> bool:
    """Whether both are bundles whose golden samples are not the same, as far as both have them."""
    files = [source / "golden.npz" for source in (old, new)]
    if not all(file.is_file() for file in files):
        return False
    from purespike.targets.bundle.bundle import read_golden

    first, second = (read_golden(file).inputs for file in files)
    count = min(first.shape[1], second.shape[1])
    return not np.array_equal(first[:, :count], second[:, :count])


@policy_app.command("show", cls=Command)
def show_policy(
    name: Annotated[
        str | None, typer.Argument(help="strict, leaky, paper, or the path of a .toml file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a policy as TOML, or all that are built in."""
    from purespike.compiler.rules.policy import BUILT_IN

    names = [name] if name else BUILT_IN
    if as_json:
        print_json({n: read_policy(n).choices() for n in names})
        return
    typer.echo("\n".join(read_policy(n).to_toml() for n in names), nl=False)
