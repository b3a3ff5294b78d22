"""What every executor did on the same samples, side by side. No torch here."""

from __future__ import annotations

import math
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
from purespike.compiler.scratch import scratch_folder
from purespike.compiler.wording import RUN_LAVA
from purespike.judge.fast import fast
from purespike.targets.agreement import Mismatch, compare
from purespike.targets.bundle.bundle import Golden
from purespike.targets.c.run import run_c
from purespike.targets.lava.run.simulate import LavaRun
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.run import run_onnx


def make_golden(
    graph: Graph, inputs: NDArray[Any], labels: NDArray[np.int64], fast: Fast | None = None
) -> Golden:
    """What the integer graph does on the samples (T, B, *shape), by the interpreter or ``fast``."""
    recorder = Recorder(graph)
    for _, trace in traces(graph, inputs, recorder.membranes, fast):
        recorder.add(trace)
    return recorder.golden(inputs, labels)


class Recorder:
    """Keeps what golden vectors hold of the traces of batches, shown one after the other.

    Args:
        graph: A network in integers; what runs on the host is left out.
        samples: How many are kept, the first ones; None for all.
    """

    def __init__(self, graph: Graph, samples: int | None = None) -> None:
        self._left = math.inf if samples is None else samples
        neurons = [n for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"]
        fires = [n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires]
        self.spikes: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in fires}
        self.membranes: dict[str, list[NDArray[np.int32]]] = {n.name: [] for n in neurons}

    def add(self, trace: Trace) -> None:
        """The next batch."""
        if self._left <= 0:
            return
        self._left -= next(iter(trace.membranes.values())).shape[1]
        for name, rows in self.spikes.items():
            rows.append(trace.values[name].astype(np.uint8, copy=False))
        for name, levels in self.membranes.items():
            levels.append(trace.membranes[name].astype(np.int32, copy=False))

    def golden(self, inputs: NDArray[Any], labels: NDArray[np.int64]) -> Golden:
        """All batches, with the samples (T, B, *shape) that they were of, the first ones shown."""
        samples = inputs.shape[1]

        def joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

        return Golden(
            inputs.astype(np.uint8),
            labels,
            {name: joined(rows)[:, :samples] for name, rows in self.spikes.items()},
            {name: joined(levels)[:, :samples] for name, levels in self.membranes.items()},
        )


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


def compare_nir(graph: Graph, golden: Golden) -> list[Mismatch]:
    """What the network read back from its NIR file computes otherwise."""
    with scratch_folder() as folder:
        path = folder / "model.nir"
        write_nir(graph, path)
        back = read_nir(path)
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
            first = row.first and (row.first[0], row.first[1] + start, *row.first[2:])
            at = row.at_first
            key = (row.layer, row.what)
            if key in rows:
                before = rows[key]
                row = replace(
                    row,
                    values=before.values + row.values,
                    different=before.different + row.different,
                )
                if before.first and (first is None or before.first <= first):
                    first, at = before.first, before.at_first
            rows[key] = replace(row, first=first, at_first=at)
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
