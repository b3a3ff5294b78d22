"""purespike demo."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from purespike.cli.commands.shared import (
    Output,
    compile_checkpoint,
    next_steps,
    trained,
    write_build,
)
from purespike.cli.console import tables, verdict
from purespike.cli.shown import Shown
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.outputs import require_folder, require_open_folder
from purespike.compiler.packages import require_packages
from purespike.trainer.training.places import require_training

if TYPE_CHECKING:
    from purespike.compiler.report.report import Report


def demo(
    folder: Output = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    lava_samples: Annotated[
        int, typer.Option(min=1, help="Test digits to run on Lava; 360 is all.")
    ] = 360,
    *,
    shown: Shown,
) -> None:
    """Train on handwritten digits, compile, run on Lava, judge: the whole chain on real data."""
    training, bundle = folder / "training", folder / "bundle"
    require_open_folder(folder, None)
    require_training(training)
    require_folder(bundle, BUNDLE)
    require_packages("train", "torch", "lightning", "sklearn")
    from dataclasses import replace

    from purespike.flow.build import Options
    from purespike.trainer.training.fit import train as fit
    from purespike.trainer.training.presets import DEMO
    from purespike.trainer.training.recipe import read_recipe

    config = replace(read_recipe("digits").train, seed=seed)
    start = time.perf_counter()
    shown.print("1. Train a full-spike residual network with auxiliary paths", style="bold")
    result = fit(DEMO.model, config, training, progress=not shown.quiet)
    shown.print(trained(result.correct, result.n, result.interval, result.seconds))
    shown.print("2. Compile, run on every executor, judge", style="bold")
    middle = time.perf_counter()
    options = Options(lava_samples=lava_samples)
    built = compile_checkpoint(result.checkpoint, options, shown)
    plain = shown.quiet or shown.as_json
    code = write_build(built, bundle, shown, None if plain else _tables)
    if built.lava:
        run = built.lava
        images = built.report.accuracy[-1].n if built.report.accuracy else 0
        shown.print(
            f"Lava: {run.processes} processes, {run.steps} steps, "
            f"{1000 * run.seconds / run.steps:.1f} ms per step, "
            f"{images / run.seconds:.1f} images per second"
        )
    end = time.perf_counter()
    shown.print(
        f"Training {middle - start:.0f} s, compiling and running {end - middle:.0f} s, "
        f"together {end - start:.0f} s."
    )
    shown.print("", verdict(built.report), _next(bundle))
    raise typer.Exit(code)


def _tables(report: Report, shown: Shown) -> None:
    """What the verdict rests on; the verdict itself comes last."""
    shown.print(tables(report, shown.most))


def _next(bundle: Path) -> RenderableType:
    """What to open and to type now, as it was typed: `make demo` has an environment of its own."""
    own = (
        "purespike"
        if shutil.which("purespike")
        else os.path.relpath(Path(sys.executable).with_name("purespike"))
    )
    steps = (
        (str(bundle / "report.html"), "the report, in a browser"),
        (f"{own} explain {bundle} blocks.0.conv1", "one layer's life"),
        (f"{own} verify {bundle}", "every file run again, or compared"),
        (f"{own} new my_project", "a project of your own, with a gate for CI"),
    )
    return next_steps(steps)
