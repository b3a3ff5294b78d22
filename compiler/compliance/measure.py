"""Run a graph over a whole test set in batches and keep what the report needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.compliance.finding import SPIKE_RUN, Finding
from purespike.compiler.compliance.rules import check_run
from purespike.compiler.counts import Counts, measured_counts
from purespike.compiler.domain import Array
from purespike.compiler.interpret import Trace, run
from purespike.compiler.ir import Graph
from purespike.compiler.ops import Neuron

BATCH = 64


@dataclass(frozen=True)
class Measured:
    """What a graph did over a test set.

    Attributes:
        decisions: Class of each sample (B,): arg max of the readout, or of the spike counts.
        counts: Operations per sample, by node.
        rates: Spikes per neuron and step, by firing layer.
        findings: PS002, one for each synapse; a broken one carries its witness.
        samples: How many ran.
    """

    decisions: NDArray[np.int64]
    counts: dict[str, Counts]
    rates: dict[str, float]
    findings: tuple[Finding, ...]
    samples: int


def measure(
    graph: Graph, x: NDArray[Any], progress: Callable[[int, int], None] = lambda done, n: None
) -> Measured:
    """Run ``graph`` on x (T, B, *shape)."""
    decisions: list[NDArray[np.int64]] = []
    counts = {n.name: Counts() for n in graph.nodes}
    spikes = {n.name: 0.0 for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires}
    findings: dict[str, Finding] = {}
    total = x.shape[1]
    for start, trace in traces(graph, x):
        decisions.append(decide(graph, trace))
        for node in graph.nodes:
            counts[node.name] += measured_counts(graph, node, trace)
        for name in spikes:
            spikes[name] += float(trace.values[name].mean()) * trace.values[name].shape[1]
        for finding in check_run(graph, trace):
            if findings.get(finding.where, finding).status == "PASS":
                findings[finding.where] = finding
        progress(min(start + BATCH, total), total)
    where = f"all {total} samples, {graph.steps} steps each: only 0 and 1"
    return Measured(
        np.concatenate(decisions),
        {name: c.times(1 / total) for name, c in counts.items()},
        {name: s / total for name, s in spikes.items()},
        tuple(
            Finding(SPIKE_RUN, f.where, "PASS", where, f.limit) if f.status == "PASS" else f
            for f in findings.values()
        ),
        total,
    )


def traces(graph: Graph, x: NDArray[Any]) -> Iterator[tuple[int, Trace]]:
    """(index of the first sample, trace of every edge) batch by batch: bounded memory."""
    for start in range(0, x.shape[1], BATCH):
        yield start, run(graph, x[:, start : start + BATCH])


def decide(graph: Graph, trace: Trace) -> NDArray[np.int64]:
    """The class of each sample: what the host computes from the first output."""
    values: Array = trace.values[graph.outputs[0]]
    node = graph.producer(graph.outputs[0])
    fires = node is not None and isinstance(node.op, Neuron) and node.op.fires
    scores = values.sum(axis=0) if fires else values[-1]
    classes: NDArray[np.int64] = scores.reshape(len(scores), -1).argmax(axis=1)
    return classes
