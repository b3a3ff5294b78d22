"""Does the comparison that is in charge of a mutant notice it on a random network?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from helpers import random_graphs
from helpers.lava_reference import simulate
from helpers.mutants import Mutant
from helpers.qonnx_steps import execute
from helpers.random_graphs import Sample, compiled, difference, pass_alarms
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.targets.c.run import run_c
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.nir.read import read_document
from purespike.targets.onnx.qonnx import qonnx_model

SLICE = 40  # rounds of `networks`


@functools.cache
def sample(kind: str, seed: int, directed: bool = True) -> Sample:
    """A network of a kind, by its number."""
    if kind == "levels":
        return random_graphs.captured(seed, directed=directed, levels=True)
    if kind == "quantized":
        return random_graphs.quantized(seed)
    make = random_graphs.captured if kind == "captured" else random_graphs.integer
    return make(seed, directed=directed)


@functools.cache
def executed(kind: str, seed: int, directed: bool = True) -> tuple[Graph, Array, Trace]:
    """The integer graph of a network and what the unmutated interpreter makes of it.

    The executors agree with it (`test_random_graphs`), so a mutant of the interpreter differs from
    them exactly where it differs from this.
    """
    s = sample(kind, seed, directed)
    graph = s.graph if kind == "integer" else compiled(s).graph
    return graph, s.x, run(graph, s.x)


def networks(count: int = SLICE) -> Iterator[tuple[str, int]]:
    """The slice, in the order in which it is searched: networks in integers hold the saturations,
    drifts and extreme leaks, captured ones all that passes know."""
    for seed in range(count):
        yield "integer", seed
        yield "captured", seed
        if seed % 2 == 0:
            yield "levels", seed
        if seed % 6 == 0:
            yield "quantized", seed


def _nir(graph: Graph, x: Array, expected: Trace) -> Trace:
    return run(read_document(read_back(to_bytes(graph))), x)


def _lava(graph: Graph, x: Array, expected: Trace) -> Trace:
    """Lava's processes, in numpy that shares nothing with Lava."""
    plan = schedule(graph)
    program = emit(graph, plan, x)
    made = simulate(program)
    spikes, membranes = (
        {n: from_lava(kind[n], graph.steps, x.shape[1], plan.depth[n]) for n in names}
        for kind, names in zip(made, (program.record, program.record_v), strict=True)
    )
    return Trace(expected.values | spikes, expected.membranes | membranes, {})


def _qonnx(graph: Graph, x: Array, expected: Trace) -> Trace:
    """QONNX's operators from their specification, on two samples: they take long."""
    found, _ = execute(qonnx_model(graph), x[:, :2].astype(np.float32))
    values = {n: np.concatenate([v, expected.values[n][:, 2:]], axis=1)
              for n, v in found.items() if n in expected.values}  # fmt: skip
    return Trace(expected.values | values, expected.membranes, {})


def _c(graph: Graph, x: Array, expected: Trace) -> Trace:
    found = run_c(graph, x.astype(np.uint8), flags="-O0")
    return Trace(expected.values | found.values, found.membranes, {})


Execute = Callable[[Graph, Array, Trace], Trace]
EXECUTORS: dict[str, Execute] = random_graphs.EXECUTORS | {
    "NIR": _nir, "Lava's terms": _lava, "QONNX": _qonnx, "C": _c,
}  # fmt: skip


def alarm(name: str, graph: Graph, x: Array, expected: Trace) -> str:
    """What an executor does otherwise, or the error that it ends in; empty where it is right."""
    try:
        return difference(expected, EXECUTORS[name](graph, x, expected), graph)
    except Exception as error:  # whatever a fault ends in is noticed
        return f"{type(error).__name__}: {error}"


@functools.cache
def takes(name: str, kind: str, seed: int, directed: bool = True) -> bool:
    """Does an executor, as it is, run a network without an alarm? It may have no form for it."""
    return not alarm(name, *executed(kind, seed, directed))


def noticed(mutant: Mutant, kind: str, seed: int, directed: bool = True) -> bool:
    """Does the comparison that has to notice the mutant notice it on one network?"""
    if mutant.seen_by == "passes":
        if kind == "integer":
            return False
        s = sample(kind, seed, directed)
        with mutant.patch():
            try:
                return any(pass_alarms(s, compiled(s)))
            except Exception:  # a promise is broken, or nothing comes out at all
                return True
    if mutant.seen_by != "executors" and not takes(mutant.seen_by, kind, seed, directed):
        return False
    graph, x, expected = executed(kind, seed, directed)
    with mutant.patch():
        if mutant.seen_by != "executors":
            return alarm(mutant.seen_by, graph, x, expected) != ""
        try:
            return difference(expected, run(graph, x), graph) != ""
        except Exception:  # such as a value outside its domain
            return True


def finder(mutant: Mutant, count: int = SLICE) -> tuple[int, str, int] | None:
    """(networks until it was noticed, kind and seed of the last), or None."""
    for k, (kind, seed) in enumerate(networks(count), start=1):
        if noticed(mutant, kind, seed):
            return k, kind, seed
    return None
