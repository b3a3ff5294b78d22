"""Everything that lies in a bundle, executed or compared with what follows from its network.

`purespike verify` and `purespike check` share this. The interpreter and the cpu executor run
model.nir, ONNX Runtime model.onnx, numpy alone golden_network.json, and Lava, in its guarded child,
the bundle's own program: each layer of each is compared with golden.npz. Scripts and C of a bundle
are never executed: they are compared with what this version would write, and that C is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from purespike.compiler.errors import PurespikeError
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report, ReportError
from purespike.compiler.rules.finding import Finding, Status
from purespike.compiler.rules.measure import Measured, measure
from purespike.compiler.scratch import scratch_folder
from purespike.compiler.storage import OutputError
from purespike.judge.bundle.consistency import Derived, judged, make_derived, require_recordings
from purespike.judge.bundle.differences import differences
from purespike.judge.bundle.own_program import ARRAYS, PROGRAM, Replay, run_own
from purespike.judge.bundle.runs import (
    BROKEN,
    Progress,
    Run,
    first_line,
    on_c,
    on_numpy,
    on_onnxruntime,
    on_ours,
    silent,
)
from purespike.judge.bundle.statements import expected_manifest, expected_report
from purespike.judge.executors import Recorder
from purespike.judge.fast import CrossCheck
from purespike.targets.agreement import not_run
from purespike.targets.bundle.bundle import MANIFEST, Bundle, unreplaced
from purespike.targets.lava.lower.schedule import Schedule

SHOWN = 10  # places of one file that do not follow
REPORT, PAGE, C = "report.json", "report.html", "c"


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


def examine(bundle: Bundle, *, lava: bool, progress: Progress = silent) -> Examination:
    """Run and compare everything in a bundle.

    Args:
        bundle: Its hashes are checked.
        lava: Whether to run Lava.
        progress: Called with (stage, done, total).

    Raises:
        BundleError: If the golden vectors are not those of the network in the bundle, or another
            one was put in its place.
    """
    with unreplaced(bundle.folder, bundle.manifest):
        return _examine(bundle, lava=lava, progress=progress)


def _examine(bundle: Bundle, *, lava: bool, progress: Progress) -> Examination:
    progress("recordings", 0, 1)
    require_recordings(bundle)
    graph, golden = bundle.graph, bundle.golden
    progress("interpreter", 0, 1)
    check = CrossCheck.of(graph, golden.inputs)
    recorder = Recorder(graph, golden.inputs.shape[1])
    measured = measure(
        graph,
        golden.inputs,
        lambda d, n: progress("cpu" if check.fast else "interpreter", d, n),
        recorder.add,
        check.fast,
    )
    again = recorder.golden(golden.inputs, golden.labels)
    runs = [*on_ours(bundle, again, check)]
    progress("ONNX Runtime", 0, 1)
    runs.append(on_onnxruntime(bundle))
    progress("numpy", 0, 1)
    runs.append(on_numpy(bundle))
    progress("files", 0, 1)
    with scratch_folder() as folder:
        derived = make_derived(bundle, again, folder)
        if (folder / C).is_dir():
            progress("C", 0, 1)
            runs.append(on_c(bundle, folder / C))
    replayed = None
    if lava and derived.program is not None and derived.plan is not None:
        try:
            replayed = run_own(
                bundle, derived.program, derived.plan, len(golden.labels), progress=progress
            )
        except OutputError:
            raise
        except PurespikeError as e:  # what was found so far is a verdict all the same
            replayed = Replay("Lava", (PROGRAM, ARRAYS), 0, (not_run("Lava", e),))
        runs.append(replayed)
    progress("report", 0, 1)
    compared = (*derived.findings, *_report(bundle, measured, derived))
    named = {f.where.partition(": ")[0] for f in compared}  # those that should lie there, too
    files = (*sorted({*bundle.manifest["files"], *named} - {MANIFEST}), MANIFEST)
    return Examination(tuple(runs), compared, measured, replayed, files)


def _report(bundle: Bundle, measured: Measured, derived: Derived) -> Iterator[Finding]:
    """PS010 for the report, its page and the manifest."""
    try:
        said = bundle.said
    except ReportError as e:
        wrong = [_place(e.found)]
    else:
        wrong = _wrong(bundle, said, measured, derived.plan)
    yield from _places(bundle, REPORT, wrong)
    yield from _places(bundle, PAGE, _page(bundle))
    try:
        found = differences(dict(bundle.manifest), expected_manifest(bundle, derived.unwritten))
        wrong = [(d.at, d.words) for d in islice(found, SHOWN)]
    except (*BROKEN, PurespikeError) as e:
        wrong = [("", f"cannot be of this bundle: {first_line(e)}")]
    yield from _places(bundle, MANIFEST, wrong)


def _wrong(
    bundle: Bundle, said: Report, measured: Measured, plan: Schedule | None
) -> list[tuple[str, str]]:
    """Every place of a report that does not follow, and what is said there."""
    if plan is None:
        return []
    try:
        follows = expected_report(bundle, measured, plan).data()
    except (*BROKEN, PurespikeError) as e:
        return [("", f"cannot be of this network: {first_line(e)}")]
    wrong = [(d.at, d.words) for d in islice(differences(dict(bundle.report), follows), SHOWN)]
    if not wrong and (bundle.folder / REPORT).read_bytes() != said.to_json().encode():
        return [("", "says the same in another form, or something twice")]
    return wrong


def _place(mistake: str) -> tuple[str, str]:
    at, _, words = mistake.partition(": ")
    return at, words


def _page(bundle: Bundle) -> list[tuple[str, str]]:
    """What is wrong with report.html."""
    if PAGE not in bundle.manifest["files"]:
        return [("", "missing")]
    try:
        page = to_html(bundle.said, bundle.golden.trace()).encode()
    except (*BROKEN, ReportError) as e:
        return [("", f"nothing follows from such a {REPORT}: {first_line(e)}")]
    same = page == (bundle.folder / PAGE).read_bytes()
    return [] if same else [("", f"differs from what follows from {REPORT} and golden.npz")]


def _places(bundle: Bundle, file: str, wrong: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    limit = "what follows from the network, the golden samples and the report"
    if not wrong:
        words = "follows from report.json and golden.npz" if file == PAGE else "nothing contradicts"
        yield judged(bundle, file, True, words, limit)
    for at, words in wrong:
        yield judged(bundle, f"{file}: {at}" if at else file, False, words, limit)
