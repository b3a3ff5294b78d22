"""purespike check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from purespike.commands.shared import NOT_COMPLIANT, OK, HostEncoder, compile_checkpoint, err, out
from purespike.compiler.compliance.finding import compliant, headline
from purespike.compiler.compliance.policy import read_policy
from purespike.compiler.domain import SPIKE
from purespike.compiler.errors import PurespikeError
from purespike.console import progress_bars, rules
from purespike.reporting import PolicyName, Today, WaiverFile, load_waivers

if TYPE_CHECKING:
    from purespike.build import LavaMode


def check(
    path: Annotated[Path, typer.Argument(help="A bundle, a model.nir, or a checkpoint folder.")],
    static: Annotated[
        bool, typer.Option("--static", help="Only the rules that the network alone decides.")
    ] = False,
    lava: Annotated[
        bool, typer.Option(help="Run Lava too; without it PS010 is not proved.")
    ] = True,
    dt: Annotated[
        float | None, typer.Option(help="NIR of another tool: seconds a time step.")
    ] = None,
    reset: Annotated[
        Literal["zero", "subtract"] | None,
        typer.Option(help="NIR of another tool: what a spike does to the membrane."),
    ] = None,
    if_r: Annotated[
        Literal["step", "dt"] | None,
        typer.Option("--if-r", help="NIR of another tool: IF and I add r * x, or dt * r * x."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="NIR of another tool: time steps a sample.")
    ] = None,
    spike_input: Annotated[
        bool, typer.Option("--spike-input", help="NIR of another tool: its inputs carry spikes.")
    ] = False,
    host_encoder: HostEncoder = False,
    policy: PolicyName = "strict",
    waivers: WaiverFile = None,
    today: Today = None,
) -> None:
    """Judge a network; exit 0 if it is spike-only, 1 if it is not or could not be proved."""
    from purespike.check import bundle_findings, static_findings
    from purespike.compiler.compliance.finding import RULES, fill_missing
    from purespike.compiler.compliance.waiver import apply_waivers
    from purespike.independent import second_verdict
    from purespike.static import STATIC
    from purespike.targets.bundle import MANIFEST, read_bundle, read_manifest
    from purespike.targets.nir.foreign import Conventions
    from purespike.targets.nir.guard import load
    from purespike.targets.nir.read import read_both

    chosen, accepted = read_policy(policy), load_waivers(waivers, today)
    said = (dt, reset, if_r, steps, spike_input or None)
    if not path.is_file() and any(s is not None for s in said):
        raise PurespikeError(
            "--dt, --reset, --if-r, --steps and --spike-input are for NIR files",
            where=str(path),
            remedy="leave them out: checkpoints and bundles say all themselves",
        )
    if (path / "checkpoint.json").is_file():
        from purespike.build import Options

        mode: LavaMode = "fast" if lava and not static else "none"
        options = Options(lava=mode, host_encoder=host_encoder, policy=chosen, waivers=accepted)
        built = compile_checkpoint(path, options)
        findings = built.report.findings
    elif path.is_file():
        domain = SPIKE if spike_input else None
        stated = Conventions(dt, reset, if_r, steps, domain)
        graph, document = read_both(path, stated)
        second = second_verdict(document, stated)
        findings = fill_missing(static_findings(graph, chosen, second), "needs a bundle")
    elif (path / MANIFEST).is_file() and "model.nir" not in read_manifest(path)["files"]:
        raise PurespikeError(
            "this network was refused when it was compiled",
            where=str(path),
            remedy="read report.json in it",
        )
    elif static:
        graph, document = read_bundle(path).graph, load(path / "model.nir")
        held = static_findings(graph, chosen, second_verdict(document))
        findings = fill_missing(held, "not a static rule")
    else:
        bundle = read_bundle(path)
        with progress_bars(err) as progress:
            findings = bundle_findings(bundle, chosen, lava=lava, progress=progress)
    if static:
        findings = tuple(f for f in findings if f.rule.id in STATIC)
    if not (path / "checkpoint.json").is_file():  # a build has applied them
        findings = apply_waivers(findings, accepted)
    out.print(rules(findings))
    scope = tuple(r for r in RULES if not static or r.id in STATIC)
    holds = compliant(findings, scope)
    words = headline(findings, scope, chosen.name)
    out.print(f"[bold {'green' if holds else 'red'}]{words}[/]")
    raise typer.Exit(OK if holds else NOT_COMPLIANT)
