"""A whole test set on an executor: accuracy, decisions by class, rates. No torch here."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import purespike
from purespike.axes import unfit
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.labels import checked_labels
from purespike.compiler.report.rows.verdict import Accuracy, Chance
from purespike.errors import InputError
from purespike.flow.inputs.datafile import is_binary, peek, read_data
from purespike.flow.shard_runs import Store, run_here, run_on_cluster, run_side_by_side
from purespike.flow.shards import Backend, Part, Task
from purespike.targets.agreement import compare
from purespike.targets.cpu.run import Runner
from purespike.targets.lava.run.shards import default_jobs

BYTES = 1 << 28  # of spikes, a byte each, that a part may hold
MOST = 256  # samples of a part: a worker that dies, or a run that is killed, costs no more
REPLAYED = 8  # samples of a test set that the interpreter runs again

Decisions = NDArray[np.int64]
_NAMES = {"cpu": "the cpu executor", "lava": "Lava", "onnx": "ONNX Runtime"}


@dataclass(frozen=True)
class TestSet:
    """What a network did on a test set.

    Attributes:
        backend: What ran it.
        samples: How many were asked for.
        resumed: How many of them an earlier run had finished.
        seconds: The others took, on the wall.
        accuracy: None without labels.
        chance: What is right without looking; None without labels.
        classes: (class, samples of it, right ones, samples decided for it).
        rates: Spikes per neuron and step, by firing layer.
        replayed: Samples that the interpreter ran again on the cpu executor.
        different: The first layer in which two executors differed, in words; empty if none did.
    """

    backend: Backend
    samples: int
    resumed: int
    seconds: float
    accuracy: Accuracy | None
    chance: Chance | None
    classes: tuple[tuple[int, int, int, int], ...]
    rates: dict[str, float]
    replayed: int
    different: str

    def data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        right = {"accuracy": self.accuracy, "chance": self.chance}
        names = ("class", "samples", "right", "decided")
        return {
            **{k: v for k, v in vars(self).items() if k not in ("classes", *right)},
            **{k: msgspec.to_builtins(v) for k, v in right.items()},
            "classes": [dict(zip(names, row, strict=True)) for row in self.classes],
        }

    def lines(self) -> Iterator[str]:
        """The result in words."""
        ran = self.samples - self.resumed
        rate = f"{ran / max(self.seconds, 1e-9):,.{0 if ran > 10 * self.seconds else 2}f}"
        words = f": {rate} per second" if ran else ""
        words += f"; {self.resumed} of them were there from an earlier run" if self.resumed else ""
        yield f"{self.samples} samples on {_NAMES[self.backend]}{words}"
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
            if self.backend != "cpu":
                yield "the cpu executor ran all of them, too: every spike and output is equal"
            yield (
                f"the interpreter ran {self.replayed} of them again: every spike and membrane of "
                "every layer of the cpu executor is equal"
            )


def run_test_set(
    graph: Graph,
    path: Path,
    samples: int | None = None,
    *,
    backend: Backend = "cpu",
    model: bytes = b"",
    stock: bool = False,
    jobs: int | None = None,
    scheduler: str | None = None,
    shards: Path | None = None,
    progress: Callable[[str, int, int], None],
) -> TestSet:
    """Run the samples of a data file, part by part in bounded memory.

    Args:
        graph: A compiled network, the part on the chip.
        path: A .npz file: inputs (T, B, *shape) of 0 and 1, perhaps labels (B,).
        samples: How many; None for all.
        backend: What runs them: the cpu executor, Lava, or ONNX Runtime.
        model: Content of the network's model.onnx, for ``onnx``.
        stock: For ``lava``, whether Lava's own convolution model computes.
        jobs: Processes at a time; None runs the cpu executor and ONNX Runtime in this one, with
            all cores, and Lava in one for every two cores.
        scheduler: Address of a Dask scheduler, whose workers run the parts instead.
        shards: A folder for parts that are finished: what lies there is not run again.
        progress: Called with (stage, done, total).

    Raises:
        InputError: If the data is not for this network, or ``shards`` are of another run.
        UsageError: If another run writes into ``shards``.
        LabelError: If a label is none of its classes.
        CpuError, OnnxError, LavaRunError: If the executor has no form for the network, or fails.
        ClusterError, LostWorkers: If workers cannot be had, or keep dying.
    """
    if jobs is not None and scheduler is not None:
        raise UsageError(
            "the number of jobs cannot be used",
            found=f"jobs = {jobs} beside a scheduler",
            allowed="jobs on this machine; a cluster's workers decide themselves",
        )
    x, labels, classes = _data(graph, path)
    total = min(samples or x.shape[1], x.shape[1])
    if jobs is None and scheduler is None and backend == "lava":
        jobs = default_jobs()
    network = pickle.dumps(graph)
    tasks = _tasks(graph, x, total, jobs or 1, Task("", network, backend, model, stock,
                   _threads(jobs, scheduler), 0, (), np.empty(0, np.uint8)))  # fmt: skip
    with ExitStack() as held:
        store = None
        if shards is not None:
            run_of = _run_of(graph, path, backend, stock)
            store = held.enter_context(Store.opened(shards, run_of))
        kept = {t.first: p for t in tasks if store is not None and (p := store.part(t)) is not None}
        left = [t for t in tasks if t.first not in kept]
        done = sum(len(p.decisions) for p in kept.values())
        resumed, began = done, time.perf_counter()
        progress("test set", done, total)
        for task, part in _run(left, jobs, scheduler):
            if store is not None:
                store.keep(task, part)
            kept[task.first] = part
            done += task.samples
            progress("test set", done, total)
        seconds = time.perf_counter() - began
    parts = [kept[t.first] for t in tasks]
    decided = np.concatenate([p.decisions for p in parts])
    again = min(REPLAYED, total)
    shapes = {n.name: n.output.shape for n in graph.nodes}
    return TestSet(
        backend,
        total,
        resumed,
        seconds,
        None
        if labels is None
        else Accuracy.of(backend, int((decided == labels[:total]).sum()), total),
        None if labels is None else Chance.of(classes, _commonest(labels[:total]), total),
        () if labels is None else tuple(_by_class(decided, labels[:total], classes)),
        {
            name: sum(p.fired[name] for p in parts)
            / (graph.steps * total * math.prod(shapes[name]))
            for name in parts[0].fired
        },
        again,
        next((p.different for p in parts if p.different), "")
        or _differs(graph, x, np.linspace(0, total - 1, again).astype(int), progress),
    )


def _tasks(graph: Graph, x: NDArray[Any], total: int, jobs: int, form: Task) -> list[Task]:
    """The samples in parts that fit into memory, at least one for each job."""
    width = graph.steps * sum(
        math.prod(n.output.shape) for n in graph.nodes if isinstance(n.op, Neuron)
    )
    size = int(np.clip(min(BYTES // max(1, width), -(-total // jobs)), 1, MOST))
    run = f"purespike-{uuid.uuid4().hex}"
    return [
        replace(
            form,
            key=f"{run}-{first}",
            first=first,
            shape=part.shape,
            bits=np.packbits(part),
        )
        for first in range(0, total, size)
        for part in [x[:, first : min(first + size, total)].astype(np.uint8)]
    ]


def _threads(jobs: int | None, scheduler: str | None) -> int | None:
    if scheduler is not None:
        return 1  # a worker has threads of its own
    return None if jobs is None else max(1, len(os.sched_getaffinity(0)) // jobs)


def _run(
    tasks: Sequence[Task], jobs: int | None, scheduler: str | None
) -> Iterator[tuple[Task, Part]]:
    if not tasks:
        return iter(())
    if scheduler is not None:
        return run_on_cluster(tasks, scheduler)
    return run_here(tasks) if jobs is None else run_side_by_side(tasks, jobs)


def _run_of(graph: Graph, path: Path, backend: Backend, stock: bool) -> dict[str, Any]:
    """What tells the parts of this run from those of any other."""
    with path.open("rb") as file:
        data = hashlib.file_digest(file, "sha256").hexdigest()
    arrays = hashlib.sha256(str(graph).encode())
    for node in graph.nodes:
        for name, array in node.op.arrays().items():
            arrays.update(f"{node.name} {name} {array.shape}".encode())
            arrays.update(array.tobytes())
    executor = f"{backend} (stock convolution)" if stock else backend
    return {
        "network": arrays.hexdigest(),
        "data": data,
        "executor": executor,
        "purespike": purespike.__version__,
    }


def _data(graph: Graph, path: Path) -> tuple[NDArray[Any], Decisions | None, int]:
    """The inputs, labels and number of classes."""
    header = peek(path)  # what does not fit is refused before the inputs are read
    if len(graph.inputs) != 1:
        raise InputError("the network has several inputs", where=str(path))
    wanted = (graph.steps, *graph.inputs[0].shape)
    form = header.steps, header.samples, *header.shape
    if (header.steps, *header.shape) != wanted:
        raise unfit(form, graph.steps, graph.inputs[0].shape, str(path), InputError)
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


def _differs(
    graph: Graph,
    x: NDArray[Any],
    samples: NDArray[np.int64],
    progress: Callable[[str, int, int], None],
) -> str:
    """Where the interpreter differs on these samples; one is held at a time."""
    names = {n.name for n in graph.nodes if isinstance(n.op, Neuron)}
    runner = Runner(graph, membranes=True)
    for done, k in enumerate(samples):
        progress("interpreter", done, len(samples))
        part = x[:, k : k + 1]
        reference, found = run(graph, part, record=names), runner.run(part)
        spikes = {n: v for n, v in found.values.items() if n in names}
        for row in compare(reference, spikes, found.membranes):
            if row.first:
                row = row.at(row.first[0], int(k), *row.first[2:])
                return f"{row.layer}: {row.different} of {row.values} {row.what}, {row.words}"
    progress("interpreter", len(samples), len(samples))
    return ""
