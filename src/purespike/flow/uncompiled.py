"""Networks that are judged and not compiled: refused ones, and those that only count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline import Compiled
from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.compiler.report.evidence import Evidence
from purespike.compiler.rules.finding import COUNTING, EXECUTORS, Finding
from purespike.compiler.rules.graph_rules import check_arithmetic, check_boundary
from purespike.compiler.rules.measure import Measured, measure
from purespike.flow.result import Build
from purespike.judge.accuracy import stage_accuracy
from purespike.judge.evidence import activity, with_run
from purespike.judge.verdict import judge
from purespike.options import Options
from purespike.subject import Progress, Subject

OPERATIONS = 2e10  # of synapses that counting a refused network may take: a minute or two
REFUSED = "not judged: the network was refused before"


def counted(
    subject: Subject,
    options: Options,
    findings: Iterable[Finding],
    evidence: Evidence,
    front: Compiled,
    progress: Progress,
) -> Build:
    """Judge how a network counts that no chip could hold: the policy lets its end multiply.

    Args:
        subject: What is judged.
        options: With the policy that lets it.
        findings: What was found up to here.
        evidence: What was measured up to here.
        front: What the passes made of the network in real numbers.
        progress: Called with (stage, done, total).
    """
    graph, policy = front.graph, options.policy
    found = measure(graph, subject.spikes, lambda d, n: progress("float network", d, n))
    dense = {name: c.times(graph.steps) for name, c in dense_census(graph).items()}
    why = f"nothing was compiled: under policy {policy.name} the classifier multiplies"
    findings = [
        *findings,
        *found.findings,
        *check_arithmetic(graph, dense, leak_multiplies=policy.leak_multiplies),
        *check_boundary(graph, found.counts),
        Finding(EXECUTORS, "ONNX Runtime, NIR, Lava", "NOT RUN", why),
    ]
    evidence = _in_real_numbers(evidence, graph, found, subject, "float network, fused")
    report = judge(subject, options, graph, findings, evidence, demanded=COUNTING)
    return Build(report, front, options=options, withheld=why)


def refused(
    subject: Subject,
    options: Options,
    findings: Iterable[Finding],
    evidence: Evidence,
    graph: Graph,
    front: Compiled | None = None,
) -> Build:
    """Report why nothing was compiled.

    Args:
        subject: What is judged.
        options: What the compiler is told.
        findings: What was found up to here.
        evidence: What was measured, and what the network costs all the same.
        graph: The last stage that there is.
        front: What the passes made of the network, if they came through.
    """
    report = judge(subject, options, graph, findings, evidence, unjudged=REFUSED)
    return Build(report, front, options=options, withheld="the network was refused")


def costs(
    evidence: Evidence, graph: Graph, name: str, subject: Subject, progress: Progress
) -> Evidence:
    """What a network that is not compiled costs, over as many samples as minutes allow.

    Args:
        evidence: What was measured before.
        graph: The network as far as the passes came, in real numbers.
        name: What the report calls it.
        subject: With the samples.
        progress: Called with (stage, done, total).
    """
    counts = total_counts(dense_census(graph).values())
    work = max(1.0, counts.ac + counts.mac) * graph.steps
    samples = int(np.clip(OPERATIONS // work, 1, len(subject.labels)))
    subject = replace(subject, spikes=subject.spikes[:, :samples], labels=subject.labels[:samples])
    try:
        found = measure(graph, subject.spikes, lambda d, n: progress("operations", d, n))
    except PurespikeError as e:
        return replace(evidence, uncounted=f"the network does not run: {e.message}")
    return _in_real_numbers(evidence, graph, found, subject, name)


def _in_real_numbers(
    evidence: Evidence, graph: Graph, found: Measured, subject: Subject, name: str
) -> Evidence:
    """The evidence with what is measured of a network about whose membranes nothing is proved."""
    stages = evidence.accuracy
    if stages:  # there are labels
        stages = (*stages, stage_accuracy(name, found.decisions, subject, None))
    evidence = replace(evidence, accuracy=stages, activity=activity(found))
    return with_run(evidence, graph, found, name)
