"""Everything that lies in a bundle, executed or compared with what follows from its network.

`purespike verify` and `purespike check` share this. The interpreter and the cpu executor run
model.nir, ONNX Runtime model.onnx, numpy alone golden_network.json, and Lava, in its guarded child,
the bundle's own program: each layer of each is compared with golden.npz. Scripts of a bundle are
never executed: they are compared with what this version would write.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.report.formats.schema import mistakes
from purespike.compiler.report.page.page import to_html
from purespike.compiler.rules.finding import EXECUTORS, Finding, Status, verdict
from purespike.compiler.rules.measure import Measured, measure
from purespike.judge.bundle.consistency import Derived, judged, make_derived, require_recordings
from purespike.judge.bundle.statements import differences, expected_manifest, expected_report
from purespike.judge.evidence import Recorder, lava_decisions
from purespike.judge.fast import CrossCheck
from purespike.targets.agreement import Mismatch, agreement, compare, not_run
from purespike.targets.bundle.bundle import MANIFEST, Bundle, Golden
from purespike.targets.bundle.golden_network import JSON, NPZ, replay_rows
from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.lava.program.check import ProgramError
from purespike.targets.lava.program.file import read as read_program
from purespike.targets.lava.program.file import same
from purespike.targets.lava.program.program import Program, Source, output_shape
from purespike.targets.lava.run.guard import LavaRunError
from purespike.targets.lava.run.simulate import LavaRun, run_program
from purespike.targets.onnx.run import run_onnx

SHOWN = 10  # places of one file that do not follow
PROGRAM, ARRAYS, REPORT, PAGE = (
    "lava/program.json",
    "lava/arrays.npz",
    "report.json",
    "report.html",
)
_BROKEN = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    StopIteration,
)
Progress = Callable[[str, int, int], None]


def quiet(stage: str, done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True)
class Run:
    """Files of the bundle that one executor ran.

    Attributes:
        executor: Its name.
        files: What it ran.
        samples: Golden samples.
        findings: PS010, one per recording.
    """

    executor: str
    files: tuple[str, ...]
    samples: int
    findings: tuple[Finding, ...]

    @property
    def layers(self) -> int:
        """How many were compared."""
        return len({f.where for f in self.findings})


@dataclass(frozen=True)
class Replay(Run):
    """A run of the bundle's own Lava program.

    Attributes:
        lava: What Lava did.
        correct: Samples whose label it decides for; None where the report knows of no labels.
        own: Whether the program is the one that follows from model.nir and golden.npz.
    """

    lava: LavaRun | None = None
    correct: int | None = None
    own: bool = False


@dataclass(frozen=True)
class Examination:
    """What was found out about a bundle.

    Attributes:
        runs: By executor.
        compared: PS010 for every file, at its name, or at a place in it.
        measured: What the interpreter did on the golden samples.
        lava: The Lava run, if there was one.
    """

    runs: tuple[Run, ...]
    compared: tuple[Finding, ...]
    measured: Measured
    lava: Replay | None = None
    files: tuple[str, ...] = field(default=())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them."""
        return (*(f for run in self.runs for f in run.findings), *self.compared)

    def by_file(self) -> Iterator[tuple[str, tuple[str, ...], Status, str]]:
        """File, executors that ran it, worst status of its comparison and runs, and words."""
        for name in self.files:
            ran = [run for run in self.runs if name in run.files]
            own = [f for f in self.compared if f.where.partition(": ")[0] == name]
            found = [*own, *(f for run in ran for f in run.findings)]
            status = _worst(found)
            first = next((f for f in own if f.status == _worst(own)), None)
            yield name, tuple(r.executor for r in ran), status, first.measured if first else ""


def _worst(findings: Sequence[Finding]) -> Status:
    order: tuple[Status, ...] = ("FAIL", "NOT RUN", "PASS")
    return next((s for s in order if any(f.status == s for f in findings)), "NOT RUN")


def examine(bundle: Bundle, *, lava: bool, progress: Progress = quiet) -> Examination:
    """Run and compare everything in a bundle.

    Args:
        bundle: Its hashes are checked.
        lava: Whether to run Lava.
        progress: Called with (stage, done, total).

    Raises:
        BundleError: If the golden vectors are not those of the network in the bundle.
    """
    require_recordings(bundle)
    graph, golden = bundle.graph, bundle.golden
    check = CrossCheck.of(graph, golden.inputs)
    recorder = Recorder(graph)
    measured = measure(
        graph,
        golden.inputs,
        lambda d, n: progress("cpu" if check.fast else "interpreter", d, n),
        recorder.add,
        check.fast,
    )
    again = recorder.golden(golden.inputs, golden.labels)
    runs = [*_ours(bundle, again, check), _onnx(bundle), _numpy(bundle)]
    with tempfile.TemporaryDirectory(prefix="purespike-") as name:
        derived = make_derived(bundle, again, Path(name))
    replayed = None
    if lava and derived.program is not None and derived.plan is not None:
        try:
            replayed = run_own(
                bundle, derived.program, derived.plan, len(golden.labels), progress=progress
            )
        except PurespikeError as e:  # what was found so far is a verdict all the same
            replayed = Replay("Lava", (PROGRAM, ARRAYS), 0, (not_run("Lava", e),))
        runs.append(replayed)
    compared = (*derived.findings, *_report(bundle, measured, derived))
    named = {f.where.partition(": ")[0] for f in compared}  # those that should lie there, too
    files = (*sorted({*bundle.manifest["files"], *named} - {MANIFEST}), MANIFEST)
    return Examination(tuple(runs), compared, measured, replayed, files)


