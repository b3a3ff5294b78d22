"""purespike plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import Output, out
from purespike.compiler.packages import require_packages
from purespike.trainer.training.places import Form, figure_names, require_figures


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `train --out` wrote.")],
    folder: Output = Path("plots"),
    epoch: Annotated[
        int, typer.Option(min=1, help="Whose values are shown by depth; 1 is the first.")
    ] = 1,
    form: Annotated[Form, typer.Option("--format", help="Of the figures.")] = "png",
) -> None:
    """Draw training curves, and firing rates and gradients by depth, of one or more runs."""
    require_figures(folder, figure_names(form))
    require_packages("report", "matplotlib")
    from purespike.trainer.training.logs import read_run

    read = [read_run(run) for run in runs]
    from purespike.trainer.training.plots import draw  # loads matplotlib

    for path in draw(read, folder, epoch=epoch, form=form):
        out.print(str(path), markup=False, highlight=False)
