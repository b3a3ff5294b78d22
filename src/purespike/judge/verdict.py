"""From findings and evidence to the report: what the policy excepts, what is waived, what lacks."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.network import Source
from purespike.compiler.rules.finding import RULES, Finding, Rule, fill_missing
from purespike.compiler.rules.policy import apply_policy
from purespike.compiler.rules.waiver import apply_waivers
from purespike.judge.versions import versions
from purespike.options import Options
from purespike.subject import Subject
from purespike.targets.spec import LOIHI2


def judge(
    subject: Subject,
    options: Options,
    graph: Graph,
    findings: Iterable[Finding],
    evidence: Evidence,
    *,
    demanded: tuple[Rule, ...] = RULES,
    unjudged: str = "not measured in this run",
) -> Report:
    """The report on a network.

    Args:
        subject: What was judged.
        options: What the compiler was told, with the policy and the waivers of the team.
        graph: The last stage of the network.
        findings: All that was found, before policy and waivers.
        evidence: All that was measured.
        demanded: Rules that have to hold for the verdict.
        unjudged: Why rules without a finding were not run.
    """
    policy, waivers = options.policy, options.waivers
    found = apply_waivers(apply_policy(findings, graph, policy), waivers)
    told = {k: v for k, v in options.described().items() if k not in ("policy", "waivers")}
    judged = Judged(
        model=subject.name,
        target=LOIHI2.name,
        policy=policy,
        waivers=waivers,
        options=told,
        samples=len(subject.labels),
        versions=versions(),
        sources=_sources(subject, graph),
    )
    return Report.of(judged, fill_missing(found, unjudged), evidence, demanded)


def _sources(subject: Subject, graph: Graph) -> dict[str, Source]:
    if isinstance(subject.model, Graph):
        return {}
    from purespike.trainer.capture.sources import find_sources  # loads torch

    found = find_sources(subject.model, sorted({n.origin for n in graph.nodes}))
    return msgspec.convert(found, dict[str, Source])