def _run(
    executor: str,
    files: tuple[str, ...],
    bundle: Bundle,
    rows: Iterable[Mismatch],
    samples: int | None = None,
) -> Run:
    samples = samples or len(bundle.golden.labels)
    return Run(executor, files, samples, _agreement(f"{executor} on {files[0]}", samples, rows))


def _agreement(executor: str, samples: int, rows: Iterable[Mismatch]) -> tuple[Finding, ...]:
    """PS010 about files that lie there: what differs was most likely changed by someone."""
    remedy = "compile again; if no file was changed after the compile, please report this"
    return tuple(replace(f, remedy=remedy) for f in agreement(executor, samples, rows))


def _failed(executor: str, files: tuple[str, ...], error: PurespikeError) -> Run:
    """A file that its executor refuses."""
    words = f"{error.message}: {error.found}" if error.found else error.message
    finding = verdict(
        EXECUTORS,
        f"{executor} on {files[0]}",
        False,
        words,
        limit="a file that runs",
        remedy=error.remedy or "compile again; the file was changed after the compile",
    )
    return Run(executor, files, 0, (finding,))


def _ours(bundle: Bundle, again: Golden, check: CrossCheck) -> tuple[Run, Run]:
    """The interpreter and the cpu executor on model.nir; one ran all samples, the other some.

    Args:
        bundle: What was read.
        again: What ran on all golden samples records: the cpu executor, or the interpreter.
        check: What both did on some of them.
    """
    files, golden = ("model.nir",), bundle.golden
    rows = compare(golden.trace(), again.spikes, again.membranes)
    part, some = golden.part(check.samples).trace(), len(check.samples)
    if check.fast is not None:
        few = compare(part, check.interpreted.values, check.interpreted.membranes)
        return (
            _run("interpreter", files, bundle, few, some),
            _run("cpu", files, bundle, rows),
        )
    whole = _run("interpreter", files, bundle, rows)
    if check.executed is None:
        why = check.error or PurespikeError("the cpu executor did not run")
        return whole, Run("cpu", files, 0, (not_run("cpu", why),))
    few = compare(part, check.executed.values, check.executed.membranes)
    return whole, _run("cpu", files, bundle, few, some)


def _onnx(bundle: Bundle) -> Run:
    files, golden = ("model.onnx",), bundle.golden
    path = bundle.folder / files[0]
    if files[0] not in bundle.manifest["files"]:
        return _failed("ONNX Runtime", files, PurespikeError("the bundle has no model.onnx"))
    try:
        run = run_onnx(path, bundle.graph, golden.inputs)
        rows = compare(
            golden.trace(),
            {n: run.values[n] for n in golden.spikes},
            {n: run.membranes[n] for n in golden.membranes},
        )
    except _BROKEN as e:
        return _failed("ONNX Runtime", files, PurespikeError("it does not run", found=_line(e)))
    except PurespikeError as e:
        if "not installed" in e.message:
            raise
        return _failed("ONNX Runtime", files, e)
    return _run("ONNX Runtime", files, bundle, rows)


def _numpy(bundle: Bundle) -> Run:
    files = (JSON, NPZ)
    try:
        rows = replay_rows(bundle.folder)
    except PurespikeError as e:
        return _failed("numpy", files, e)
    found = [
        Mismatch(
            row.layer,
            row.what,
            row.values,
            row.different,
            row.first,
            (float(row.expected), float(row.found)) if row.first else (),
        )
        for row in rows
    ]
    return _run("numpy", files, bundle, found)


def _line(e: Exception) -> str:
    return f"{type(e).__name__}: {str(e).splitlines()[0][:100] if str(e) else ''}"


