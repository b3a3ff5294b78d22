"""From findings and evidence to the report: what the policy excepts, what is waived, what lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.compiler.passes.split_host import NO_SPIKES
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.network import Source
from purespike.compiler.rules.finding import RULES, Finding, Rule, fill_missing
from purespike.compiler.rules.policy import apply_policy
from purespike.compiler.rules.waiver import apply_waivers
from purespike.compiler.wording import Advice
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
    findings = _of_module(findings, subject)
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
        file=subject.file,
    )
    return Report.of(judged, fill_missing(found, unjudged), evidence, demanded)


def _sources(subject: Subject, graph: Graph) -> dict[str, Source]:
    if isinstance(subject.model, Graph):
        return {}
    from purespike.trainer.capture.sources import find_sources  # loads torch

    found = find_sources(subject.model, sorted({n.origin for n in graph.nodes}))
    return msgspec.convert(found, dict[str, Source])


def _of_module(findings: Iterable[Finding], subject: Subject) -> Iterable[Finding]:
    """What a module takes its data say, and no option: where they are no spikes, which they are."""
    if isinstance(subject.model, Graph):
        return findings
    return [replace(f, remedy=_encode(subject)) if f.remedy == NO_SPIKES else f for f in findings]


def _encode(subject: Subject) -> Advice:
    x = np.asarray(subject.spikes)
    other = x[(x != 0) & (x != 1)]
    return Advice(
        (f"the inputs hold {float(other[0]):g}, among others: " if other.size else "")
        + "give 0 and 1 only, encode them as spikes (bit-plane, rate, latency or events: "
        "purespike.nn.encode), or declare the first layers as encoder on the host: {host_encoder}"
    )
