"""purespike check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purespike.cli.commands.options import HostEncoder, JudgeOptions, NetworkOptions, Source
from purespike.cli.commands.shared import NOT_COMPLIANT, OK, err, out
from purespike.cli.console import progress_bars, rules
from purespike.compiler.rules.finding import Finding, compliant, headline
from purespike.compiler.rules.policy import Policy
from purespike.compiler.rules.waiver import Waivers
from purespike.flow.inputs.stated import NIR, Stated

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
) -> None:
    """Judge a network; exit 0 if it is spike-only, 1 if it is not or could not be proved."""
    from purespike.compiler.rules.finding import RULES, fill_missing
    from purespike.compiler.rules.waiver import apply_waivers
    from purespike.flow.inputs.exchange import is_graph_file, read_file
    from purespike.judge.compiled import bundle_findings, static_findings
    from purespike.judge.independent import second_verdict
    from purespike.judge.static import STATIC, is_integer
    from purespike.targets.bundle.bundle import MANIFEST, read_bundle
    from purespike.targets.nir.guard.guard import load

    chosen, accepted = judging.read()
    stated = network.stated()
    path = Path(source)
    if is_graph_file(path):
        stated.refuse("a check of a file", *NIR)
        graph, second = read_file(path, stated)
        if not is_integer(graph):
            out.print(
                f"{path.name} is not in integers: `purespike compile` with the same arguments is "
                "the next command",
                style="bold yellow",
            )
        findings = fill_missing(static_findings(graph, chosen, second), "needs a bundle")
    elif not (path / MANIFEST).is_file():
        mode: LavaMode = "fast" if lava and not static else "none"
        findings = _built(source, stated, mode, host_encoder, chosen, accepted)
        accepted = None  # the build has applied them
    elif static:
        stated.refuse("a bundle")
        graph, document = read_bundle(path).graph, load(path / "model.nir")
        held = static_findings(graph, chosen, second_verdict(document))
        findings = fill_missing(held, "not a static rule")
    else:
        stated.refuse("a bundle")
        bundle = read_bundle(path)
        with progress_bars(err) as progress:
            findings = bundle_findings(bundle, chosen, lava=lava, progress=progress)
    if static:
        findings = tuple(f for f in findings if f.rule.id in STATIC)
    findings = apply_waivers(findings, accepted)
    out.print(rules(findings))
    scope = tuple(r for r in RULES if not static or r.id in STATIC)
    holds = compliant(findings, scope)
    words = headline(findings, scope, chosen.name)
    out.print(words, style=f"bold {'green' if holds else 'red'}")
    raise typer.Exit(OK if holds else NOT_COMPLIANT)


def _built(
    source: str,
    stated: Stated,
    lava: LavaMode,
    host_encoder: bool,
    policy: Policy,
    waivers: Waivers | None,
) -> tuple[Finding, ...]:
    """Every finding of a build: what has no files yet has to be compiled to be judged."""
    from purespike.flow.inputs.opening import open_source

    opened = open_source(source, stated)
    from purespike.flow.build import build  # loads torch: what is missing was said before
    from purespike.flow.inputs.load import load_subject
    from purespike.options import Options

    options = Options(lava=lava, host_encoder=host_encoder, policy=policy, waivers=waivers)
    with progress_bars(err) as progress:
        return build(load_subject(opened), options, progress).report.findings
