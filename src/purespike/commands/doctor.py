"""purespike doctor."""

from __future__ import annotations

import typer
from rich.table import Table

import purespike
from purespike.commands.shared import NOT_COMPLIANT, OK, out


def doctor() -> None:
    """Print what is installed, which Lava would be used, and whether it works."""
    from purespike.doctor import examine

    lines = examine()
    table = Table("what", "found", "", title=f"purespike {purespike.__version__}")
    for line in lines:
        mark = "[green]ok[/]" if line.works else f"[red]missing[/] {line.remedy}"
        table.add_row(line.what, line.found, mark)
    out.print(table)
    raise typer.Exit(OK if all(line.works for line in lines) else NOT_COMPLIANT)
