"""The first spike in which two runs on the same input differ, and how close the decision was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Neuron


@dataclass(frozen=True)
class Divergence:
    """The first spike that two graphs disagree on: in time first, then in order of evaluation."""

    node: str
    step: int
    index: tuple[int, ...]  # (sample, ...) in the layer
    before: float
    after: float
    # Before the reset, in units of the graph before; NaN where the membrane was not recorded.
    membranes: tuple[float, float]
    margin: float  # |membrane - threshold| of the graph before
    # Of both graphs at every step up to this one: membranes as above, and spikes.
    courses: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    spikes: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())

    def __str__(self) -> str:
        return (
            f"{self.node} step {self.step} index {self.index}: "
            f"{self.before:g} -> {self.after:g}, membrane {self.membranes[0]:.6g} -> "
            f"{self.membranes[1]:.6g}, margin {self.margin:.3g}"
        )


def first_divergence(
    graph: Graph,
    a: Trace,
    b: Trace,
    names: Sequence[str],
    *,
    after: Graph | None = None,
    scales: Mapping[str, float] | None = None,
) -> Divergence | None:
    """The first spike of layers ``names`` that two runs differ in.

    Args:
        graph: What trace ``a`` is of.
        a: A trace of it.
        b: The other trace.
        names: Layers that both traces hold.
        after: What ``b`` is of; None for the same graph.
        scales: By layer, what the potentials of ``after`` are multiples of (quantization).
    """
    for t in range(graph.steps):
        for name in names:
            x, y = a.values[name][t], b.values[name][t]
            if (x == y).all():
                continue
            index = tuple(int(i) for i in np.argwhere(x != y)[0])
            unit = (scales or {}).get(name, 1.0)
            before = tuple(_potential(graph, a, name, s, index) for s in range(t + 1))
            later = tuple(
                _potential(after or graph, b, name, s, index) / unit for s in range(t + 1)
            )
            ours, theirs = before[t], later[t]
            node = graph.producer(name)
            margin = float("nan")
            if node is not None and isinstance(node.op, Neuron):
                threshold = np.broadcast_to(node.op.threshold, node.output.shape)[index[1:]]
                margin = float(abs(ours - threshold))
            fired = tuple(
                tuple(float(v[s][index]) for s in range(t + 1))
                for v in (a.values[name], b.values[name])
            )
            return Divergence(
                name,
                t,
                index,
                float(x[index]),
                float(y[index]),
                (ours, theirs),
                margin,
                courses=(before, later),
                spikes=(fired[0], fired[1]),
            )
    return None


def _potential(graph: Graph, trace: Trace, name: str, t: int, index: tuple[int, ...]) -> float:
    """The membrane on which it was decided, before the reset, in units of the current."""
    node = graph.producer(name)
    if node is None or not isinstance(node.op, Neuron) or node.inputs[0] not in trace.values:
        return float("nan")
    if t and name not in trace.membranes:
        return float("nan")
    op = node.op
    unit = 2**op.fixed.fraction_bits if op.fixed else 1
    kept = trace.membranes[name][t - 1][index] if t else op.initial * unit
    kept = np.trunc(op.decay * kept) if op.fixed else op.decay * kept  # as the neuron does
    if name in trace.currents:
        return float((kept + trace.currents[name][t][index]) / unit)
    return float(kept / unit + trace.values[node.inputs[0]][t][index])
