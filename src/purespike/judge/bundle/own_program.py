"""The bundle's own Lava program, run in its guarded child and compared with golden.npz."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from purespike.judge.bundle.runs import Progress, Run, failed_run, layer_findings, silent
from purespike.judge.executors import lava_decisions
from purespike.targets.agreement import compare
from purespike.targets.bundle.bundle import Bundle, unreplaced
from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.lava.program.check import ProgramError
from purespike.targets.lava.program.file import read as read_program
from purespike.targets.lava.program.file import same
from purespike.targets.lava.program.program import Program, Source, output_shape
from purespike.targets.lava.run.guard import LavaRunError
from purespike.targets.lava.run.simulate import LavaRun, run_program

PROGRAM, ARRAYS = "lava/program.json", "lava/arrays.npz"


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


def run_own(
    bundle: Bundle,
    follows: Program,
    plan: Schedule,
    samples: int,
    *,
    stock: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress = silent,
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
        with unreplaced(bundle.folder, bundle.manifest):
            own = read_program(bundle.folder / "lava")
        _require_alike(own, follows)
    except ProgramError as e:
        return _refused(failed_run("Lava", files, e))
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
        return _refused(failed_run("Lava", files, e))
    labels = golden.labels[:samples]
    part = golden.part(np.arange(len(labels))).trace()
    rows = compare(part, run.spikes, run.membranes)
    name = "Lava, stock convolution" if stock else "Lava"
    found = layer_findings(f"{name} on {PROGRAM}", len(labels), rows)
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
