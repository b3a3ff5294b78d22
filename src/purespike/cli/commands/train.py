"""purespike train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import Output, out, print_trained
from purespike.trainer.training.places import require_training


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="TOML with [model], [data] and [train], or the name of a shipped recipe; the "
            "demo's if left out."
        ),
    ] = None,
    folder: Output = Path("runs/train"),
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in --set train.epochs=5."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted training.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs beside metrics.csv.")
    ] = False,
) -> None:
    """Train a network; auxiliary paths are part of the training only.

    With torchrun in front of it, several processes train together.
    """
    if os.environ.get("RANK", "0") == "0":  # torchrun: the first process writes
        require_training(folder, resumed=resume)
    from purespike.trainer.training.distributed import world
    from purespike.trainer.training.fit import train as fit
    from purespike.trainer.training.recipe import read_recipe

    chosen = read_recipe(recipe, changes or [])
    result = fit(
        chosen.model,
        chosen.train,
        folder,
        data=chosen.data,
        resume_from=folder if resume else None,
        tensorboard=tensorboard,
    )
    if world().rank == 0:
        print_trained(result.correct, result.n, result.interval, result.seconds)
        out.print(f"Checkpoint: {result.checkpoint}", markup=False, highlight=False)
