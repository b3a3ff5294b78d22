"""purespike doctor."""

from __future__ import annotations

import typer
from rich.text import Text

import purespike
from purespike.cli.commands.shared import NOT_COMPLIANT, OK, out
from purespike.cli.listing import Listing
from purespike.cli.shown import AsJson, print_json
from purespike.compiler.wording import spoken


def doctor(as_json: AsJson = False) -> None:
    """Print what is installed, which Lava would be used, and whether it works."""
    from purespike.cli.installation import examine, uses

    lines = examine()
    code = OK if all(n.works or n.optional for n in lines) else NOT_COMPLIANT
    if as_json:
        found = [{**vars(x), "remedy": spoken(x.remedy, "command line")} for x in lines]
        commands = [{**vars(u), "remedy": spoken(u.remedy, "command line")} for u in uses(lines)]
        print_json({"purespike": purespike.__version__, "lines": found, "commands": commands})
        raise typer.Exit(code)
    table = Listing("what", "found", "", title=f"purespike {purespike.__version__}")
    for line in lines:
        mark = Text("ok", style="green")
        if line.optional and not line.works:
            mark = Text(spoken(line.remedy, "command line"), style="dim")
        elif not line.works:
            mark = Text.assemble(("missing ", "red"), spoken(line.remedy, "command line"))
        table.add_row(line.what, line.found, mark)
    out.print(table)
    table = Listing("commands", "", title="What works")
    for use in uses(lines):
        works = Text("yes", style="green")
        table.add_row(use.commands, spoken(use.remedy, "command line") if use.remedy else works)
    out.print(table)
    raise typer.Exit(code)
