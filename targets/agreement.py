"""PS009 and PS010: do all executors agree, and do all branches of a join arrive together?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.compliance.finding import EXECUTORS, TIMING, Finding, verdict
from purespike.compiler.domain import Array
from purespike.compiler.interpret import Trace
from purespike.targets.lava.schedule import Schedule


@dataclass(frozen=True)
class Mismatch:
    """How often one layer differs between two executors.

    Attributes:
        layer: Name of the neuron.
        what: ``spikes`` or ``membranes``.
        values: How many were compared.
        different: How many differ.
        first: (step, sample, ...) of the first difference in time; None if there is none.
    """

    layer: str
    what: str
    values: int
    different: int
    first: tuple[int, ...] | None


def compare(
    reference: Trace, spikes: Mapping[str, Array], membranes: Mapping[str, Array]
) -> list[Mismatch]:
    """Each recorded layer against the interpreter's trace, bit for bit.

    Args:
        reference: Trace of the interpreter on the same samples.
        spikes: (T, B, *shape) by neuron.
        membranes: (T, B, *shape) by neuron, in the neuron's own units.
    """
    return [
        _compare(name, what, values, expected[name])
        for what, found, expected in (
            ("spikes", spikes, reference.values),
            ("membranes", membranes, reference.membranes),
        )
        for name, values in found.items()
    ]


def _compare(layer: str, what: str, found: NDArray[Any], expected: Array) -> Mismatch:
    if found.shape != expected.shape:
        raise ValueError(f"{layer}: cannot compare {found.shape} with {expected.shape}")
    wrong = found != expected
    first = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.any() else None
    return Mismatch(layer, what, int(found.size), int(wrong.sum()), first)


def agreement(executor: str, samples: int, rows: Iterable[Mismatch]) -> Iterator[Finding]:
    """PS010: one finding for each layer that an executor computed."""
    for row in rows:
        first = f", first at (step, sample, ...) {row.first}" if row.first else ""
        yield verdict(
            EXECUTORS,
            f"{executor}: {row.layer}",
            row.different == 0,
            f"{row.different} of {row.values} {row.what} differ over {samples} samples{first}",
            limit="0",
            remedy="this is a defect of the lowering or of the executor: please report it",
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
            limit=f"step {plan.depth[a.neuron]}",
            unit="steps",
            remedy="delay the shorter branch",
        )
    if not (joins or late):
        yield verdict(TIMING, "whole network", True, "no joins")
