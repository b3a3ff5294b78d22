"""Judge a network that is already compiled: from its files alone, without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from purespike.compiler.checker import Verdict
from purespike.compiler.compliance.finding import (
    ACCURACY,
    EXECUTORS,
    Finding,
    fill_missing,
    verdict,
)
from purespike.compiler.compliance.measure import measure
from purespike.compiler.compliance.policy import STRICT, Policy, apply_policy
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.verify import verify
from purespike.compiler.wording import RUN_LAVA
from purespike.evidence import compare_lava, lava_decisions, make_golden
from purespike.independent import check_graph, compare_verdicts, second_verdict
from purespike.static import chip_findings, network_findings
from purespike.tampering import check_derived, require_recordings
from purespike.targets.agreement import agreement, compare, not_run
from purespike.targets.bundle import Bundle
from purespike.targets.lava.simulate import LavaRun, simulate
from purespike.targets.nir.guard import load
from purespike.targets.onnx.run import run_onnx


@dataclass(frozen=True)
class Replay:
    """A Lava run of golden samples, compared with what the bundle recorded."""

    run: LavaRun
    correct: int | None  # None where the bundle has no labels
    samples: int
    findings: tuple[Finding, ...]


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
    require_recordings(bundle)
    graph, x = bundle.graph, bundle.golden.inputs
    second = second_verdict(load(bundle.folder / "model.nir"))
    findings = static_findings(graph, policy, second)
    findings += measure(graph, x, lambda d, n: progress("interpreter", d, n)).findings
    findings += [*replay_findings(bundle), *check_derived(bundle)]
    if lava:
        try:
            findings += replay_lava(bundle, x.shape[1], progress=progress).findings
        except PurespikeError as e:  # what was found so far is a verdict all the same
            findings.append(not_run("Lava", e))
    else:
        findings.append(Finding(EXECUTORS, "Lava", "NOT RUN", "not asked for", remedy=RUN_LAVA))
    findings.append(_reported_accuracy(bundle, policy))
    return fill_missing(apply_policy(findings, graph, policy), "not measured in this run")


def replay_findings(bundle: Bundle) -> list[Finding]:
    """PS010: interpreter, the bundle's ONNX file and its NIR file against the golden vectors."""
    require_recordings(bundle)
    golden, graph = bundle.golden, bundle.graph
    samples = golden.inputs.shape[1]
    reference = golden.trace()
    again = make_golden(graph, golden.inputs, golden.labels).trace()
    rows = compare(reference, again.values, again.membranes)
    findings = list(agreement("interpreter on model.nir", samples, rows))
    path = bundle.folder / "model.onnx"
    run = run_onnx(path, graph, golden.inputs)
    rows = compare(
        reference,
        {n: run.values[n] for n in golden.spikes},
        {n: run.membranes[n] for n in golden.membranes},
    )
    return [*findings, *agreement("ONNX Runtime on model.onnx", samples, rows)]


def replay_lava(
    bundle: Bundle,
    samples: int,
    *,
    stock: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[str, int, int], None],
) -> Replay:
    """Run the first ``samples`` golden samples on Lava and compare every layer."""
    x = bundle.golden.inputs[:, :samples]
    labels = bundle.golden.labels[:samples]
    run = simulate(
        bundle.graph,
        x,
        conv="stock" if stock else "fast",
        jobs=jobs,
        scheduler=scheduler,
        on_progress=lambda d, n: progress("Lava", d, n),
    )
    name = "Lava, stock convolution" if stock else "Lava"
    findings = agreement(name, len(labels), compare_lava(bundle.graph, x, run))
    labelled = bool(bundle.report.get("accuracy"))
    correct = int((lava_decisions(bundle.graph, run) == labels).sum()) if labelled else None
    return Replay(run, correct, len(labels), tuple(findings))


def _reported_accuracy(bundle: Bundle, policy: Policy) -> Finding:
    rows: dict[str, Any] = {row["stage"]: row for row in bundle.report.get("accuracy", [])}
    trained = next((r for s, r in rows.items() if s.startswith("trained")), None)
    integer = next((r for s, r in rows.items() if s.startswith("integer")), None)
    if trained is None or integer is None:
        return Finding(ACCURACY, "report.json", "NOT RUN", "the report has no accuracy")
    drop = 100 * (trained["rate"] - integer["rate"])
    note = integer.get("note", "")
    return verdict(
        ACCURACY,
        "report.json",
        drop <= policy.accuracy_drop,
        f"{100 * trained['rate']:.2f} % trained, {100 * integer['rate']:.2f} % integer, "
        f"N = {integer['n']} (as reported)" + (f"; {note}" if note else ""),
        limit=f"drop of at most {policy.accuracy_drop:g}",
        unit="percentage points",
    )
