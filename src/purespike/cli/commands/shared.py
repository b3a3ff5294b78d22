"""What commands share: exit codes, consoles, and options that several of them take."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from purespike.cli.codes import INTERNAL as INTERNAL
from purespike.cli.codes import INTERRUPTED as INTERRUPTED
from purespike.cli.codes import NOT_COMPLIANT as NOT_COMPLIANT
from purespike.cli.codes import OK as OK
from purespike.cli.codes import USAGE as USAGE
from purespike.cli.shown import Shown
from purespike.cli.terminal import err as err
from purespike.cli.terminal import out as out

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


def require_bundle(folder: Path) -> None:
    """Refuse what has no manifest of a bundle, before what reads the rest is loaded.

    Raises:
        BundleError: If it has none.
    """
    from purespike.targets.bundle.manifest import MANIFEST, read_json

    read_json(folder / MANIFEST)


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
        show: What prints the report, verdict and what comes next; by default done here.

    Returns:
        The exit code of the verdict.

    Raises:
        NotWritten: If the verdict holds, but a file that belongs to the bundle is missing.
        OutputError: If the bundle cannot be written; the verdict is printed.
    """
    from purespike.cli.console import verdict
    from purespike.cli.terminal import print_error
    from purespike.compiler.storage import OutputError
    from purespike.targets.bundle.bundle import NotWritten

    own, missing = show is not None, None
    show = show or print_report
    try:
        with shown.progress() as progress:
            progress("bundle", 0, 1)
            built.save(folder)
    except NotWritten as e:
        missing = e
    except OutputError:
        show(built.report, shown)
        if not own:
            shown.print("", verdict(built.report))
        raise
    show(built.report, shown)
    if not own:
        shown.print("", verdict(built.report))
    shown.print(f"Bundle: {folder}")
    if built.withheld:
        shown.print(f"It holds the report only: {built.withheld}")
    if not own:
        shown.print(next_steps(_then(built, folder)))
    if missing and built.report.compliant:
        raise missing
    if missing:
        print_error(missing)
    return OK if built.report.compliant else NOT_COMPLIANT


def print_report(report: Report, shown: Shown) -> None:
    """The report in the form that is asked for: report.json itself, the verdict, or its tables."""
    from purespike.cli.console import tables

    if shown.as_json:
        typer.echo(report.to_json(), nl=False)
    elif shown.quiet:
        colour = "green" if report.compliant else "red"
        out.print(report.headline, style=f"bold {colour}", soft_wrap=True)
        for row in report.accuracy:
            if row.note:  # it says what the verdict is worth
                err.print(f"note: {row.stage}: {row.note}", style="dim", soft_wrap=True)
    else:
        out.print(tables(report, shown.most))


def _then(built: Build, folder: Path) -> Iterator[tuple[str, str]]:
    """What to open and to type after a compile."""
    quoted = shlex.quote(str(folder))
    yield f"{folder / 'report.html'}", "the report, in a browser"
    broken = [f for f in built.report.findings if f.status == "FAIL"]
    if broken:
        yield broken[0].rule.command, "what is broken first: why, and how to fix it"
    if not built.withheld:
        yield f"purespike verify {quoted}", "every file run again, or compared"


def next_steps(steps: Iterable[tuple[str, str]]) -> Text:
    """Files and commands, each with the reason below it."""
    lines = (f"  {words}\n      {why}" for words, why in steps)
    return Text("\n".join(("Next:", *lines)), overflow="fold")


def trained(correct: int, n: int, interval: tuple[float, float], seconds: float) -> str:
    """How good the deployed network is."""
    low, high = (100 * x for x in interval)
    return (
        f"Trained in {seconds:.0f} s; without its auxiliary paths {correct}/{n} test samples are "
        f"right: {100 * correct / n:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"
    )
