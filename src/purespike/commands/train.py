"""purespike train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.commands.shared import Output, out, print_trained


def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="TOML with [model] and [train]; the demo's if left out.")
    ] = None,
    folder: Output = Path("runs/train"),
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in --set train.epochs=5."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted training.")] = False,
) -> None:
    """Train a network on the digits; auxiliary paths are part of the training only."""
    from purespike.subjects import read_recipe
    from purespike.trainer.fit import train as fit

    chosen = read_recipe(recipe, changes or [])
    result = fit(chosen.model, chosen.train, folder, resume_from=folder if resume else None)
    print_trained(result.correct, result.n, result.interval, result.seconds)
    out.print(f"Checkpoint: {result.checkpoint}")
