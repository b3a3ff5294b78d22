"""Run a graph over a whole test set in batches and keep what the report needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.carried import carried
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute, Trace, lean, run
from purespike.compiler.ir.ops import SYNAPSES, Neuron
from purespike.compiler.proofs.counts import (
    Counts,
    inlets,
    measured_counts,
    spikes_by_step,
    synaptic_events,
)
from purespike.compiler.proofs.currents import Currents, find_currents
from purespike.compiler.rules.conventions import Tally, aap_cost
from purespike.compiler.rules.finding import SPIKE_RUN, Finding
from purespike.compiler.rules.graph_rules import check_run

# Runs one graph on (T, B, *shape), equal to the interpreter: the spikes of every neuron (bytes),
# the outputs, and the membranes of the neurons named.
Fast = Callable[[NDArray[Any], Collection[str]], Trace]

BATCH = 64  # samples at a time, fewer of a large network:
BYTES = 1 << 29  # of edges and membranes that a batch may hold, if it is of more than one sample


@dataclass(frozen=True)
class Measured:
    """What a graph did over a test set.

    Attributes:
        decisions: Class of each sample (B,): arg max of the readout, or of the spike counts.
        counts: Operations per sample, by node.
        rates: Spikes per neuron and step, by firing layer.
        findings: PS002, one for each synapse; a broken one carries its witness.
        samples: How many ran.
        step_rates: Spikes per neuron at each step, by firing layer.
        membranes: (lowest, highest) membrane after the reset, by neuron layer, in weights.
        conventions: The same run as other tools count it, beside the exact counts.
        events: Accumulations (T, B) at every step of every sample, by node that spikes reach.
        arrays: How often each synapse stands on the chip.
    """

    decisions: NDArray[np.int64]
    counts: dict[str, Counts]
    rates: dict[str, float]
    findings: tuple[Finding, ...]
    samples: int
    step_rates: dict[str, tuple[float, ...]]
    membranes: dict[str, tuple[float, float]]
    conventions: dict[str, Any]
    events: dict[str, Array]
    arrays: Mapping[str, int]


def measure(
    graph: Graph,
    x: NDArray[Any],
    progress: Callable[[int, int], None] = lambda done, n: None,
    watch: Callable[[Trace], None] | None = None,
    fast: Fast | None = None,
) -> Measured:
    """Run ``graph`` on x (T, B, *shape), a batch at a time, and add up what each batch did.

    Args:
        graph: Any stage.
        x: Inputs.
        progress: Called with (finished samples, samples).
        watch: Shown the trace of every batch, in order, with every neuron in it.
        fast: Runs the graph in the place of the interpreter.
    """
    decisions: list[NDArray[np.int64]] = []
    counts = {n.name: Counts() for n in graph.nodes}
    neurons = {n.name: n.op for n in graph.nodes if isinstance(n.op, Neuron)}
    spikes = {name: 0.0 for name, op in neurons.items() if op.fires}
    steps = {name: np.zeros(graph.steps) for name in spikes}
    reach = dict.fromkeys(neurons, (np.inf, -np.inf))
    findings: dict[str, Finding] = {}
    tally = Tally()
    currents = find_currents(graph)
    events: dict[str, list[Array]] = {}
    total = x.shape[1]
    done = 0
    progress(done, total)

    def reached(name: str, v: NDArray[Any]) -> None:
        fixed = neurons[name].fixed
        unit = 2**fixed.fraction_bits if fixed else 1
        low, high = reach[name]
        reach[name] = (min(low, float(v.min()) / unit), max(high, float(v.max()) / unit))

    for part in batches(graph, x):
        if fast is not None:
            trace = carried(graph, part, fast(part, neurons), _read(graph, currents))
            for name, v in trace.membranes.items():
                reached(name, v)
        else:
            kept = {*_read(graph, currents), *neurons, *graph.outputs}
            trace = run(graph, part, record=kept, lean=watch is None, watch=reached)
        if watch is not None:
            watch(trace)
        decisions.append(decide(graph, trace))
        done += len(decisions[-1])
        tally.add(graph, trace)
        for node in graph.nodes:
            at_each = synaptic_events(graph, node, trace, currents)
            counts[node.name] += measured_counts(graph, node, trace, currents, at_each)
            if at_each is not None:
                events.setdefault(node.name, []).append(at_each)
        for name in spikes:
            fired = trace.values[name]
            by_step = spikes_by_step(fired)
            spikes[name] += float(by_step.sum() / fired.size) * fired.shape[1]
            steps[name] += by_step / fired[0].size * fired.shape[1]
        for finding in check_run(graph, trace):
            if finding.where not in findings or findings[finding.where].status == "PASS":
                findings[finding.where] = finding  # the first that is broken is kept
        progress(done, total)
    where = f"all {total} samples, {graph.steps} steps each: only 0 and 1"
    each = {name: c.times(1 / total) for name, c in counts.items()}
    return Measured(
        np.concatenate(decisions),
        each,
        {name: s / total for name, s in spikes.items()},
        tuple(
            Finding(SPIKE_RUN, f.where, "PASS", where, f.limit) if f.status == "PASS" else f
            for f in findings.values()
        ),
        total,
        {name: tuple(float(r) for r in s / total) for name, s in steps.items()},
        reach,
        {**tally.data(each), "aap": aap_cost(graph, each)},
        {name: np.concatenate(parts, axis=1) for name, parts in events.items()},
        currents.arrays,
    )


def decisions(
    graph: Graph,
    x: NDArray[Any],
    progress: Callable[[int, int], None] = lambda done, n: None,
    execute: Execute = lean,
) -> NDArray[np.int64]:
    """The class of each sample of x (T, B, *shape), and nothing else: see `measure`."""
    found: list[NDArray[np.int64]] = []
    done = 0
    progress(done, x.shape[1])
    for part in batches(graph, x):
        found.append(decide(graph, execute(graph, part, {graph.outputs[0]})))
        done += part.shape[1]
        progress(done, x.shape[1])
    return np.concatenate(found)


def batches(graph: Graph, x: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Parts of x (T, B, *shape) whose traces fit into bounded memory."""
    size = batch_size(graph)
    return (x[:, start : start + size] for start in range(0, x.shape[1], size))


