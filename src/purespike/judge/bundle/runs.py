"""The runs of a bundle's own files, each compared with golden.npz layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.rules.finding import EXECUTORS, Finding, verdict
from purespike.compiler.scratch import scratch_folder
from purespike.judge.fast import CrossCheck
from purespike.targets.agreement import Mismatch, agreement, compare, joined, not_run
from purespike.targets.bundle.bundle import Bundle, Golden
from purespike.targets.bundle.golden_network import JSON, NPZ, replay_rows
from purespike.targets.c.run import CRunError, replay_program, run_c
from purespike.targets.onnx.run import run_onnx

BROKEN = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    StopIteration,
)
BYTES = 1 << 29  # of what ONNX Runtime records at a time: 32 per neuron, step and sample
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
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


def compared_run(
    executor: str,
    files: tuple[str, ...],
    bundle: Bundle,
    rows: Iterable[Mismatch],
    samples: int | None = None,
) -> Run:
    """A run that was compared with golden.npz, on all samples or on some."""
    samples = samples or len(bundle.golden.labels)
    return Run(executor, files, samples, layer_findings(f"{executor} on {files[0]}", samples, rows))


def layer_findings(executor: str, samples: int, rows: Iterable[Mismatch]) -> tuple[Finding, ...]:
    """PS010 about files that lie there: what differs was most likely changed by someone."""
    remedy = "compile again; if no file was changed after the compile, please report this"
    return tuple(replace(f, remedy=remedy) for f in agreement(executor, samples, rows))


def failed_run(executor: str, files: tuple[str, ...], error: PurespikeError) -> Run:
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


def on_ours(bundle: Bundle, again: Golden, check: CrossCheck) -> tuple[Run, Run]:
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
            compared_run("interpreter", files, bundle, few, some),
            compared_run("cpu", files, bundle, rows),
        )
    whole = compared_run("interpreter", files, bundle, rows)
    if check.executed is None:
        why = check.error or PurespikeError("the cpu executor did not run")
        return whole, Run("cpu", files, 0, (not_run("cpu", why),))
    few = compare(part, check.executed.values, check.executed.membranes)
    return whole, compared_run("cpu", files, bundle, few, some)


def on_onnxruntime(bundle: Bundle) -> Run:
    """model.onnx on ONNX Runtime, as many samples at a time as fit into `BYTES`."""
    files, golden = ("model.onnx",), bundle.golden
    path = bundle.folder / files[0]
    if files[0] not in bundle.manifest["files"]:
        return failed_run("ONNX Runtime", files, PurespikeError("the bundle has no model.onnx"))
    neurons = sum(a[0, 0].size for a in golden.membranes.values())
    size = max(1, BYTES // max(1, 32 * bundle.graph.steps * neurons))
    numbers = np.arange(len(golden.labels))

    def part(samples: NDArray[np.int64]) -> list[Mismatch]:
        some = golden.part(samples)
        run = run_onnx(path, bundle.graph, some.inputs)
        spikes = {n: run.values[n] for n in some.spikes}
        return compare(some.trace(), spikes, {n: run.membranes[n] for n in some.membranes})

    try:
        cut = (numbers[k : k + size] for k in range(0, len(numbers), size))
        rows = joined([(samples, part(samples)) for samples in cut])
    except BROKEN as e:
        return failed_run(
            "ONNX Runtime", files, PurespikeError("it does not run", found=first_line(e))
        )
    except PurespikeError as e:
        if "not installed" in e.message:
            raise
        return failed_run("ONNX Runtime", files, e)
    return compared_run("ONNX Runtime", files, bundle, rows)


def on_c(bundle: Bundle, folder: Path) -> Run:
    """The C program of model.nir, compiled and run: its own check, and every layer.

    Args:
        bundle: What was read; nothing of its c/ is compiled or run.
        folder: The program as it follows from model.nir and the golden inputs.
    """
    files = tuple(sorted(f"c/{p.name}" for p in folder.iterdir()))
    golden = bundle.golden
    try:
        with scratch_folder() as scratch:
            own = replay_program(folder, scratch)
        ran = run_c(bundle.graph, golden.inputs)
    except CRunError as e:
        return Run("C", files, 0, (not_run("C", e),))
    rows = compare(golden.trace(), ran.values, ran.membranes)
    found = layer_findings("C on model.nir", len(golden.labels), rows)
    checked = verdict(EXECUTORS, "C: make check", own.equal, own.text, limit="every value equal")
    return Run("C", files, len(golden.labels), (*found, checked))


def on_numpy(bundle: Bundle) -> Run:
    """golden_network.json on numpy alone."""
    files = (JSON, NPZ)
    try:
        rows = replay_rows(bundle.folder)
    except PurespikeError as e:
        return failed_run("numpy", files, e)
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
    return compared_run("numpy", files, bundle, found)


def first_line(e: Exception) -> str:
    """What went wrong, in short."""
    return f"{type(e).__name__}: {str(e).splitlines()[0][:100] if str(e) else ''}"
