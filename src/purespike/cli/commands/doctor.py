"""purespike doctor."""

from __future__ import annotations

import typer
from rich.text import Text

import purespike
from purespike.cli.commands.shared import NOT_COMPLIANT, OK, out
from purespike.cli.listing import Listing
from purespike.compiler.wording import spoken


def doctor() -> None:
    """Print what is installed, which Lava would be used, and whether it works."""
    from purespike.cli.installation import examine

    lines = examine()
    table = Listing("what", "found", "", title=f"purespike {purespike.__version__}")
    for line in lines:
        mark = Text("ok", style="green")
        if not line.works:
            mark = Text.assemble(("missing ", "red"), spoken(line.remedy, "command line"))
        table.add_row(line.what, line.found, mark)
    out.print(table)
    raise typer.Exit(OK if all(line.works for line in lines) else NOT_COMPLIANT)
