"""One network, every executor: each value that one of them computes is the interpreter's.

`compare` sends a network through every pass, runs the integers that come out on every executor, and
counts what it compared. `numbered` is the list of networks: number k is always the same.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from helpers import random_graphs
from helpers.random_graphs import EXECUTORS as SINGLE
from helpers.random_graphs import Sample, pass_alarms
from purespike.compiler.errors import PurespikeError, Refusal
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, IRError
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import FixedPoint, Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import Compiled, PassError, compile_graph
from purespike.compiler.scratch import scratch_folder
from purespike.judge.static import is_integer
from purespike.targets.bundle import golden_network, replay
from purespike.targets.c import run as c_run
from purespike.targets.cpu import program
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.portable import run_portable
from purespike.targets.cpu.run import Runner
from purespike.targets.nir.emit import to_bytes, to_document
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.nir.read import read_document

PASSES = "passes"
# What an executor has no exact form for, and says so: (executor, part of its message).
REFUSALS = (
    ("cpu", "32 bits"),
    ("cpu", "weights of 16 bits"),
    ("cpu, numpy alone", "weights of 16 bits"),
    ("cpu, numpy alone", "32 bits"),
    ("C", "32 bits"),
    ("C, gcc -O2", "32 bits"),
    ("ONNX Runtime", "a weight is too wide"),
    ("NIR", "leads to no output"),
    ("NIR, bytes", "leads to no output"),
    ("NIR, file", "leads to no output"),
    ("NIR", "depends on no input"),
    ("NIR, bytes", "depends on no input"),
    ("NIR, file", "depends on no input"),
    (PASSES, "the average cannot be folded"),
    (PASSES, "the convolution after it pads the pooled map"),
    (PASSES, "the graph has no main output"),
    (PASSES, "this batch norm normalises a sum that cannot take it"),
    (PASSES, "the chip reads more than what one encoder sends"),
)


@dataclass(frozen=True)
class Mismatch:
    """Two that must agree and do not.

    Attributes:
        between: The interpreter, and an executor or the passes.
        said: Which layer differs first, or the error instead of a result.
        graph, x: The graph on which they differ, and its input.
        error: What kind of error; empty where values differ.
    """

    between: tuple[str, str]
    said: str
    graph: Graph = field(repr=False)
    x: Array = field(repr=False)
    error: str = ""


@dataclass
class Outcome:
    """What was compared: values by executor, refusals by text, and what differs.

    ``wordy``: refusals of passes that are in no list count as refusals, not as differences; who
    asks for that has to bound how many there are.
    """

    wordy: bool = False
    unlisted: int = 0
    values: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    mismatches: list[Mismatch] = field(default_factory=list)


def compare(sample: Sample, names: Iterable[str] | None = None, *, wordy: bool = False) -> Outcome:
    """Through every pass, and the integers on every executor; ``names`` are fewer of them."""
    outcome = Outcome(wordy)
    names = tuple(EXECUTORS if names is None else names)
    if is_integer(sample.graph):  # gates and pools, which the passes take away, run here
        execute(sample.graph, sample.x, [n for n in names if n in WITH_GATES], outcome)
    try:
        result = through_passes(sample)
        graph, x = on_chip(result.graph, sample.x)
    except PurespikeError as e:
        _failed(PASSES, e, sample.graph, sample.x, outcome)
        return outcome
    passes = _pass_differences(sample, result)
    outcome.mismatches += [
        Mismatch(("interpreter", PASSES), t, sample.graph, sample.x) for t in passes
    ]
    outcome.values[PASSES] += _spikes_of(result) * sample.x.shape[0] * sample.x.shape[1]
    execute(_held(graph), x, names, outcome)
    return outcome


def through_passes(sample: Sample) -> Compiled:
    """Every pass, held to its promise; what is in integers already is not quantized again."""
    passes = random_graphs.standard_pipeline(**sample.options())
    left = passes.network if is_integer(sample.graph) else tuple(passes)
    return compile_graph(sample.graph, left, sample.x)


def integers_of(sample: Sample) -> tuple[Graph, Array]:
    """The integers that the passes make of a network, on the chip; raises what they raise."""
    graph, x = on_chip(through_passes(sample).graph, sample.x)
    return _held(graph), x


def on_chip(graph: Graph, x: Array) -> tuple[Graph, Array]:
    """The part on the chip, and what a host sends it."""
    part = chip_part(graph)
    if part.inputs == graph.inputs:
        return graph, x
    sent = run(graph, x, record=[e.name for e in part.inputs]).values
    return part, sent[part.inputs[0].name]


def _held(graph: Graph) -> Graph:
    """What gates of a network in integers became, in integers, too: `quantize` did not run."""
    nodes = [
        replace(n, op=replace(n.op, fixed=FixedPoint()))
        if isinstance(n.op, Neuron) and n.op.fixed is None
        else n
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes)


def execute(graph: Graph, x: Array, names: Iterable[str], outcome: Outcome) -> None:
    """Run a graph as it is: the interpreter, and beside it the executors named."""
    try:
        expected = run(graph, x)
    except PurespikeError as e:
        _failed("interpreter", e, graph, x, outcome)
        return
    for name in names:
        try:
            found = ALL[name](graph, x, expected)
            values, text = difference(expected, found, graph)
        except Exception as e:  # whatever is raised is no result
            _failed(name, e, graph, x, outcome)
            continue
        outcome.values[name] += values
        if text:
            outcome.mismatches.append(Mismatch(("interpreter", name), text, graph, x))


class Different(Exception):
    """An executor that compares by itself saw a difference."""


def _failed(name: str, error: Exception, graph: Graph, x: Array, outcome: Outcome) -> None:
    text = str(error)
    for who, part in REFUSALS:
        if who == name and part in text and not isinstance(error, PassError | IRError):
            outcome.refused[f"{who}: {part}"] += 1
            return
    worded = isinstance(error, Refusal) and not isinstance(error, PassError | IRError)
    if outcome.wordy and worded and name == PASSES:
        outcome.refused[f"{name}: {error}"] += 1
        outcome.unlisted += 1
        return
    if isinstance(error, Different):
        outcome.mismatches.append(Mismatch(("interpreter", name), text, graph, x))
        return
    kind = f"{type(error).__name__}: {re.split('[:%]', text)[0]}"  # without names of layers
    outcome.mismatches.append(Mismatch(("interpreter", name), text, graph, x, kind))


def difference(expected: Trace, found: Trace, graph: Graph) -> tuple[int, str]:
    """How many values were compared, and the first place where two traces differ.

    The spikes or the membrane of every neuron have to be there, of one that fires its spikes.
    """
    compared = 0
    for node in graph.nodes:
        if not isinstance(node.op, Neuron) and node.name not in found.values:
            continue
        for kind in ("values", "membranes", "currents"):
            a, b = getattr(expected, kind).get(node.name), getattr(found, kind).get(node.name)
            if b is None and kind == "values" and isinstance(node.op, Neuron) and node.op.fires:
                return compared, f"no spikes of %{node.name}"
            if a is None or b is None:
                continue
            if a.shape != b.shape:
                return compared, f"{kind} of %{node.name}: shapes {a.shape} and {b.shape}"
            if not np.array_equal(a, b):
                at = tuple(int(i) for i in np.argwhere(a != b)[0])
                return compared, f"{kind} of %{node.name} at {at}: {a[at]:g} and {b[at]:g}"
            compared += a.size
    return compared, "" if compared else "nothing was compared"


def exact(graph: Graph) -> bool:
    """Are all numbers multiples of 2**-20, so that no sum in float64 is ever rounded?"""
    arrays = (a for n in graph.nodes for a in n.op.arrays().values())
    return all(bool((a * 2.0**20 % 1 == 0).all()) for a in arrays if np.isfinite(a).all())


def _pass_differences(sample: Sample, result: Compiled) -> Iterator[str]:
    """Where numbers are rounded, a pass is held to its promise alone, by `compile_graph`."""
    if exact(sample.graph):
        yield from pass_alarms(sample, result)


def _spikes_of(result: Compiled) -> int:
    """Spikes and outputs that were compared over all passes, for each step of a sample."""
    sizes = 0
    for line, before in zip(result.ledger, result.stages.values(), strict=False):
        sizes += sum(int(np.prod(before.edge(n).shape)) for n in line.layers)
    return sizes


# The executors: each gives a trace of what it computed.


def _cpu(graph: Graph, x: Array, expected: Trace) -> Trace:
    """All ways through the kernels; each is compared here, and the first with membranes outside."""
    made = plan(graph)
    with mock.patch.object(program, "THREAD_CYCLES", 1):  # small networks get threads, too
        for way in (
            {"membranes": False, "threads": 1, "lookups": True},
            {"membranes": False, "threads": 3, "lookups": False},
        ):
            found = Runner(graph, made=made, **way).run(x)
            if text := difference(expected, found, graph)[1]:
                raise Different(f"{text} ({way})")
        return Runner(graph, membranes=True, threads=2, made=made).run(x)


def _portable(graph: Graph, x: Array, expected: Trace) -> Trace:
    made = plan(graph)
    kinds = run_portable(made, [x.astype(np.uint8)], {v.name for v in made.neurons()})
    return Trace(
        *(
            {n: v.reshape(*v.shape[:2], *graph.edge(n).shape) for n, v in kind.items()}
            for kind in kinds
        )
    )


def _replay(graph: Graph, x: Array, expected: Trace) -> Trace:
    """The script that lies in every bundle, on the same samples: it says where it differs."""
    with scratch_folder() as folder:
        golden_network.write_golden_network(graph, folder)
        arrays: dict[str, Any] = {"inputs": x.astype(np.uint8)}
        for node in graph.nodes:
            if isinstance(node.op, Neuron):
                arrays[f"membranes/{node.name}"] = expected.membranes[node.name].astype(np.int32)
                if node.op.fires:
                    arrays[f"spikes/{node.name}"] = expected.values[node.name].astype(np.uint8)
        np.savez(folder / "golden.npz", **arrays)
        rows = replay.replay(folder)
    wrong = [str(row) for row in rows if row.different]
    if wrong:
        raise Different(wrong[0])
    return Trace(
        {n.removeprefix("spikes/"): a for n, a in arrays.items() if n.startswith("spikes/")},
        {n.removeprefix("membranes/"): a for n, a in arrays.items() if n.startswith("membranes/")},
    )


def _nir(graph: Graph, x: Array, expected: Trace) -> Trace:
    """What the file says. HDF5 itself would cost more than all else (`SELDOM`)."""
    return run(read_document(to_document(graph)), x)


def _nir_bytes(graph: Graph, x: Array, expected: Trace) -> Trace:
    """The bytes of the file, read in this process: the child that reads files takes a second."""
    return run(read_document(read_back(to_bytes(graph))), x)


def _c(graph: Graph, x: Array, expected: Trace) -> Trace:
    """By tcc, where it is installed, which compiles 30 times as fast as gcc."""
    command = ["tcc"] if shutil.which("tcc") else c_run.compiler()
    with mock.patch.object(c_run, "compiler", lambda: command):
        return c_run.run_c(graph, x, flags="-O0")


def _optimised_c(graph: Graph, x: Array, expected: Trace) -> Trace:
    return c_run.run_c(graph, x, flags="-O2")


EXECUTORS: dict[str, Callable[[Graph, Array, Trace], Trace]] = {
    "cpu": _cpu,
    "ONNX Runtime": SINGLE["ONNX Runtime"],
    "replay": _replay,
    "NIR": _nir,
    "C": _c,
}
SELDOM = {  # and on every so many networks
    "NIR, bytes": (5, _nir_bytes),
    "cpu, numpy alone": (5, _portable),
    "NIR, file": (25, SINGLE["NIR"]),
    "C, gcc -O2": (25, _optimised_c),
}
ALL = EXECUTORS | {name: execute for name, (_, execute) in SELDOM.items()}
WITH_GATES = ("cpu", "cpu, numpy alone", "ONNX Runtime")
