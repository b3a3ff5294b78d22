"""purespike demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import (
    Output,
    compile_checkpoint,
    out,
    print_trained,
    write_build,
)
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.outputs import require_folder, require_open_folder
from purespike.compiler.packages import require_packages
from purespike.trainer.training.places import require_training


def demo(
    folder: Output = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    lava_samples: Annotated[
        int, typer.Option(min=1, help="Test digits to run on Lava; 360 is all.")
    ] = 360,
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
    out.print("1. Train a full-spike residual network with auxiliary paths", style="bold")
    result = fit(DEMO.model, config, training)
    print_trained(result.correct, result.n, result.interval, result.seconds)
    out.print("2. Compile, run on every executor, judge", style="bold")
    middle = time.perf_counter()
    built = compile_checkpoint(result.checkpoint, Options(lava_samples=lava_samples))
    code = write_build(built, bundle)
    if built.lava:
        run = built.lava
        out.print(
            f"Lava: {run.processes} processes, {run.steps} steps, "
            f"{1000 * run.seconds / run.steps:.1f} ms per step, "
            f"{len(built.report.accuracy) and built.report.accuracy[-1].n / run.seconds:.1f} "
            "images per second"
        )
    end = time.perf_counter()
    out.print(
        f"Training {middle - start:.0f} s, compiling and running {end - middle:.0f} s, "
        f"together {end - start:.0f} s."
    )
    raise typer.Exit(code)
