"""purespike targets."""

from __future__ import annotations

from typing import Annotated

import typer

from purespike.cli.commands.shared import out
from purespike.cli.listing import Listing
from purespike.cli.shown import AsJson, print_json


def targets(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="One target, with every reason: lava, nir, nir-strict, onnx, qonnx, netx, c, "
            "numpy or cpu.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what each target can say: exactly, with a rewrite, or not at all, and why."""
    from purespike.targets.fidelity.table import COLUMNS, chosen, data, read_table

    rows = read_table()
    columns = chosen(to)
    if as_json:
        print_json(data(rows, columns))
        return
    names = [COLUMNS[c] for c in columns]
    table = Listing("a network may hold", *names, *(["why"] if to else []))
    for row in rows:
        cells = [row.cells[c] for c in columns]
        why = [cells[0].words if cells[0].outcome == "refused" else ""] if to else []
        table.add_row(row.name, *(c.text for c in cells), *why)
    out.print(table)
    if not to:
        out.print("Why something is refused: purespike targets --to NAME, or --json")
