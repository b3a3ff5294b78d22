"""What every executor did on the same samples, side by side. No torch here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.rules.finding import EXECUTORS, Finding
from purespike.compiler.rules.measure import Fast, traces
from purespike.compiler.wording import RUN_LAVA
from purespike.judge.fast import fast
from purespike.targets.agreement import Mismatch, compare
from purespike.targets.bundle.bundle import Golden
from purespike.targets.c.run import run_c
from purespike.targets.lava.run.simulate import LavaRun
from purespike.targets.nir.document import Document
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.nir.read import read_document
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.run import run_onnx


def make_golden(
    graph: Graph, inputs: NDArray[Any], labels: NDArray[np.int64], fast: Fast | None = None
) -> Golden:
    """What the integer graph does on the samples (T, B, *shape), by the interpreter or ``fast``."""
    recorder = Recorder(graph, inputs.shape[1])
    for _, trace in traces(graph, inputs, recorder.neurons, fast):
        recorder.add(trace)
    return recorder.golden(inputs, labels)


class Recorder:
    """Keeps what golden vectors hold of the traces of batches, shown one after the other.

    Args:
        graph: A network in integers; what runs on the host is left out.
        samples: How many are kept, the first ones; no fewer are shown.
    """

    def __init__(self, graph: Graph, samples: int) -> None:
        self._done, self._samples = 0, samples
        neurons = [n for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"]
        self.neurons = [n.name for n in neurons]
        self.firing = [n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires]
        self.spikes: dict[str, NDArray[np.uint8]] = {}
        self.membranes: dict[str, NDArray[np.int32]] = {}

    def add(self, trace: Trace) -> None:
        """The next batch."""
        if self._done == self._samples:
            return
        shown = next(iter(trace.membranes.values())).shape[1]
        for name in self.firing:
            self._keep(self.spikes, name, trace.values[name], np.uint8)
        for name in self.neurons:
            self._keep(self.membranes, name, trace.membranes[name], np.int32)
        self._done = min(self._done + shown, self._samples)

    def _keep(
        self, kept: dict[str, NDArray[Any]], name: str, values: NDArray[Any], kind: type[Any]
    ) -> None:
        """Each batch goes where it stays: gathered first, all of them would be held twice."""
        part = values[:, : self._samples - self._done]
        if part.shape[1] == self._samples:
            kept[name] = part.astype(kind, copy=False)
            return
        if name not in kept:
            kept[name] = np.empty((len(part), self._samples, *part.shape[2:]), kind)
        kept[name][:, self._done : self._done + part.shape[1]] = part

    def golden(self, inputs: NDArray[Any], labels: NDArray[np.int64]) -> Golden:
        """All batches, with the samples (T, B, *shape) that they were of."""
        return Golden(inputs.astype(np.uint8), labels, self.spikes, self.membranes)


def encode(graph: Graph, x: NDArray[Any]) -> NDArray[Any]:
    """What the chip receives (T, B, ...): the inputs, or the spikes of the encoder on the host."""
    chip = chip_part(graph)
    if chip is graph:
        return x
    name = chip.inputs[0].name
    host = replace(graph, nodes=tuple(n for n in graph.nodes if n.role == "host"), outputs=(name,))
    parts = [trace.values[name] for _, trace in traces(host, x, {name})]
    sent: NDArray[Any] = np.concatenate(parts, axis=1).astype(np.uint8)
    return sent


def compare_onnx(graph: Graph, golden: Golden) -> list[Mismatch]:
    """What ONNX Runtime computes otherwise."""
    run = run_onnx(step_model(graph), graph, golden.inputs)
    return compare(
        golden.trace(),
        {n: run.values[n] for n in golden.spikes},
        {n: run.membranes[n] for n in golden.membranes if n in run.membranes},
    )


def compare_c(graph: Graph, golden: Golden) -> list[Mismatch]:
    """What the C program computes otherwise, compiled and run here."""
    ran = run_c(graph, golden.inputs)
    return compare(golden.trace(), ran.values, ran.membranes)


def compare_nir(graph: Graph, golden: Golden, written: Document | None = None) -> list[Mismatch]:
    """What the network read back from its NIR file computes otherwise.

    Args:
        graph: A network in integers.
        golden: What it does.
        written: What the bytes of its file were read back as, if they were before.
    """
    back = read_document(written or read_back(to_bytes(graph)))
    again = make_golden(back, golden.inputs, golden.labels, fast(back)).trace()
    return compare(golden.trace(), again.values, again.membranes)


def compare_lava(
    graph: Graph, x: NDArray[Any], run: LavaRun, fast: Fast | None = None
) -> list[Mismatch]:
    """Every layer that Lava computed against the interpreter or ``fast``, over all its samples."""
    rows: dict[tuple[str, str], Mismatch] = {}
    for start, trace in traces(graph, x, {*run.spikes, *run.membranes}, fast):
        stop = start + next(iter(trace.values.values())).shape[1]
        for row in compare(
            trace,
            {n: v[:, start:stop] for n, v in run.spikes.items()},
            {n: v[:, start:stop] for n, v in run.membranes.items()},
        ):
            if row.first:
                row = row.at(row.first[0], row.first[1] + start, *row.first[2:])
            first, at, seen = row.first, row.at_first, row.traces
            key = (row.layer, row.what)
            if key in rows:
                before = rows[key]
                row = replace(
                    row,
                    values=before.values + row.values,
                    different=before.different + row.different,
                )
                if before.first and (first is None or before.first <= first):
                    first, at, seen = before.first, before.at_first, before.traces
            rows[key] = replace(row, first=first, at_first=at, traces=seen)
    return list(rows.values())


def lava_decisions(graph: Graph, run: LavaRun) -> NDArray[np.int64]:
    """The class of each sample, from what left the simulated chip."""
    name = graph.outputs[0]
    scores = run.spikes[name].sum(axis=0) if name in run.spikes else run.membranes[name][-1]
    classes: NDArray[np.int64] = scores.reshape(len(scores), -1).argmax(axis=1)
    return classes


def not_asked_for() -> Finding:
    """PS010 of a build without Lava."""
    return Finding(EXECUTORS, "Lava", "NOT RUN", "not asked for", remedy=RUN_LAVA)
