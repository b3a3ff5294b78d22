"""purespike scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import Output, out
from purespike.cli.shown import AsJson, Quiet, print_json
from purespike.compiler.errors import PurespikeError
from purespike.compiler.packages import require_packages
from purespike.trainer.training.places import SCAN, require_figures


def scan(
    recipe: Annotated[
        str | None, typer.Argument(help="As of `train`: TOML, or the name of a shipped recipe.")
    ] = None,
    folder: Output = Path("plots"),
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value of the recipe.")
    ] = None,
    shape: Annotated[str, typer.Option(help="Of the surrogate, such as arctan.")] = "fast_sigmoid",
    widths: Annotated[
        str, typer.Option(help="Full widths at half the height.")
    ] = "0.1,0.3,0.7,1,2,5",
    heights: Annotated[str, typer.Option(help="Peaks.")] = "1",
    samples: Annotated[int, typer.Option(min=1, help="Samples of the batch.")] = 16,
    random: Annotated[
        bool, typer.Option("--random", help="Random spikes instead of the recipe's data.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure which surrogate carries gradients through an untrained network, and draw it."""
    require_figures(folder, SCAN)
    require_packages("report", "matplotlib")
    require_packages("train", "torch", "lightning")
    numbers = _numbers("--widths", widths), _numbers("--heights", heights)
    from purespike.trainer.training.recipe_file import read_tables

    read_tables(recipe, changes or [])  # what cannot be read is said before torch loads
    from purespike.trainer.training.health import said
    from purespike.trainer.training.plots import save
    from purespike.trainer.training.recipe import read_recipe
    from purespike.trainer.training.scan import draw_scan, first_batch, outlook, write_scan
    from purespike.trainer.training.scan import scan as measure

    chosen = read_recipe(recipe, changes or [])
    rows = measure(chosen, first_batch(chosen, samples, random=random), shape, *numbers)
    for row in () if as_json or quiet else rows:
        out.print(f"{row.surrogate}: gain {row.gain:.3f} a layer", highlight=False)
        for finding in outlook(row):
            out.print(f"  {said(finding)}", highlight=False)
    table, figure = (folder / name for name in SCAN)
    write_scan(rows, table)
    name = str(getattr(chosen.model, "name", recipe or "digits"))
    drawn = save(draw_scan(rows, name), figure)
    if as_json:
        tried = [
            {
                "surrogate": str(r.surrogate),
                "gain": r.gain,
                "layers": list(map(vars, r.layers)),
                "findings": list(map(vars, outlook(r))),
            }
            for r in rows
        ]
        print_json({"tried": tried, "table": table, "figure": drawn})
        return
    out.print(str(drawn), markup=False, highlight=False)


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise PurespikeError(
            f"{option} takes numbers", found=text, allowed="numbers with commas, such as 0.5,1,2"
        ) from error
