"""purespike map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import NOT_COMPLIANT, OK, out, require_bundle
from purespike.cli.shown import AsJson, Quiet, print_json
from purespike.compiler.errors import PurespikeError, UsageError
from purespike.compiler.near import did_you_mean


def map_(
    model: Annotated[Path, typer.Argument(help="A bundle or a model.nir.")],
    chip: Annotated[str, typer.Option("--chip", help="loihi2 or loihi1.")] = "loihi2",
    chips: Annotated[
        int | None, typer.Option("--chips", min=1, help="Chips that it may take; any by default.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Lay a network out on a chip's cores: an estimate; exit 1 if it does not fit."""
    if not model.is_file():
        require_bundle(model)
    from purespike.cli.core_map import render_mapping, render_summary
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.nir.read import read_nir
    from purespike.targets.resources.chips import CHIPS
    from purespike.targets.resources.mapping import map_network

    if chip not in CHIPS:
        raise PurespikeError(
            "unknown chip", found=chip, allowed=", ".join(CHIPS), remedy=did_you_mean(chip, CHIPS)
        )
    try:
        graph = read_nir(model) if model.is_file() else read_bundle(model).graph
    except PurespikeError as e:
        if not e.open:
            raise
        # The reader asks for options that are those of compile.
        raise UsageError(
            "only a network that purespike compiled can be laid out",
            where=str(model),
            found=f"a file of another tool, which leaves open: {', '.join(e.open)}",
            allowed="a bundle, or the model.nir in it",
            remedy=f"`purespike compile {model}` asks for them; map the bundle that it writes",
        ) from None
    mapping = map_network(graph, CHIPS[chip], chips=chips)
    if as_json:
        print_json(mapping.data())
    else:
        out.print((render_summary if quiet else render_mapping)(mapping))
    raise typer.Exit(OK if mapping.fits else NOT_COMPLIANT)
