"""What commands share: exit codes, consoles, and options that several of them take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purespike.cli.codes import INTERNAL as INTERNAL
from purespike.cli.codes import INTERRUPTED as INTERRUPTED
from purespike.cli.codes import NOT_COMPLIANT as NOT_COMPLIANT
from purespike.cli.codes import OK as OK
from purespike.cli.codes import USAGE as USAGE
from purespike.cli.console import err as err
from purespike.cli.console import out as out
from purespike.cli.shown import Shown

if TYPE_CHECKING:
    from purespike.compiler.report.report import Report
    from purespike.flow.build import Build, Options

Output = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; replaced if ours.")]
BundleFolder = Annotated[Path, typer.Argument(help="A bundle that `purespike compile` wrote.")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Samples to run.")]


def say_axes(data: Path | None) -> None:
    """Say how the inputs of a data file are read where their shape cannot show which axis is T.

    Raises:
        InputError: If it is no data file.
    """
    if data is None:
        return
    from purespike.flow.inputs.datafile import peek

    header = peek(data)
    if header.steps == header.samples > 1:
        err.print(
            f"note: {data} holds {header.steps} steps and as many samples; its inputs are taken "
            "as (T, B, *shape), time first",
            style="dim",
            soft_wrap=True,
        )


def compile_checkpoint(checkpoint: Path, options: Options, shown: Shown) -> Build:
    """Build the network of a checkpoint, with progress bars."""
    from purespike.flow.build import build
    from purespike.flow.inputs.checkpoints import digits_subject

    with shown.progress() as progress:
        return build(digits_subject(checkpoint), options, progress)


def write_build(
    built: Build,
    folder: Path,
    shown: Shown,
    show: Callable[[Report, Shown], None] | None = None,
) -> int:
    """Write the bundle of a build, and print the verdict and what the bundle holds.

    Args:
        built: The build.
        folder: Where its bundle goes.
        shown: How much is printed.
        show: What prints the report; by default `print_report`.

    Returns:
        The exit code of the verdict.

    Raises:
        NotWritten: If the verdict holds, but a file that belongs to the bundle is missing.
        OutputError: If the bundle cannot be written; the verdict is printed.
    """
    from purespike.cli.console import print_error
    from purespike.compiler.storage import OutputError
    from purespike.targets.bundle.bundle import NotWritten

    show, missing = show or print_report, None
    try:
        built.save(folder)
    except NotWritten as e:
        missing = e
    except OutputError:
        show(built.report, shown)
        raise
    show(built.report, shown)
    shown.print(f"Bundle: {folder}")
    if built.withheld:
        shown.print(f"It holds the report only: {built.withheld}")
    if missing and built.report.compliant:
        raise missing
    if missing:
        print_error(missing)
    return OK if built.report.compliant else NOT_COMPLIANT


def print_report(report: Report, shown: Shown) -> None:
    """The report in the form that is asked for: report.json itself, the verdict, or tables."""
    from purespike.cli.console import render

    if shown.as_json:
        typer.echo(report.to_json(), nl=False)
    elif shown.quiet:
        colour = "green" if report.compliant else "red"
        out.print(report.headline, style=f"bold {colour}", soft_wrap=True)
    else:
        out.print(render(report, shown.most))


def trained(correct: int, n: int, interval: tuple[float, float], seconds: float) -> str:
    """How good the deployed network is."""
    low, high = (100 * x for x in interval)
    return (
        f"Trained in {seconds:.0f} s; without its auxiliary paths {correct}/{n} test samples are "
        f"right: {100 * correct / n:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"
    )
