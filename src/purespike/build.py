"""From a trained module and its test data to a verdict with evidence, and a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from purespike.accuracy import accuracy_finding, reference_accuracy, stage_accuracy
from purespike.compiler.compliance.finding import (
    COUNTING,
    EXECUTORS,
    RULES,
    Finding,
    Rule,
    fill_missing,
)
from purespike.compiler.compliance.measure import measure
from purespike.compiler.compliance.policy import apply_policy
from purespike.compiler.compliance.rules import check_arithmetic, check_boundary, refusal
from purespike.compiler.compliance.waiver import apply_waivers
from purespike.compiler.counts import dense_counts
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Graph
from purespike.compiler.ops import Neuron
from purespike.compiler.passes.quantize import Grid
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import (
    REWRITES,
    Compiled,
    Pass,
    PassError,
    compile_graph,
    standard_passes,
)
from purespike.compiler.proofs.widths import unproved
from purespike.compiler.ranges import bound_neurons
from purespike.compiler.report import Accuracy, Activity, LayerCount, Report, describe
from purespike.evidence import (
    ac_range,
    activity,
    census,
    compare_executors,
    compare_lava,
    encode,
    lava_decisions,
    make_golden,
    versions,
)
from purespike.fidelity import check_capture, wrong_inputs
from purespike.independent import check_graph
from purespike.options import LavaMode, Options, Progress, Subject, require_samples, silent
from purespike.static import chip_findings, network_findings
from purespike.targets.agreement import Executor, agreement
from purespike.targets.bundle import Golden, write_bundle
from purespike.targets.lava.schedule import Schedule, schedule
from purespike.targets.lava.simulate import LavaRun, simulate
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.mapping import map_network
from purespike.targets.spec import LOIHI2
from purespike.trainer.capture import Capture, capture
from purespike.trainer.qat import FineTuneConfig, fine_tune
from purespike.trainer.sources import find_sources

__all__ = ["Build", "LavaMode", "Options", "Subject", "build"]


@dataclass(frozen=True)
class Build:
    """What came out.

    Attributes:
        report: The verdict with its evidence.
        compiled: Every stage of the graph; None if the network was refused on the way.
        golden: The golden samples; None likewise, or if a current may wrap around.
        lava: The Lava run; None if there was none.
        dead: Parameters that no output depends on.
    """

    report: Report
    compiled: Compiled | None = None
    golden: Golden | None = None
    lava: LavaRun | None = None
    dead: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)

    def write(self, folder: Path) -> None:
        """Write the bundle; a refused network leaves its report only."""
        graph = chip_part(self.compiled.graph) if self.compiled and self.golden else None
        notes = None
        if self.compiled and graph is not None:
            notes = {
                "scales": dict(self.compiled.ledger[-1].scales) if self.compiled.ledger else {},
                "boundaries": {"inputs": [e.name for e in graph.inputs], "host": "arg max"},
            }
        write_bundle(
            folder,
            report=self.report.to_json(),
            options=self.options.described(),
            versions=self.report.versions,
            graph=graph,
            golden=self.golden,
            notes=notes,
            nir_strict=self.options.nir_strict,
            onnx=self.options.onnx,
            netx=self.options.netx,
        )


def build(subject: Subject, options: Options | None = None, progress: Progress = silent) -> Build:
    """Capture, compile, run on every executor, and judge.

    Args:
        subject: What to compile.
        options: What the compiler is told.
        progress: Called with (stage, done, total).

    Returns:
        A build whose report says whether the network is spike-only; a network that is not comes
        back with the findings that say why, never as an exception.

    Raises:
        CaptureError: If the module has no graph.
        PassError: If the compiler broke its own promise.
        PurespikeError: If a target fails.
    """
    options = options or Options()
    require_samples(subject, options)
    progress("capture", 0, 1)
    captured = _captured(subject)
    passes = _passes(subject, options, progress)
    if is_integer(captured.graph):  # compiled before: what is left is to name the host, and judge
        passes = tuple(p for p in passes if p.name == "split_host" and options.host_encoder)
    probe = subject.spikes[:, :16].astype(np.float64)
    trained = reference_accuracy(subject, progress)
    draft = _Draft(subject, options, trained, captured.dead, captured.graph)
    wrong = wrong_inputs(captured.graph.inputs[0], subject.spikes)
    if wrong:
        return draft.refused(wrong, None)
    try:
        rest = [p for p in passes if p.name in ("fine_tune", "quantize")]
        first = [p for p in passes if p not in rest]
        front = compile_graph(captured.graph, first, probe, lambda name: progress(name, 0, 1))
        graph = front.graph
        findings = network_findings(graph, front.ledger[0].notes if front.ledger else ())
        executors = {}
        if isinstance(subject.model, nn.Module):
            finding, layers = check_capture(subject.model, captured.graph, probe)
            findings.append(finding)
            executors["torch, captured"] = Executor(probe.shape[1], tuple(layers))
        if any(f.status == "FAIL" for f in apply_policy(findings, graph, options.policy)):
            return draft.refused(findings, front)
        if any(f.status == "FAIL" for f in findings):  # all of them excused: the classifier's
            return draft.counted(findings, front, executors, progress)
        back = compile_graph(graph, rest, probe, lambda name: progress(name, 0, 1))
    except PassError:
        raise
    except PurespikeError as e:
        return draft.refused([refusal(e)], None)
    stages = {**front.stages, **back.stages, "quantize": back.graph}
    del stages["captured"]
    stages = {"captured": front.stages["captured"], **stages}
    compiled = Compiled(stages, front.ledger + back.ledger)
    return _judge(draft, compiled, findings, executors, progress)


def _passes(subject: Subject, options: Options, progress: Progress) -> tuple[Pass, ...]:
    """The standard passes, with fine-tuning before the last one if that is wanted."""
    if options.calibration == "agreement" and (subject.calibration is None or options.qat):
        raise PurespikeError(
            "calibration by spike agreement needs data"
            if not options.qat
            else "fine-tuning cannot follow scales that are chosen by spike agreement",
            found="agreement",
            allowed="max, percentile, mse",
            remedy="give the subject training inputs, or choose another calibration",
        )
    grid = Grid(
        options.weight_bits,
        per_channel=options.per_channel,
        fit_membranes=options.fit_membranes,
    )
    passes = standard_passes(
        grid=grid,
        host_encoder=options.host_encoder,
        # What was fine-tuned is rounded as it was then.
        calibration=None if options.qat else subject.calibration,
        method=options.calibration,
    )
    if not options.qat:
        return passes
    if subject.training is None:
        raise PurespikeError(
            "fine-tuning needs training data",
            where=subject.name,
            remedy="compile a checkpoint of `purespike train`, or give the subject its training",
        )
    batches, config = subject.training(), FineTuneConfig(options.qat, method=options.calibration)

    def tune(graph: Graph) -> Graph:
        return fine_tune(
            graph,
            batches,
            grid,
            config,
            progress=lambda epoch, loss: progress("fine-tuning", epoch + 1, options.qat),
        )

    return (*passes[:-1], Pass("fine_tune", tune, REWRITES), passes[-1])


def is_integer(graph: Graph) -> bool:
    """Is the graph in integers already, as `quantize` or a file for a chip leaves it?"""
    neurons = [n.op for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"]
    return bool(neurons) and all(op.fixed is not None for op in neurons)


def _captured(subject: Subject) -> Capture:
    if not isinstance(subject.model, nn.Module):
        return Capture(subject.model, ())
    return capture(subject.model, subject.shape, len(subject.spikes), domain=subject.domain)


def _sources(subject: Subject, graph: Graph) -> dict[str, dict[str, str | int]]:
    if not isinstance(subject.model, nn.Module):
        return {}
    return find_sources(subject.model, sorted({n.origin for n in graph.nodes}))


@dataclass(frozen=True)
class _Draft:
    subject: Subject
    options: Options
    trained: Accuracy | None
    dead: tuple[str, ...]
    captured: Graph

    def report(
        self,
        findings: Iterable[Finding],
        compiled: Compiled | None,
        census: tuple[LayerCount, ...] = (),
        accuracy: tuple[Accuracy, ...] = (),
        plan: Schedule | None = None,
        updates: float = 0.0,
        activity: tuple[Activity, ...] = (),
        resources: Mapping[str, Any] | None = None,
        conventions: Mapping[str, Any] | None = None,
        ac: tuple[float, float] | None = None,
        executors: Mapping[str, Any] | None = None,
        demanded: tuple[Rule, ...] = RULES,
    ) -> Report:
        joins = plan.joins() if plan else ()
        stage, graph = "captured", self.captured
        if compiled:
            stage, graph = list(compiled.stages.items())[-1]
        policy, waivers = self.options.policy, self.options.waivers
        findings = apply_waivers(apply_policy(findings, graph, policy), waivers)
        return Report(
            model=self.subject.name,
            target=LOIHI2.name,
            policy=policy.name,
            samples=len(self.subject.labels),
            findings=fill_missing(findings, "not measured in this run"),
            census=census,
            conventions=conventions,
            ledger=compiled.ledger if compiled else (),
            accuracy=(self.trained, *accuracy) if self.trained else (),
            timing=tuple(vars(a) for a in joins),
            updates=updates,
            resources=resources or {},
            versions=versions(),
            network=describe(graph, stage),
            activity=activity,
            membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
            choices=policy.choices(),
            waivers=waivers.data() if waivers else None,
            ac_range=ac,
            executors=executors or {},
            demanded=demanded,
            sources=_sources(self.subject, graph),
        )

    def counted(
        self,
        findings: list[Finding],
        front: Compiled,
        executors: Mapping[str, Executor],
        progress: Progress,
    ) -> Build:
        """Judge how a network counts that no chip could hold: the policy lets its end multiply."""
        graph, subject, policy = front.graph, self.subject, self.options.policy
        found = measure(graph, subject.spikes, lambda d, n: progress("float network", d, n))
        dense = {n.name: dense_counts(graph, n).times(graph.steps) for n in graph.nodes}
        why = f"nothing was compiled: under policy {policy.name} the classifier multiplies"
        findings = [
            *findings,
            *found.findings,
            *check_arithmetic(graph, dense, leak_multiplies=policy.leak_multiplies),
            *check_boundary(graph, found.counts),
            Finding(EXECUTORS, "ONNX Runtime, NIR, Lava", "NOT RUN", why),
        ]
        report = self.report(
            findings,
            front,
            census(graph, found),
            (stage_accuracy("float, fused", found, subject, None),),
            activity=tuple(
                Activity(name, found.step_rates.get(name, ()), reach, (-np.inf, np.inf))
                for name, reach in found.membranes.items()  # nothing was proved about them
            ),
            conventions=found.conventions,
            ac=ac_range(graph, found),
            executors={name: e.data() for name, e in executors.items()},
            demanded=COUNTING,
        )
        return Build(report, compiled=front, dead=self.dead, options=self.options)

    def refused(self, findings: list[Finding], compiled: Compiled | None) -> Build:
        return Build(
            self.report(findings, compiled),
            compiled=compiled,
            dead=self.dead,
            options=self.options,
        )


def _judge(
    draft: _Draft,
    compiled: Compiled,
    findings: list[Finding],
    executors: dict[str, Executor],
    progress: Progress,
) -> Build:
    subject, options, graph = draft.subject, draft.options, compiled.graph
    x = subject.spikes
    floating = measure(
        compiled.stages.get("split_host", graph), x, lambda d, n: progress("float network", d, n)
    )
    integers = measure(graph, x, lambda d, n: progress("integer network", d, n))
    # From here on the chip alone: what a declared encoder sends is its input.
    chip, fed = chip_part(graph), encode(graph, x)
    plan = schedule(chip)
    resources = map_network(chip, CHIPS[LOIHI2.name])
    bounds = bound_neurons(chip, current_limit=LOIHI2.current_limit)
    findings += integers.findings
    findings += chip_findings(graph, options.policy, integers.counts)
    leak = options.policy.leak_multiplies
    findings += check_graph(chip, findings, leak_multiplies=leak, strict=options.nir_strict)
    golden = make_golden(chip, fed[:, : options.golden], subject.labels[: options.golden])
    for name, rows in compare_executors(chip, golden).items():
        executors[name] = Executor(len(golden.labels), tuple(rows))
        findings += agreement(name, len(golden.labels), rows)
    ledger = [
        stage_accuracy("float, fused", floating, subject, None),
        stage_accuracy("integer (interpreter)", integers, subject, floating),
    ]
    lava = None
    if options.lava != "none":
        samples = min(max(options.lava_samples, options.golden), x.shape[1])
        lava = simulate(
            chip,
            fed[:, :samples],
            conv=options.lava,
            on_progress=lambda d, n: progress("Lava", d, n),
        )
        rows = compare_lava(chip, fed[:, :samples], lava)
        executors["Lava"] = Executor(samples, tuple(rows))
        findings += agreement("Lava", samples, rows)
        decided = lava_decisions(chip, lava)
        right = int((decided == subject.labels[:samples]).sum())
        same = int((decided == integers.decisions[:samples]).sum())
        ledger.append(Accuracy(f"Lava ({options.lava} convolution)", right, samples, same))
    findings.append(accuracy_finding(draft.trained, ledger[1], options.policy))
    if options.lava == "none":
        findings.append(
            Finding(EXECUTORS, "Lava", "NOT RUN", "not asked for", remedy="--lava fast")
        )
    updates = sum(
        float(np.prod(n.output.shape)) * graph.steps
        for n in graph.nodes
        if isinstance(n.op, Neuron) and n.role != "host"
    )
    report = draft.report(
        findings,
        compiled,
        census(graph, integers),
        tuple(ledger),
        plan,
        updates,
        activity(integers, bounds),
        resources.data(),
        integers.conventions,
        ac_range(graph, integers),
        {name: e.data() for name, e in executors.items()},
    )
    # What may wrap around leaves a report and no files: they would not say what the chip does.
    kept = None if unproved(bounds) else golden
    return Build(report, compiled, kept, lava, draft.dead, options)
