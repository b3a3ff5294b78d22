"""purespike simulate, verify and replay: run a bundle again and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from purespike.commands.shared import NOT_COMPLIANT, OK, BundleFolder, Samples, err, out
from purespike.console import progress_bars, rules

if TYPE_CHECKING:
    from purespike.check import Replay


def simulate(
    bundle: BundleFolder,
    samples: Samples = 64,
    stock: Annotated[
        bool, typer.Option("--stock", help="Lava's own convolution model: many times slower.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Runs at a time; by default for all cores."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Run on a Dask cluster instead: address of its scheduler."),
    ] = None,
) -> None:
    """Run golden samples on Lava's CPU backend and compare every layer with the interpreter."""
    from purespike.check import replay_lava
    from purespike.targets.bundle import read_bundle

    loaded = read_bundle(bundle)
    with progress_bars(err) as progress:
        replay = replay_lava(
            loaded, samples, stock=stock, jobs=jobs, scheduler=scheduler, progress=progress
        )
    _print_lava(replay)
    out.print(rules(replay.findings))
    raise typer.Exit(OK if all(f.status == "PASS" for f in replay.findings) else NOT_COMPLIANT)


def verify(
    bundle: BundleFolder,
    lava: Annotated[bool, typer.Option(help="Replay on Lava too.")] = True,
) -> None:
    """Check every hash of a bundle and replay its golden vectors on every executor."""
    from purespike.check import replay_findings, replay_lava
    from purespike.targets.bundle import read_bundle

    loaded = read_bundle(bundle)
    out.print(f"{len(loaded.manifest['files'])} files: every sha256 is right")
    findings = replay_findings(loaded)
    if lava:
        with progress_bars(err) as progress:
            replay = replay_lava(loaded, len(loaded.golden.labels), progress=progress)
        _print_lava(replay)
        findings += replay.findings
    out.print(rules(findings))
    equal = all(f.status == "PASS" for f in findings)
    out.print(
        f"{len(findings)} layers replayed, all bit for bit equal" if equal else "NOT EQUAL",
        style="bold green" if equal else "bold red",
    )
    raise typer.Exit(OK if equal else NOT_COMPLIANT)


def replay(
    bundle: BundleFolder,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Golden samples to run; all by default.")
    ] = None,
) -> None:
    """Check every hash of a bundle and replay its golden vectors with numpy alone."""
    from purespike.targets.golden_network import replay_bundle

    files, rows = replay_bundle(bundle, samples)
    wrong = [row for row in rows if row.different]
    out.print(f"{files} files: every sha256 is right")
    for row in wrong:
        out.print(str(row), markup=False, highlight=False)
    out.print(
        f"NOT EQUAL: {len(wrong)} of {len(rows)} recordings differ"
        if wrong
        else f"{len(rows)} recordings replayed with numpy alone: equal bit for bit",
        style="bold red" if wrong else "bold green",
    )
    raise typer.Exit(NOT_COMPLIANT if wrong else OK)


def _print_lava(replay: Replay) -> None:
    run = replay.run
    known = replay.correct is not None
    right = (
        f"{replay.correct}/{replay.samples} right"
        if known
        else f"{replay.samples} samples, no labels"
    )
    out.print(
        f"Lava: {right}; {run.shards} run(s) of "
        f"{run.processes // run.shards} processes, {run.steps} steps, "
        f"{1000 * run.seconds / run.steps:.1f} ms a step, "
        f"{replay.samples / run.seconds:.1f} images a second"
    )
