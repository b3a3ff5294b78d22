"""purespike export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from purespike.cli.commands.shared import BundleFolder, Output, out
from purespike.cli.listing import Listing
from purespike.compiler.files.kinds import PROGRAM
from purespike.compiler.files.outputs import require_folder

if TYPE_CHECKING:
    from purespike.targets.c.footprint import Footprint


def export(
    bundle: BundleFolder,
    to: Annotated[
        Literal["c", "hls"],
        typer.Option("--to", help="A C99 program, or the same with the pragmas of Vitis HLS."),
    ] = "c",
    folder: Output = Path("runs/c"),
    ram: Annotated[
        int | None,
        typer.Option("--ram", min=1, help="Bytes of working memory that the program may have."),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Golden samples in golden.c, at most.")
    ] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="The footprint as JSON.")] = False,
) -> None:
    """Write a bundle's network as a program: whole numbers, additions, no library."""
    require_folder(folder, PROGRAM)
    import json

    from purespike import __version__
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.c.program import write_program

    loaded = read_bundle(bundle)
    golden = loaded.golden
    needs = write_program(
        loaded.graph,
        folder,
        golden.inputs[:, :samples],
        {n: a[:, :samples] for n, a in golden.spikes.items()},
        {n: a[:, :samples] for n, a in golden.membranes.items()},
        ram=ram,
        form=to,
        version=__version__,
    )
    if as_json:
        print(json.dumps(needs.data(), indent=1, sort_keys=True))
        return
    out.print(render(needs))
    out.print(f"Program: {folder}", markup=False, highlight=False)
    out.print(f"`make -C {folder} check` replays its golden samples.", markup=False)


def render(needs: Footprint) -> Listing:
    """The footprint by layer."""
    table = Listing("layer", "neurons", "weights", "other", "membranes", "spikes", "additions")
    table.title = (
        f"C program: {needs.rom:,} bytes of constants, {needs.ram:,} bytes of working memory "
        "(code comes on top)"
    )
    for r in needs.rows:
        numbers = (r.neurons, r.weights, r.constants, r.state, r.spikes, r.additions)
        table.add_row(r.name, *(f"{n:,}" for n in numbers))
    return table
