"""PS009 and PS010: do all executors agree, and do all branches of a join arrive together?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.report.rows.stages import NEAR, Equal, ExecutorRow, Traces
from purespike.compiler.rules.finding import EXECUTORS, TIMING, Finding, verdict
from purespike.targets.lava.lower.schedule import Schedule


@dataclass(frozen=True)
class Mismatch:
    """How often one layer differs between two executors.

    Attributes:
        layer: Name of the neuron.
        what: ``spikes`` or ``membranes``.
        values: How many were compared.
        different: How many differ.
        first: (step, sample, ...) of the first difference in time; None if there is none.
        at_first: What was expected there and what was found, and for spikes the two membranes
            after the reset, in the neuron's own units, where both are known.
        traces: The neuron of the first difference in both runs; None if there is none.
    """

    layer: str
    what: str
    values: int
    different: int
    first: tuple[int, ...] | None
    at_first: tuple[float, ...] = ()
    traces: Traces | None = None

    def among(self, samples: NDArray[np.int64]) -> Mismatch:
        """The same where the samples compared were these of more."""
        if self.first is None:
            return self
        step, sample, *place = self.first
        return self.at(step, int(samples[sample]), *place)

    def at(self, step: int, sample: int, *place: int) -> Mismatch:
        """The same with another number of the sample."""
        traces = self.traces and msgspec.structs.replace(self.traces, sample=sample)
        return replace(self, first=(step, sample, *place), traces=traces)

    @property
    def words(self) -> str:
        """The first difference, or nothing."""
        if self.first is None:
            return ""
        expected, found, *v = self.at_first
        at = f"first at (step, sample, ...) {self.first}: {expected:g} -> {found:g}"
        return at + (f", membrane after the reset {v[0]:g} -> {v[1]:g}" if v else "")


@dataclass(frozen=True)
class Executor:
    """What one executor made of ``samples`` samples, layer by layer."""

    samples: int
    rows: tuple[Mismatch, ...]

    def row(self, name: str) -> ExecutorRow:
        """As the report has it: shares of equal values by layer, and the first difference."""
        layers: dict[str, dict[str, float]] = {}
        for row in self.rows:
            layers.setdefault(row.layer, {})[row.what] = 1 - row.different / max(row.values, 1)
        # In time first; the rows are in order of evaluation.
        wrong = [(r.first[0], r) for r in self.rows if r.first]
        first = min(wrong, key=lambda pair: pair[0])[1] if wrong else None
        return ExecutorRow(
            name=name,
            samples=self.samples,
            layers={layer: Equal(**shares) for layer, shares in layers.items()},
            divergence=f"{first.layer} ({first.what}), {first.words}" if first else None,
            traces=first.traces if first else None,
        )


def compare(
    reference: Trace, spikes: Mapping[str, NDArray[Any]], membranes: Mapping[str, NDArray[Any]]
) -> list[Mismatch]:
    """Each recorded layer against the interpreter's trace, bit for bit.

    Args:
        reference: Trace of the interpreter on the same samples.
        spikes: (T, B, *shape) by neuron.
        membranes: (T, B, *shape) by neuron, in the neuron's own units.
    """
    rows = [_compare(name, "spikes", v, reference.values[name]) for name, v in spikes.items()]
    for k, row in enumerate(rows):
        ours, theirs = (m.get(row.layer) for m in (reference.membranes, membranes))
        if row.first and ours is not None and theirs is not None:
            both = (float(ours[row.first]), float(theirs[row.first]))
            rows[k] = replace(row, at_first=row.at_first + both)
    rows += [
        _compare(name, "membranes", v, reference.membranes[name]) for name, v in membranes.items()
    ]
    both_runs = (reference, Trace(spikes, membranes))
    return [replace(row, traces=_traces(row, *both_runs)) if row.first else row for row in rows]


def joined(parts: Iterable[tuple[NDArray[np.int64], list[Mismatch]]]) -> list[Mismatch]:
    """The comparison of all samples, made of those of some of them.

    Args:
        parts: The numbers of the samples that were compared, and what `compare` said of them.
    """
    by_layer = zip(*([r.among(samples) for r in rows] for samples, rows in parts), strict=True)
    return [_joined(rows) for rows in by_layer]


def _joined(rows: tuple[Mismatch, ...]) -> Mismatch:
    first = min((r for r in rows if r.first), key=lambda r: r.first or (), default=rows[0])
    values, different = sum(r.values for r in rows), sum(r.different for r in rows)
    return replace(first, values=values, different=different)


def _traces(row: Mismatch, expected: Trace, found: Trace) -> Traces:
    step, sample, *place = row.first or ()
    start = max(0, step - NEAR)
    at: tuple[Any, ...] = (slice(start, step + NEAR), sample, *place)

    def course(arrays: Mapping[str, NDArray[Any]]) -> tuple[float, ...]:
        return tuple(map(float, arrays[row.layer][at])) if row.layer in arrays else ()

    return Traces(
        layer=row.layer,
        sample=sample,
        index=tuple(place),
        step=step,
        start=start,
        membrane="after the reset",
        membranes=(course(expected.membranes), course(found.membranes)),
        spikes=(course(expected.values), course(found.values)),
    )


def _compare(layer: str, what: str, found: NDArray[Any], expected: NDArray[Any]) -> Mismatch:
    if found.shape != expected.shape:
        raise ValueError(f"{layer}: cannot compare {found.shape} with {expected.shape}")
    wrong = found != expected
    if not wrong.any():
        return Mismatch(layer, what, int(found.size), 0, None)
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    at = (float(expected[first]), float(found[first]))
    return Mismatch(layer, what, int(found.size), int(wrong.sum()), first, at)


def agreement(executor: str, samples: int, rows: Iterable[Mismatch]) -> Iterator[Finding]:
    """PS010: one finding for each layer that an executor computed."""
    for row in rows:
        first = f", {row.words}" if row.first else ""
        yield verdict(
            EXECUTORS,
            f"{executor}: {row.layer}",
            row.different == 0,
            f"{row.different} of {row.values} {row.what} differ over {samples} samples{first}",
            limit="0",
            remedy="this is a defect of the lowering or of the executor: please report it",
        )


def not_run(executor: str, error: Exception) -> Finding:
    """PS010 for an executor that gave no result: what else was found is a verdict all the same."""
    if isinstance(error, PurespikeError):
        details = [error.message, error.where, error.found and f"found {error.found}"]
        return Finding(
            EXECUTORS,
            executor,
            "NOT RUN",
            "; ".join(text for text in details if text),
            limit=error.allowed,
            remedy=error.remedy,
        )
    words = error.strerror if isinstance(error, OSError) else str(error)
    return Finding(
        EXECUTORS,
        executor,
        "NOT RUN",
        f"{type(error).__name__}: {words}",
        remedy="if memory or disk space do not explain it, this is a defect: please report it",
    )


def timing(plan: Schedule) -> Iterator[Finding]:
    """PS009: one finding for each synapse that meets others at a join, or is late anywhere."""
    late = set(plan.misaligned())
    joins = plan.joins()
    for a in (*joins, *(a for a in plan.arrivals if a in late and a not in joins)):
        yield verdict(
            TIMING,
            f"{a.source} -> {a.neuron}",
            a not in late,
            f"arrives after {a.earliest} steps, delayed by {a.delay}",
            limit=f"after {plan.depth[a.neuron]}",
            unit="steps",
            remedy="delay the shorter branch",
        )
    if not (joins or late):
        yield verdict(TIMING, "whole network", True, "no joins")
