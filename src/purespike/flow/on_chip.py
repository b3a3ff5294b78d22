"""The chip's network on every executor, and the verdict on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import Compiled
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.proofs.widths import unproved
from purespike.compiler.report.evidence import Evidence
from purespike.compiler.report.rows.cores import CoreMap
from purespike.compiler.report.rows.stages import ExecutorRow, Join
from purespike.compiler.report.rows.verdict import Accuracy
from purespike.compiler.rules.finding import LEGALITY, Finding
from purespike.compiler.rules.measure import decisions, measure
from purespike.flow.result import Build
from purespike.judge.accuracy import stage_accuracy
from purespike.judge.evidence import (
    accuracy_finding,
    activity,
    c_program,
    layer_counts,
    with_run,
)
from purespike.judge.executors import (
    Recorder,
    compare_c,
    compare_lava,
    compare_nir,
    compare_onnx,
    encode,
    lava_decisions,
    not_asked_for,
)
from purespike.judge.fast import CrossCheck, execute
from purespike.judge.independent import check_graph
from purespike.judge.static import chip_findings
from purespike.judge.verdict import judge
from purespike.options import Options
from purespike.subject import Progress, Subject
from purespike.targets.agreement import Executor, Mismatch, agreement, not_run
from purespike.targets.lava.lower.schedule import ScheduleError, schedule
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.nir.document import Document
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.errors import NirError
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.layers import ResourceError
from purespike.targets.resources.mapping import Mapping, map_network
from purespike.targets.spec import LOIHI2


def judged_on_chip(
    subject: Subject,
    options: Options,
    network: Graph,
    compiled: Compiled,
    findings: list[Finding],
    evidence: Evidence,
    progress: Progress,
    execute: Execute = execute,
) -> Build:
    """Run the chip's network on every executor, and put the verdict together.

    Args:
        subject: What is judged.
        options: What the compiler is told.
        network: The network in real numbers.
        compiled: What the passes made of it.
        findings: What was found up to here; more are added.
        evidence: What was measured up to here.
        progress: Called with (stage, done, total).
        execute: Runs the network in real numbers.
    """
    graph, x = compiled.graph, subject.spikes
    floating = decisions(network, x, lambda d, n: progress("float network", d, n), execute)
    # The chip alone: what a declared encoder sends is its input.
    chip, fed = chip_part(graph), encode(graph, x)
    progress("interpreter", 0, 1)
    check = CrossCheck.of(chip, fed[:, : options.golden])
    recorder = Recorder(chip, min(options.golden, x.shape[1]))
    integers = measure(
        graph,
        x,
        lambda d, n: progress("integer network", d, n),
        recorder.add,
        check.fast if chip is graph else None,
    )
    progress("bounds and cores", 0, 1)
    # What cannot be scheduled or laid out, `chip_findings` says.
    joins: tuple[Join, ...] = ()
    latency: int | None = None
    cores: Mapping | None = None
    with suppress(ScheduleError):
        plan = schedule(chip)
        joins, latency = tuple(Join(**vars(a)) for a in plan.joins()), plan.latency
    with suppress(ResourceError):
        cores = map_network(chip, CHIPS[LOIHI2.name])
    bounds = bound_neurons(chip, current_limit=LOIHI2.current_limit)
    findings += integers.findings
    findings += chip_findings(graph, options.policy, integers.counts, cores)
    leak = options.policy.leak_multiplies
    progress("independent check", 0, 1)
    written: Document | None = None
    with suppress(NirError):  # whoever asks for the file says why there is none
        written = read_back(to_bytes(chip))
    findings += check_graph(
        chip,
        findings,
        leak_multiplies=leak,
        strict=options.nir_strict,
        written=None if options.nir_strict else written,
    )
    golden = recorder.golden(fed[:, : options.golden], subject.labels[: options.golden])
    executors, again = list(evidence.executors), golden.part(check.samples)
    every = np.arange(len(golden.labels))
    executed: tuple[tuple[str, NDArray[np.int64], Callable[[], list[Mismatch]]], ...] = (
        ("ONNX Runtime", check.samples, lambda: compare_onnx(chip, again)),
        ("cpu", check.samples, check.rows),
        ("NIR, read back", check.samples, lambda: compare_nir(chip, again, written)),
    )
    if options.c:
        evidence = replace(evidence, c_program=c_program(chip, layer_counts(graph, integers)))
        if evidence.c_program:  # else Build.save says why there is none
            executed += (("C", every, lambda: compare_c(chip, golden)),)
    for name, ran, compare in executed:
        progress(name, 0, 1)
        with _kept(name, findings):
            rows = [row.among(ran) for row in compare()]
            _agree(executors, findings, name, len(ran), rows)
    stages = [
        stage_accuracy("float, fused", floating, subject, None),
        stage_accuracy("integer network", integers.decisions, subject, floating),
    ]
    trained = evidence.accuracy[0] if evidence.accuracy else None
    findings.append(
        accuracy_finding(trained, stages[-1], options.policy, evidence.chance, options.weight_bits)
    )
    lava = None
    if options.lava == "none":
        findings.append(not_asked_for())
    else:
        samples = min(max(options.lava_samples, options.golden), x.shape[1])
        with _kept("Lava", findings):
            lava = simulate(
                chip,
                fed[:, :samples],
                conv=options.lava,
                on_progress=lambda d, n: progress("Lava", d, n),
            )
            rows = compare_lava(chip, fed[:, :samples], lava, check.fast)
            _agree(executors, findings, "Lava", samples, rows)
            decided = lava_decisions(chip, lava)
            right = int((decided == subject.labels[:samples]).sum())
            same = int((decided == integers.decisions[:samples]).sum())
            stages.append(Accuracy.of(f"Lava ({options.lava} convolution)", right, samples, same))
    progress("report", 0, 1)
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"]
    evidence = replace(
        with_run(evidence, graph, integers, "integer network"),
        executors=tuple(executors),
        accuracy=(trained, *stages) if trained else (),
        timing=joins,
        latency=latency,
        updates=sum(float(np.prod(n.output.shape)) * graph.steps for n in neurons),
        activity=activity(integers, bounds),
        resources=None if cores is None else msgspec.convert(cores.data(), CoreMap),
    )
    report = judge(subject, options, graph, findings, evidence)
    # A chip file that the chip cannot hold would not say what the chip does.
    illegal = any(f.rule == LEGALITY and f.status == "FAIL" for f in report.findings)
    withheld = "PS008 does not hold" if illegal else "a current may wrap around (PS006)"
    kept = None if illegal or unproved(bounds) else golden
    return Build(report, compiled, kept, lava, (), options, "" if kept else withheld)


def _agree(
    executors: list[ExecutorRow],
    findings: list[Finding],
    name: str,
    samples: int,
    rows: list[Mismatch],
) -> None:
    """Note what an executor made of the samples, layer by layer."""
    executors.append(Executor(samples, tuple(rows)).row(name))
    findings += agreement(name, samples, rows)


@contextmanager
def _kept(executor: str, findings: list[Finding]) -> Iterator[None]:
    """Keep the verdict where an executor gives no result, whatever the reason: it was not run."""
    try:
        yield
    except Exception as e:
        if os.environ.get("PURESPIKE_DEBUG"):
            raise
        findings.append(not_run(executor, e))
