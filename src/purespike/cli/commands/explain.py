"""purespike explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.shown import AsJson, print_json
from purespike.cli.terminal import out


def explain(
    source: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, or a report.json on its own.")
    ],
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="As `report` names it.")],
    as_json: AsJson = False,
) -> None:
    """Tell one layer's life: module, passes, bounds, bits, counts, timing, cores, files."""
    import msgspec

    from purespike.cli.layer import render_life
    from purespike.cli.reading import load_report
    from purespike.compiler.report.life import life_of
    from purespike.targets.bundle.naming import files_with

    report = load_report(source)
    life = life_of(report, layer)
    if source.is_dir():
        life = msgspec.structs.replace(life, files=files_with(source, layer))
    if as_json:
        print_json(msgspec.to_builtins(life))
        return
    out.print(render_life(life))
