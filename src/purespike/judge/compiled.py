"""Judge a network that is already compiled: from its files alone, without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from purespike.compiler.checker import Verdict
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.report.report import ReportError
from purespike.compiler.rules.finding import (
    ACCURACY,
    EXECUTORS,
    Finding,
    fill_missing,
    verdict,
)
from purespike.compiler.rules.policy import STRICT, Policy, apply_policy
from purespike.compiler.wording import RUN_LAVA
from purespike.judge.independent import check_graph, compare_verdicts, second_verdict
from purespike.judge.static import chip_findings, network_findings

if TYPE_CHECKING:
    from purespike.targets.bundle.bundle import Bundle


def static_findings(
    graph: Graph, policy: Policy = STRICT, second: Verdict | None = None
) -> list[Finding]:
    """Every rule that a graph alone decides.

    Args:
        graph: The network.
        policy: What the team accepts.
        second: What the independent checker says about the file that the graph was read from;
            without it, the graph is written to be checked.
    """
    verify(graph)
    findings = [*network_findings(graph), *chip_findings(graph, policy)]
    leak = policy.leak_multiplies
    if second is None:
        findings += check_graph(chip_part(graph), findings, leak_multiplies=leak)
    else:
        findings += compare_verdicts(second, findings, leak_multiplies=leak)
    return apply_policy(findings, graph, policy)


def bundle_findings(
    bundle: Bundle,
    policy: Policy = STRICT,
    *,
    lava: bool,
    progress: Callable[[str, int, int], None],
) -> tuple[Finding, ...]:
    """Every rule, measured anew on the golden samples of a bundle.

    The accuracy of the trained network is the one thing that a bundle can only report: PS012 uses
    what its report says.
    """
    from purespike.judge.bundle.contents import examine  # all executors: a file needs none

    found = examine(bundle, lava=lava, progress=progress)
    graph = bundle.graph
    findings = static_findings(graph, policy, second_verdict(bundle.document))
    findings += [*found.measured.findings, *found.findings]
    if not lava:
        findings.append(Finding(EXECUTORS, "Lava", "NOT RUN", "not asked for", remedy=RUN_LAVA))
    findings.append(_reported_accuracy(bundle, policy))
    return fill_missing(apply_policy(findings, graph, policy), "not measured in this run")


def _reported_accuracy(bundle: Bundle, policy: Policy) -> Finding:
    try:
        rows = bundle.said.accuracy
    except ReportError as e:
        return Finding(
            ACCURACY, "whole network", "NOT RUN", f"no report of this version: {e.found}"
        )
    trained = next((r for r in rows if r.stage.startswith("trained")), None)
    integer = next((r for r in rows if r.stage.startswith("integer")), None)
    if trained is None or integer is None:
        return Finding(ACCURACY, "whole network", "NOT RUN", "the report has no accuracy")
    drop = 100 * (trained.rate - integer.rate)
    return verdict(
        ACCURACY,
        "whole network",
        drop <= policy.accuracy_drop,
        f"{100 * trained.rate:.2f} % trained, {100 * integer.rate:.2f} % integer, "
        f"N = {integer.n} (as reported)" + (f"; {integer.note}" if integer.note else ""),
        limit=f"drop of at most {policy.accuracy_drop:g}",
        unit="percentage points",
    )
