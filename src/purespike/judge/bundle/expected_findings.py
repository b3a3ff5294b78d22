"""The findings that a bundle's report must have: from its network and its golden samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.found import Found
from purespike.compiler.report.rows.verdict import Accuracy, Chance
from purespike.compiler.rules.finding import (
    AUXILIARY,
    EXECUTORS,
    SPIKE_RUN,
    Finding,
    fill_missing,
)
from purespike.compiler.rules.policy import Policy, apply_policy
from purespike.compiler.rules.waiver import Waivers, apply_waivers
from purespike.judge.bundle.figures import Part
from purespike.judge.bundle.history import CAPTURED, expected_options
from purespike.judge.evidence import accuracy_finding
from purespike.judge.executors import not_asked_for
from purespike.judge.fast import replayed
from purespike.judge.independent import compare_verdicts, second_verdict
from purespike.judge.static import chip_findings, network_findings
from purespike.targets.agreement import Executor, Mismatch, agreement
from purespike.targets.bundle.bundle import Bundle


def agreeing_executors(graph: Graph, part: Part, *, c: bool) -> dict[str, Executor]:
    """What every executor has to say, given that they agree: nothing differs anywhere.

    Args:
        graph: The chip's network.
        part: The golden samples.
        c: Whether the C program is one of them.
    """
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    fires = {n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires}

    def rows(samples: int, membranes: Iterable[str]) -> tuple[Mismatch, ...]:
        values = {n.name: graph.steps * samples * math.prod(n.output.shape) for n in neurons}
        spikes = [Mismatch(n, "spikes", values[n], 0, None) for n in values if n in fires]
        return (*spikes, *(Mismatch(n, "membranes", values[n], 0, None) for n in membranes))

    everywhere = [n.name for n in neurons]
    found = {}
    again = len(replayed(graph, part.golden))
    for name in ("ONNX Runtime", "cpu", "NIR, read back"):
        found[name] = Executor(again, rows(again, everywhere))
    if c:
        found["C"] = Executor(part.golden, rows(part.golden, everywhere))
    if part.lava:
        integrators = [n.name for n in neurons if n.name not in fires]
        found["Lava"] = Executor(part.lava, rows(part.lava, integrators))
    return found


def expected_findings(
    bundle: Bundle,
    part: Part,
    executors: Mapping[str, Executor],
    accuracies: tuple[tuple[Accuracy, ...], Chance | None],
    policy: Policy,
    waivers: Waivers | None,
) -> tuple[Finding, ...]:
    """Every finding that follows: the rules on the network, and what all runs come to.

    Args:
        bundle: With what the report says of the module, and of what the host does.
        part: The golden samples.
        executors: What every executor has to say.
        accuracies: By stage, and what chance is right in.
        policy: What the team accepts.
        waivers: Broken findings that it accepts by name.
    """
    said, graph = bundle.said, bundle.graph
    notes = next((line.notes for line in said.ledger if line.name == "strip_auxiliary"), ())
    found = network_findings(graph, notes)
    found += _captured(said)
    where = f"all {part.samples} samples, {graph.steps} steps each: only 0 and 1"
    found += [
        Finding(SPIKE_RUN, f.where, "PASS", where, f.limit) if f.status == "PASS" else f
        for f in part.measured.findings
    ]
    found += chip_findings(graph, policy)
    second = second_verdict(bundle.document)
    found += compare_verdicts(second, found, leak_multiplies=policy.leak_multiplies)
    for name, executor in executors.items():
        found += agreement(name, executor.samples, executor.rows)
    accuracy, chance = accuracies
    trained = accuracy[0] if accuracy else None
    integer = next((a for a in accuracy if a.stage.startswith("integer")), None)
    told = expected_options(bundle, part)["weight_bits"]
    bits = told if isinstance(told, int) else None
    trained = trained if integer else None
    found.append(accuracy_finding(trained, integer, policy, chance, bits))
    if not part.lava:
        found.append(not_asked_for())
    judged = apply_waivers(apply_policy(found, graph, policy), waivers)
    judged = fill_missing(judged, "not measured in this run")
    return tuple(_host_words(f, said.found) if part.host else f for f in judged)


def _captured(said: Report) -> list[Finding]:
    """The one finding about the module itself, which is not in the bundle; kept in its form."""
    rows = [f for f in said.found if f.where == "torch: captured graph"]
    if not rows:
        return []
    samples = next(e.samples for e in said.executors if e.name == CAPTURED)
    off, _, limit = rows[0].measured.removeprefix("outputs differ by ").partition(" ")
    measured = f"outputs differ by {float(off):.3g} at most over {samples} samples"
    fits = float(off) >= 0 and bool(limit)
    return [Finding(EXECUTORS, rows[0].where, "PASS" if fits else "FAIL", measured, "1e-06")]


def _host_words(f: Finding, said: tuple[Found, ...]) -> Finding:
    """Findings at the border of host and chip name the encoder, which the bundle does not hold."""
    if f.status != "PASS" or not (" input" in f.measured or f.rule == AUXILIARY):
        return f
    for row in said:
        if (row.rule, row.where, row.status) == (f.rule.id, f.where, "PASS"):
            return replace(f, measured=row.measured)
    return f