def _read(graph: Graph, currents: Currents) -> tuple[str, ...]:
    """The edges whose values are counted and checked: what synapses, and bare dendrites, read."""
    names = dict.fromkeys(n.inputs[0] for n in graph.nodes if isinstance(n.op, SYNAPSES))
    for node in graph.nodes:
        names |= dict.fromkeys(name for name, _, _ in inlets(graph, node, currents))
    return tuple(names)


def traces(
    graph: Graph,
    x: NDArray[Any],
    record: Collection[str] | None = None,
    fast: Fast | None = None,
) -> Iterator[tuple[int, Trace]]:
    """(index of the first sample, trace) batch by batch, in bounded memory; None records all.

    With ``fast`` a trace has the spikes of all neurons, and the membranes of those in ``record``.
    """
    batch = batch_size(graph, record)
    for start in range(0, x.shape[1], batch):
        part = x[:, start : start + batch]
        yield start, run(graph, part, record=record) if fast is None else fast(part, record or ())


def batch_size(graph: Graph, record: Collection[str] | None = None) -> int:
    """Samples of which the recorded edges and membranes fit into `BYTES`: 1 to `BATCH`."""
    values = 0
    for edge in graph.edges():
        if record is None or edge.name in record:
            node = graph.producer(edge.name)
            kinds = 1 + (isinstance(node.op, Neuron) if node else 0)
            values += kinds * math.prod(edge.shape)
    return int(np.clip(BYTES // max(1, 8 * graph.steps * values), 1, BATCH))


def decide(graph: Graph, trace: Trace) -> NDArray[np.int64]:
    """The class of each sample: what the host computes from the first output."""
    values: NDArray[Any] = trace.values[graph.outputs[0]]
    node = graph.producer(graph.outputs[0])
    fires = node is not None and isinstance(node.op, Neuron) and node.op.fires
    scores = values.sum(axis=0, dtype=np.float64) if fires else values[-1]
    classes: NDArray[np.int64] = scores.reshape(len(scores), -1).argmax(axis=1)
    return classes
