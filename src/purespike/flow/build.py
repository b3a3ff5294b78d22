"""From a trained module and its test data to a verdict with evidence, and a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from purespike.compiler.choices import LavaMode
from purespike.compiler.errors import Refusal, UsageError
from purespike.compiler.files.kinds import GRAPHS
from purespike.compiler.files.outputs import require_folder
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute
from purespike.compiler.labels import output_classes
from purespike.compiler.pipeline import Compiled, GraphDump, Pass, Pipeline, compile_graph
from purespike.compiler.report.evidence import Evidence
from purespike.compiler.report.rows.network import Network
from purespike.compiler.report.rows.stages import PassLine
from purespike.compiler.report.rows.verdict import Chance
from purespike.compiler.rules.finding import Finding
from purespike.compiler.rules.graph_rules import refusal
from purespike.compiler.rules.policy import apply_policy
from purespike.flow.on_chip import judged_on_chip
from purespike.flow.pass_lists import choose_passes
from purespike.flow.probe import choose_probe, noted
from purespike.flow.result import Build
from purespike.flow.uncompiled import costs, counted, refused
from purespike.judge.accuracy import own_decisions, reference_accuracy
from purespike.judge.capture_check import check_capture, wrong_inputs
from purespike.judge.fast import execute
from purespike.judge.static import is_integer, network_findings
from purespike.options import Options
from purespike.subject import Progress, Subject, checked_subject, require_classes, silent
from purespike.targets.agreement import Executor
from purespike.targets.real.memory import Memory
from purespike.targets.spec import LOIHI2

__all__ = ["Build", "LavaMode", "Options", "Subject", "build"]


def build(
    subject: Subject,
    options: Options | None = None,
    progress: Progress = silent,
    *,
    passes: Callable[[Pipeline], Pipeline] = lambda pipeline: pipeline,
    dump_graphs: str | Path | None = None,
) -> Build:
    """Capture, compile, run on every executor, and judge.

    Args:
        subject: What to compile.
        options: What the compiler is told.
        progress: Called with (stage, done, total).
        passes: Changes the pipeline: inserts, replaces or leaves out passes, each of which is held
            to its promise, such as ``lambda p: p.after("fold_scales", Pass("mine", f, SAME))``.
        dump_graphs: A folder for the printed graph after each pass and what changed
            (`GraphDump`); it is written however the passes end.

    Returns:
        A build whose report says whether the network is spike-only; a network that is not comes
        back with the findings that say why, never as an exception.

    Raises:
        UsageError: If the subject's parts do not fit together or the options do not, a label can
            be none, or the graphs cannot be written.
        CaptureError: If the module has no graph.
        PassError: If a pass broke its promise. An executor that fails is a rule not run.
    """
    options = options or Options()
    subject = checked_subject(subject)
    if dump_graphs is not None:
        require_folder(Path(dump_graphs), GRAPHS)
    progress("capture", 0, 1)
    captured, dead = captured_network(subject)
    require_classes(subject, captured)
    if subject.labels is None:
        decided = own_decisions(subject.model, subject.spikes)
        subject = replace(subject, labels=decided, labelled=False)
    remembering = partial(execute, memory=Memory())
    pipeline = passes(choose_passes(captured, subject, options, progress, remembering))
    probe, short = choose_probe(captured, subject.spikes)
    dump = None if dump_graphs is None else GraphDump()

    def run(start: Graph | Compiled, passes: Iterable[Pass]) -> Compiled:
        if isinstance(start, Graph):
            progress("probe", 0, 1)  # all that passes are compared with
        try:
            done = compile_graph(
                start,
                passes,
                probe,
                lambda name: progress(name, 0, 1),
                watch=dump,
                execute=remembering,
            )
        finally:
            if dump is not None and dump_graphs is not None:
                dump.write(dump_graphs)
        return noted(done, short) if isinstance(start, Graph) else done

    built = _built(subject, options, progress, captured, pipeline, run, remembering, probe.shape[1])
    return replace(built, dead=dead)


def _built(
    subject: Subject,
    options: Options,
    progress: Progress,
    captured: Graph,
    pipeline: Pipeline,
    run: Callable[[Graph | Compiled, Iterable[Pass]], Compiled],
    execute: Execute,
    samples: int,
) -> Build:
    trained = reference_accuracy(subject, progress, execute)
    evidence = Evidence(
        network=Network.of(captured, "captured"),
        accuracy=(trained,) if trained else (),
        chance=_chance(subject, captured),
        membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
    )
    wrong = wrong_inputs(captured.inputs[0], subject.spikes)
    if wrong:
        why = "the test inputs are not what the network takes"
        return refused(subject, options, wrong, replace(evidence, uncounted=why), captured)
    front: Compiled | None = None
    findings: list[Finding] = []
    try:
        front = run(captured, pipeline.network)
        evidence = _with_passes(evidence, front, list(front.stages)[-1])
        findings = network_findings(front.graph, front.notes("strip_auxiliary"))
        if not isinstance(subject.model, Graph):
            x = subject.spikes[:, :samples].astype(np.float64)
            finding, layers = check_capture(subject.model, captured, x)
            findings.append(finding)
            row = Executor(samples, tuple(layers)).row("torch, captured")
            evidence = replace(evidence, executors=(row,))
        if any(f.status == "FAIL" for f in apply_policy(findings, front.graph, options.policy)):
            evidence = costs(evidence, front.graph, _named(front.graph, "fused"), subject, progress)
            return refused(subject, options, findings, evidence, front.graph, front)
        if any(f.status == "FAIL" for f in findings):  # all of them excused: the classifier's
            return counted(subject, options, findings, evidence, front, progress)
        back = run(front, pipeline.chip)
    except Refusal as e:  # whatever else goes wrong says nothing about the network: no verdict
        findings.append(refusal(e))
        graph = front.graph if front else _rewritten(captured, pipeline.network)
        named = _named(graph, "fused" if front else "up to the pass that refused it")
        evidence = costs(evidence, graph, named, subject, progress)
        last = front.graph if front else captured
        return refused(subject, options, findings, evidence, last, front)
    evidence = _with_passes(evidence, back, "quantize")
    return judged_on_chip(
        subject, options, front.graph, back, findings, evidence, progress, execute
    )


def _chance(subject: Subject, captured: Graph) -> Chance | None:
    """What an accuracy has to beat; None without labels."""
    if not subject.labelled:
        return None
    classes, _ = output_classes(captured)
    return Chance.of(classes, int(np.bincount(subject.labels).max()), len(subject.labels))


def _with_passes(evidence: Evidence, compiled: Compiled, stage: str) -> Evidence:
    network = Network.of(compiled.graph, stage)
    return replace(evidence, network=network, ledger=tuple(map(PassLine.of, compiled.ledger)))


def _named(graph: Graph, how_far: str) -> str:
    return "integer network, as read" if is_integer(graph) else f"float network, {how_far}"


def _rewritten(graph: Graph, passes: Iterable[Pass]) -> Graph:
    """The network as far as the passes come before one refuses it."""
    for p in passes:
        try:
            graph = p.rewrite(graph)
        except Refusal:
            break
    return graph


def captured_network(subject: Subject) -> tuple[Graph, tuple[str, ...]]:
    """The network, and the parameters that no output depends on."""
    if isinstance(subject.model, Graph):
        return subject.model, ()
    from torch import nn  # loads for seconds: a network from a file does without

    from purespike.trainer.capture.readout import capture_deployed

    if not isinstance(subject.model, nn.Module):
        raise UsageError(
            "this is not a network",
            where=subject.name,
            found=type(subject.model).__name__,
            allowed="a torch.nn.Module, or a graph that was read from a file",
        )
    steps = len(subject.spikes)
    found = capture_deployed(subject.model, subject.shape, steps, domain=subject.domain)
    return found.graph, found.dead
