"""The probe: that part of the test inputs on which passes are compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline import Compiled
from purespike.compiler.proofs.counts import dense_census, total_counts

SAMPLES = 16
OPERATIONS = 1e10  # of synapses in one run of the probe, of which there are about ten: minutes


def choose_probe(graph: Graph, x: NDArray[np.generic]) -> tuple[NDArray[Any], str]:
    """The first samples, fewer of a large network, and of a very large one the first steps alone.

    Args:
        graph: The captured graph.
        x: Test inputs (T, B, *shape).

    Returns:
        The probe, and for the ledger in what it falls short of 16 samples; empty where it does not.
    """
    dense = total_counts(dense_census(graph).values())
    work = max(dense.ac + dense.mac, 1.0)  # of one step of one sample
    whole = min(SAMPLES, x.shape[1])
    samples = int(np.clip(OPERATIONS // (work * len(x)), 1, whole))
    steps = int(np.clip(OPERATIONS // (work * samples), 1, len(x)))
    note = f"compared on {samples} of {whole} samples: a step takes {work / 1e9:.2g} G additions"
    part = x[:steps, :samples]
    probe: NDArray[Any] = part if part.dtype == np.uint8 else part.astype(np.float64)
    return probe, note if samples < whole else ""


def noted(compiled: Compiled, note: str) -> Compiled:
    """The same with a note at the first line of the ledger."""
    if not (note and compiled.ledger):
        return compiled
    first, *others = compiled.ledger
    return replace(compiled, ledger=(replace(first, notes=(*first.notes, note)), *others))
