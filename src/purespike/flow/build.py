"""From a trained module and its test data to a verdict with evidence, and a bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from purespike.compiler.choices import LavaMode
from purespike.compiler.errors import Refusal, UsageError
from purespike.compiler.files.kinds import GRAPHS
from purespike.compiler.files.outputs import require_folder
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import (
    Compiled,
    GraphDump,
    Pass,
    Pipeline,
    compile_graph,
)
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.proofs.widths import unproved
from purespike.compiler.report.report import Accuracy
from purespike.compiler.rules.finding import LEGALITY, Finding
from purespike.compiler.rules.graph_rules import refusal
from purespike.compiler.rules.measure import decisions, measure
from purespike.compiler.rules.policy import apply_policy
from purespike.flow.pass_lists import choose_passes
from purespike.flow.probe import choose_probe, noted
from purespike.judge.accuracy import own_decisions, reference_accuracy, stage_accuracy
from purespike.judge.capture_check import check_capture, wrong_inputs
from purespike.judge.draft import Build, Draft
from purespike.judge.evidence import (
    Recorder,
    ac_range,
    accuracy_finding,
    activity,
    census,
    compare_lava,
    compare_nir,
    compare_onnx,
    encode,
    lava_decisions,
    not_asked_for,
)
from purespike.judge.fast import CrossCheck, execute
from purespike.judge.independent import check_graph
from purespike.judge.static import chip_findings, is_integer, network_findings
from purespike.options import Options
from purespike.subject import Progress, Subject, checked_subject, require_classes, silent
from purespike.targets.agreement import Executor, Mismatch, agreement, not_run
from purespike.targets.lava.lower.schedule import ScheduleError, schedule
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.real.memory import Memory
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.layers import ResourceError
from purespike.targets.resources.mapping import map_network
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
    network, dead = _captured(subject)
    require_classes(subject, network)
    if subject.labels is None:
        decided = own_decisions(subject.model, subject.spikes)
        subject = replace(subject, labels=decided, labelled=False)
    remembering = partial(execute, memory=Memory())
    pipeline = passes(choose_passes(network, subject, options, progress, remembering))
    probe, short = choose_probe(network, subject.spikes)
    trained = reference_accuracy(subject, progress)
    draft = Draft(subject, options, trained, dead, network)
    wrong = wrong_inputs(network.inputs[0], subject.spikes)
    if wrong:
        return draft.refused(wrong, None)
    front: Compiled | None = None
    findings: list[Finding] = []
    executors: dict[str, Executor] = {}
    dump = None if dump_graphs is None else GraphDump()

    def run(start: Graph | Compiled, passes: Iterable[Pass]) -> Compiled:
        try:
            return compile_graph(
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

    try:
        front = noted(run(network, pipeline.network), short)
        graph = front.graph
        findings = network_findings(graph, front.notes("strip_auxiliary"))
        if not isinstance(subject.model, Graph):
            samples = probe.shape[1]
            finding, layers = check_capture(
                subject.model, network, subject.spikes[:, :samples].astype(np.float64)
            )
            findings.append(finding)
            executors["torch, captured"] = Executor(samples, tuple(layers))
        if any(f.status == "FAIL" for f in apply_policy(findings, graph, options.policy)):
            named = _named(graph, "fused")
            return draft.refused(findings, front, graph, named, executors, progress)
        if any(f.status == "FAIL" for f in findings):  # all of them excused: the classifier's
            return draft.counted(findings, front, executors, progress)
        back = run(front, pipeline.chip)
    except Refusal as e:  # whatever else goes wrong says nothing about the network: no verdict
        graph = front.graph if front else _rewritten(network, pipeline.network)
        named = _named(graph, "fused" if front else "up to the pass that refused it")
        return draft.refused([*findings, refusal(e)], front, graph, named, executors, progress)
    return _judge(draft, front.graph, back, findings, executors, progress)


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


def _captured(subject: Subject) -> tuple[Graph, tuple[str, ...]]:
    """The network, and the parameters that no output depends on."""
    if isinstance(subject.model, Graph):
        return subject.model, ()
    from torch import nn  # loads for seconds: a network from a file does without

    from purespike.trainer.capture.trace import capture

    if not isinstance(subject.model, nn.Module):
        raise UsageError(
            "this is not a network",
            where=subject.name,
            found=type(subject.model).__name__,
            allowed="a torch.nn.Module, or a graph that was read from a file",
        )
    found = capture(subject.model, subject.shape, len(subject.spikes), domain=subject.domain)
    return found.graph, found.dead


def _judge(
    draft: Draft,
    network: Graph,
    compiled: Compiled,
    findings: list[Finding],
    executors: dict[str, Executor],
    progress: Progress,
) -> Build:
    subject, options, graph = draft.subject, draft.options, compiled.graph
    x = subject.spikes
    floating = decisions(network, x, lambda d, n: progress("float network", d, n), execute)
    # The chip alone: what a declared encoder sends is its input.
    chip, fed = chip_part(graph), encode(graph, x)
    check = CrossCheck.of(chip, fed[:, : options.golden])
    recorder = Recorder(chip, options.golden)
    integers = measure(
        graph,
        x,
        lambda d, n: progress("integer network", d, n),
        recorder.add,
        check.fast if chip is graph else None,
    )
    # What cannot be scheduled or laid out, `chip_findings` says.
    plan = resources = None
    with suppress(ScheduleError):
        plan = schedule(chip)
    with suppress(ResourceError):
        resources = map_network(chip, CHIPS[LOIHI2.name])
    bounds = bound_neurons(chip, current_limit=LOIHI2.current_limit)
    findings += integers.findings
    findings += chip_findings(graph, options.policy, integers.counts)
    leak = options.policy.leak_multiplies
    findings += check_graph(chip, findings, leak_multiplies=leak, strict=options.nir_strict)
    golden = recorder.golden(fed[:, : options.golden], subject.labels[: options.golden])
    many = len(golden.labels)
    executed: tuple[tuple[str, int, Callable[[], list[Mismatch]]], ...] = (
        ("ONNX Runtime", many, lambda: compare_onnx(chip, golden)),
        ("cpu", len(check.samples), check.rows),
        ("NIR, read back", many, lambda: compare_nir(chip, golden)),
    )
    for name, samples, compare in executed:
        with _kept(name, findings):
            rows = compare()
            executors[name] = Executor(samples, tuple(rows))
            findings += agreement(name, samples, rows)
    ledger = [
        stage_accuracy("float, fused", floating, subject, None),
        stage_accuracy("integer (interpreter)", integers.decisions, subject, floating),
    ]
    lava = None
    if options.lava != "none":
        samples = min(max(options.lava_samples, options.golden), x.shape[1])
        with _kept("Lava", findings):
            lava = simulate(
                chip,
                fed[:, :samples],
                conv=options.lava,
                on_progress=lambda d, n: progress("Lava", d, n),
            )
            rows = compare_lava(chip, fed[:, :samples], lava, check.fast)
            executors["Lava"] = Executor(samples, tuple(rows))
            findings += agreement("Lava", samples, rows)
            decided = lava_decisions(chip, lava)
            right = int((decided == subject.labels[:samples]).sum())
            same = int((decided == integers.decisions[:samples]).sum())
            ledger.append(Accuracy(f"Lava ({options.lava} convolution)", right, samples, same))
    findings.append(accuracy_finding(draft.trained, ledger[1], options.policy, draft.chance))
    if options.lava == "none":
        findings.append(not_asked_for())
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
        resources.data() if resources else {},
        integers.conventions,
        ac_range(graph, integers),
        {name: e.data() for name, e in executors.items()},
        stage="quantize",
        counted="integer network",
        counted_samples=integers.samples,
    )
    # A chip file that the chip cannot hold would not say what the chip does.
    illegal = any(f.rule == LEGALITY and f.status == "FAIL" for f in report.findings)
    withheld = "PS008 does not hold" if illegal else "a current may wrap around (PS006)"
    kept = None if illegal or unproved(bounds) else golden
    return Build(report, compiled, kept, lava, draft.dead, options, "" if kept else withheld)


@contextmanager
def _kept(executor: str, findings: list[Finding]) -> Iterator[None]:
    """Keep the verdict where an executor gives no result, whatever the reason: it was not run."""
    try:
        yield
    except Exception as e:
        if os.environ.get("PURESPIKE_DEBUG"):
            raise
        findings.append(not_run(executor, e))