def run_own(
    bundle: Bundle,
    follows: Program,
    plan: Schedule,
    samples: int,
    *,
    stock: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress = quiet,
) -> Replay:
    """Run the first golden samples in the bundle's own Lava program, every layer compared.

    Args:
        bundle: Its hashes are checked.
        follows: The program that follows from its network, for all golden samples: what the own
            one may record, and for how long it may run.
        plan: The schedule of that.
        samples: How many.
        stock: Whether Lava's own convolution model computes.
        jobs: Runs at a time; see `purespike.targets.lava.run.simulate.simulate`.
        scheduler: Address of a Dask scheduler.
        progress: Called with (stage, done, total).
    """
    golden, files = bundle.golden, (PROGRAM, ARRAYS)
    try:
        own = read_program(bundle.folder / "lava")
        _require_alike(own, follows)
    except ProgramError as e:
        return _refused(_failed("Lava", files, e))
    try:
        run = run_program(
            replace(own, conv="stock") if stock else own,
            plan,
            len(golden.inputs),
            min(samples, len(golden.labels)),
            jobs=jobs,
            scheduler=scheduler,
            on_progress=lambda d, n: progress("Lava", d, n),
        )
    except LavaRunError as e:
        if same(own, follows):
            raise  # this machine, not the file
        return _refused(_failed("Lava", files, e))
    labels = golden.labels[:samples]
    part = golden.part(np.arange(len(labels))).trace()
    rows = compare(part, run.spikes, run.membranes)
    name = "Lava, stock convolution" if stock else "Lava"
    found = _agreement(f"{name} on {PROGRAM}", len(labels), rows)
    labelled = bool(bundle.report.get("accuracy"))
    correct = int((lava_decisions(bundle.graph, run) == labels).sum()) if labelled else None
    return Replay(name, files, len(labels), found, run, correct, same(own, follows))


def _refused(run: Run) -> Replay:
    return Replay(run.executor, run.files, run.samples, run.findings)


def _require_alike(own: Program, follows: Program) -> None:
    """Raise unless a program runs as long and records the same as the one that follows.

    Raises:
        ProgramError: Then it is not the program of this network and these samples.
    """

    def said(program: Program) -> dict[str, object]:
        processes = {p.name: p for p in program.processes}
        recorded = {n: output_shape(processes[n]) for n in (*program.record, *program.record_v)}
        sources = [p for p in program.processes if isinstance(p, Source)]
        return {
            "steps": program.steps,
            "record": program.record,
            "record_v": program.record_v,
            "record_v_interval": (program.record_v_interval, program.record_v_offset),
            "recorded shapes": recorded,
            "processes": sorted(processes),
            "spikes": [None if s.spikes is None else s.spikes.shape for s in sources],
        }

    found, wanted = said(own), said(follows)
    for key, value in wanted.items():
        if found[key] != value:
            raise ProgramError(
                "the Lava program is not that of this network and these samples",
                where=PROGRAM,
                found=f"another {key}",
                allowed="what follows from model.nir and golden.npz",
                remedy="compile again; the file was changed after the compile",
            )


def _report(bundle: Bundle, measured: Measured, derived: Derived) -> Iterator[Finding]:
    """PS010 for the report, its page and the manifest."""
    said = bundle.report
    wrong = [_place(m) for m in islice(mistakes(said), SHOWN)]
    if not wrong and derived.plan is not None:
        try:
            follows = expected_report(bundle, measured, derived.plan)
            wrong = [(d.at, d.words) for d in islice(differences(said, follows), SHOWN)]
        except (*_BROKEN, PurespikeError) as e:
            wrong = [("", f"cannot be of this network: {_line(e)}")]
        plain = json.dumps(said, indent=1, sort_keys=True, allow_nan=False) + "\n"
        if not wrong and (bundle.folder / REPORT).read_bytes() != plain.encode():
            wrong = [("", "says the same in another form, or something twice")]
    yield from _places(bundle, REPORT, wrong)
    yield from _places(bundle, PAGE, _page(bundle))
    try:
        found = differences(dict(bundle.manifest), expected_manifest(bundle, derived.unwritten))
        wrong = [(d.at, d.words) for d in islice(found, SHOWN)]
    except (*_BROKEN, PurespikeError) as e:
        wrong = [("", f"cannot be of this bundle: {_line(e)}")]
    yield from _places(bundle, MANIFEST, wrong)


def _place(mistake: str) -> tuple[str, str]:
    at, _, words = mistake.partition(": ")
    return at, words


def _page(bundle: Bundle) -> list[tuple[str, str]]:
    """What is wrong with report.html."""
    if PAGE not in bundle.manifest["files"]:
        return [("", "missing")]
    try:
        page = to_html(bundle.report, bundle.golden.spikes).encode()
    except _BROKEN as e:
        return [("", f"nothing follows from such a {REPORT}: {_line(e)}")]
    same = page == (bundle.folder / PAGE).read_bytes()
    return [] if same else [("", f"differs from what follows from {REPORT} and golden.npz")]


def _places(bundle: Bundle, file: str, wrong: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    limit = "what follows from the network, the golden samples and the report"
    if not wrong:
        words = "follows from report.json and golden.npz" if file == PAGE else "nothing contradicts"
        yield judged(bundle, file, True, words, limit)
    for at, words in wrong:
        yield judged(bundle, f"{file}: {at}" if at else file, False, words, limit)
