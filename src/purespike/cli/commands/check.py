"""purespike check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from purespike.cli.commands.options import HostEncoder, JudgeOptions, NetworkOptions, Source
from purespike.cli.commands.shared import NOT_COMPLIANT, OK
from purespike.cli.shown import Shown
from purespike.compiler.wording import spoken

if TYPE_CHECKING:
    from purespike.compiler.choices import LavaMode


def check(
    source: Source,
    network: NetworkOptions,
    judging: JudgeOptions,
    static: Annotated[
        bool, typer.Option("--static", help="Only the rules that the network alone decides.")
    ] = False,
    lava: Annotated[
        bool, typer.Option(help="Run Lava too; without it PS010 is not proved.")
    ] = True,
    host_encoder: HostEncoder = False,
    *,
    shown: Shown,
) -> None:
    """Judge a network; exit 0 if it is spike-only, 1 if it is not or could not be proved."""
    from purespike.cli.console import rules
    from purespike.flow.check import check as judge
    from purespike.options import Options

    policy, waivers = judging.read()
    mode: LavaMode = "fast" if lava and not static else "none"
    options = Options(lava=mode, host_encoder=host_encoder, policy=policy, waivers=waivers)
    with shown.progress() as progress:
        progress("reading", 0, 1)
        found = judge(
            source,
            None,
            network.stated(),
            options,
            static=static,
            recorded=judging.policy is None,
            progress=progress,
        )
    if found.to_compile:
        shown.print(
            f"{found.name} is not in integers: `purespike compile` with the same arguments is the "
            "next command",
            style="bold yellow",
        )
    for note in found.notes:
        shown.print(spoken(note, "command line"), soft_wrap=True)
    shown.print(rules(found.findings, most=shown.most))
    shown.verdict(found.headline, found.data, style=f"bold {'green' if found.compliant else 'red'}")
    raise typer.Exit(OK if found.compliant else NOT_COMPLIANT)
