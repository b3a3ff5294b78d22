"""purespike rule."""

from __future__ import annotations

from typing import Annotated

import typer

from purespike.compiler.rules.finding import RULES, WAIVERS
from purespike.compiler.rules.pages import read_page


def rule(
    name: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="Such as PS005; all if left out.")
    ] = None,
) -> None:
    """Print what a rule checks, why, an example that fails, and how to fix it."""
    if name is None:
        for each in (WAIVERS, *RULES):
            typer.echo(f"{each.id}  {each.title}")
        return
    typer.echo(read_page(name), nl=False)
