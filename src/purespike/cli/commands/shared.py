"""What commands share: exit codes, consoles, and options that several of them take."""

from __future__ import annotations

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
from purespike.cli.console import progress_bars

if TYPE_CHECKING:
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


def compile_checkpoint(checkpoint: Path, options: Options) -> Build:
    """Build the network of a checkpoint, with progress bars."""
    from purespike.flow.build import build
    from purespike.flow.inputs.checkpoints import digits_subject

    with progress_bars(err) as progress:
        return build(digits_subject(checkpoint), options, progress)


def write_build(built: Build, folder: Path) -> int:
    """Write the bundle of a build, and print the verdict and what the bundle holds.

    Returns:
        The exit code of the verdict.

    Raises:
        NotWritten: If the verdict holds, but a file that belongs to the bundle is missing.
        OutputError: If the bundle cannot be written; the verdict is printed.
    """
    from purespike.cli.console import print_error, render
    from purespike.compiler.files.outputs import OutputError
    from purespike.targets.bundle.bundle import NotWritten

    missing = None
    try:
        built.save(folder)
    except NotWritten as e:
        missing = e
    except OutputError:
        out.print(render(built.report))
        raise
    out.print(render(built.report))
    out.print(f"Bundle: {folder}", markup=False, highlight=False)
    if built.withheld:
        out.print(f"It holds the report only: {built.withheld}", markup=False, highlight=False)
    if missing and built.report.compliant:
        raise missing
    if missing:
        print_error(missing)
    return OK if built.report.compliant else NOT_COMPLIANT


def print_trained(correct: int, n: int, interval: tuple[float, float], seconds: float) -> None:
    """Say how good the deployed network is."""
    low, high = (100 * x for x in interval)
    out.print(
        f"Trained in {seconds:.0f} s; without its auxiliary paths {correct}/{n} test samples are "
        f"right: {100 * correct / n:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"
    )
