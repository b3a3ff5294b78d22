"""A whole test set on the cpu executor: accuracy, decisions by class, rates. No torch here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.labels import checked_labels
from purespike.compiler.report.report import Accuracy, Chance
from purespike.compiler.rules.measure import decide
from purespike.errors import InputError
from purespike.flow.inputs.datafile import is_binary, peek, read_data
from purespike.targets.agreement import compare
from purespike.targets.cpu.run import Runner

BYTES = 1 << 28  # of spikes, a byte each, that a batch may hold
REPLAYED = 8  # samples of a test set that the interpreter runs again

Decisions = NDArray[np.int64]


@dataclass(frozen=True)
class TestSet:
    """What a network did on a test set.

    Attributes:
        samples: How many ran.
        seconds: The executor took, on the wall.
        accuracy: None without labels.
        chance: What is right without looking; None without labels.
        classes: (class, samples of it, right ones, samples decided for it).
        rates: Spikes per neuron and step, by firing layer.
        replayed: Samples that the interpreter ran again.
        different: The first layer in which it differed, in words; empty if none did.
    """

    samples: int
    seconds: float
    accuracy: Accuracy | None
    chance: Chance | None
    classes: tuple[tuple[int, int, int, int], ...]
    rates: dict[str, float]
    replayed: int
    different: str

    def lines(self) -> Iterator[str]:
        """The result in words."""
        each = self.samples / max(self.seconds, 1e-9)
        yield f"{self.samples} samples on the cpu executor: {each:,.0f} per second"
        if self.accuracy is not None and self.chance is not None:
            low, high = (100 * x for x in self.accuracy.interval)
            note = self.chance.note(self.accuracy)
            yield (
                f"{self.accuracy.correct} right: {100 * self.accuracy.rate:.2f} % "
                f"(95 % interval {low:.2f} to {high:.2f} %)" + (f"; {note}" if note else "")
            )
        else:
            yield "no labels: no accuracy"
        if not self.different:
            yield (
                f"the interpreter ran {self.replayed} of them again: every spike and membrane of "
                "every layer is equal"
            )


def run_test_set(
    graph: Graph,
    path: Path,
    samples: int | None = None,
    *,
    progress: Callable[[str, int, int], None],
) -> TestSet:
    """Run the samples of a data file, batch by batch in bounded memory.

    Args:
        graph: A compiled network, the part on the chip.
        path: A .npz file: inputs (T, B, *shape) of 0 and 1, perhaps labels (B,).
        samples: How many; None for all.
        progress: Called with (stage, done, total).

    Raises:
        InputError: If the data is not for this network.
        LabelError: If a label is none of its classes.
        CpuError: If the executor has no form for the network.
    """
    x, labels, classes = _data(graph, path)
    total = min(samples or x.shape[1], x.shape[1])
    runner = Runner(graph)
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    fires = {n.name: 0.0 for n in neurons if isinstance(n.op, Neuron) and n.op.fires}
    width = graph.steps * sum(int(np.prod(n.output.shape)) for n in neurons)
    batch = int(np.clip(BYTES // max(1, width), 1, total))
    decisions: list[Decisions] = []
    seconds = 0.0
    for start in range(0, total, batch):
        part = x[:, start : min(start + batch, total)]
        began = time.perf_counter()
        trace = runner.run(part)
        seconds += time.perf_counter() - began
        decisions.append(decide(graph, trace))
        for name in fires:
            fires[name] += float(trace.values[name].mean()) * part.shape[1]
        progress("test set", start + part.shape[1], total)
    decided = np.concatenate(decisions)
    again = min(REPLAYED, total)
    return TestSet(
        total,
        seconds,
        None if labels is None else Accuracy("cpu", int((decided == labels[:total]).sum()), total),
        None if labels is None else Chance(classes, _commonest(labels[:total]), total),
        () if labels is None else tuple(_by_class(decided, labels[:total], classes)),
        {name: spikes / total for name, spikes in fires.items()},
        again,
        _differs(graph, x[:, np.linspace(0, total - 1, again).astype(int)]),
    )


def _data(graph: Graph, path: Path) -> tuple[NDArray[Any], Decisions | None, int]:
    """The inputs, labels and number of classes."""
    header = peek(path)  # what does not fit is refused before the inputs are read
    if len(graph.inputs) != 1:
        raise InputError("the network has several inputs", where=str(path))
    wanted = (graph.steps, *graph.inputs[0].shape)
    if (header.steps, *header.shape) != wanted:
        raise InputError(
            "the data is not for this network",
            where=str(path),
            found=f"inputs of {header.steps} steps, {header.shape} each",
            allowed=f"{graph.steps} steps, {graph.inputs[0].shape} each",
        )
    classes = int(np.prod(graph.edge(graph.outputs[0]).shape))
    labels = header.labels
    if labels is not None:
        labels = checked_labels(labels, header.samples, str(path), classes, "the network's output")
    x = read_data(path)["inputs"]
    if not is_binary(x):
        raise InputError(
            "the network on the chip receives spikes",
            where=str(path),
            found=f"values of {x.min():g} to {x.max():g}",
            allowed="0 and 1",
            remedy="encode the data as spikes; what a host encoder sends is what the chip receives",
        )
    return x, labels, classes


def _commonest(labels: Decisions) -> int:
    return int(np.bincount(labels).max())


def _by_class(
    decided: Decisions, labels: Decisions, classes: int
) -> Iterator[tuple[int, int, int, int]]:
    for k in range(classes):
        of = labels == k
        yield k, int(of.sum()), int((decided[of] == k).sum()), int((decided == k).sum())


def _differs(graph: Graph, x: NDArray[Any]) -> str:
    """Where the interpreter differs on these samples."""
    reference = run(graph, x)
    found: Trace = Runner(graph, membranes=True).run(x)
    names = {n.name for n in graph.nodes if isinstance(n.op, Neuron)}
    spikes = {n: v for n, v in found.values.items() if n in names}
    for row in compare(reference, spikes, found.membranes):
        if row.different:
            return f"{row.layer}: {row.different} of {row.values} {row.what}, {row.words}"
    return ""
