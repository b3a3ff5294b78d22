"""Executors in the place of the interpreter, which runs a sample of their work again."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, lean, run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.part import run_part
from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.compiler.rules.measure import BYTES, Fast
from purespike.judge.static import is_integer
from purespike.targets.agreement import Mismatch, compare
from purespike.targets.cpu.library import kernels
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.run import Runner, run_cpu
from purespike.targets.real.memory import Memory
from purespike.targets.real.run import run_real

OPERATIONS = 1e9  # of synapses that the interpreter repeats: a second or two


def fast(graph: Graph) -> Fast | None:
    """Runs a graph in integers on the cpu executor; None where that has no form or no kernel."""
    if not is_integer(graph) or len(graph.inputs) != 1 or isinstance(kernels(), str):
        return None
    runners: dict[frozenset[str], Runner] = {}
    try:
        made = plan(graph)
    except PurespikeError:
        return None

    def run_fast(x: NDArray[Any], membranes: Collection[str]) -> Trace:
        kept = frozenset(membranes)
        if kept not in runners:
            runners[kept] = Runner(graph, membranes=kept, made=made)
        return runners[kept].run(x)

    return run_fast


def execute(
    graph: Graph, x: NDArray[Any], record: Collection[str], memory: Memory | None = None
) -> Trace:
    """As `interpret.lean`, by the quickest way there is to the same bits.

    In integers by the cpu executor, in real numbers by `run_real`; what neither has a form for, the
    interpreter runs.

    Args:
        graph: A verified graph.
        x: Input (T, B, *shape).
        record: Edges to keep.
        memory: What layers in real numbers did in runs before.
    """
    quick = fast(graph) if x.size and record else None
    if quick is None:
        real = run_real(graph, x, record, memory)
        return lean(graph, x, record) if real is None else real
    spikes = dict(quick(x, ()).values)
    outputs = [n for n in spikes if not graph.edge(n).domain <= SPIKE]
    known = {graph.inputs[0].name: x, **{n: v for n, v in spikes.items() if n not in outputs}}
    found: dict[str, NDArray[Any]] = {**known, **spikes}
    left = {name for name in record if name not in found}
    if left:
        found |= run_part(graph, left, known, lean=True).values
    return Trace({name: found[name] for name in record}, {})


def replayed(graph: Graph, samples: int) -> NDArray[np.int64]:
    """Which of so many samples the interpreter runs again: all of a small network, else a few.

    As many as take `OPERATIONS`, and whose spikes and membranes fit into `BYTES`; at least one.
    """
    dense = total_counts(dense_census(graph).values())
    work = max(dense.ac + dense.mac, 1.0) * graph.steps
    neurons = (n.output.shape for n in graph.nodes if isinstance(n.op, Neuron))
    held = 16 * graph.steps * sum(map(math.prod, neurons))  # bytes per sample: spikes, membranes
    count = int(np.clip(min(OPERATIONS // work, BYTES // max(held, 1)), 1, samples))
    return np.linspace(0, samples - 1, count).astype(np.int64)


def _brief(values: NDArray[Any], kind: type[np.integer[Any]]) -> NDArray[Any]:
    """The same numbers in fewer bytes, if all of them are there: the traces are kept for long."""
    brief = values.astype(kind, copy=False)
    return brief if np.array_equal(brief, values) else values


@dataclass(frozen=True)
class CrossCheck:
    """The interpreter and the cpu executor on the same samples, every spike and membrane.

    Attributes:
        fast: Runs the graph; None where the executor differs, or has no form or no kernel.
        samples: Which both ran.
        interpreted: What the interpreter recorded of every neuron on the chip.
        executed: What the executor did; None if it did not run.
        error: Why not.
    """

    fast: Fast | None
    samples: NDArray[np.int64]
    interpreted: Trace
    executed: Trace | None
    error: PurespikeError | None = None

    @classmethod
    def of(cls, graph: Graph, x: NDArray[Any]) -> CrossCheck:
        """On some of the samples x (T, B, *shape), those that `replayed` names.

        Args:
            graph: A network in integers, the part on the chip.
            x: Spikes.
        """
        again = replayed(graph, x.shape[1])
        part = x[:, again]
        neurons = {n.name: n for n in graph.nodes if isinstance(n.op, Neuron)}
        firing = [name for name, n in neurons.items() if getattr(n.op, "fires", False)]

        def kept(trace: Trace) -> Trace:
            spikes = {name: _brief(trace.values[name], np.uint8) for name in firing}
            held = {name: _brief(trace.membranes[name], np.int32) for name in neurons}
            return Trace(spikes, held)

        reference = kept(run(graph, part, record=neurons))
        try:
            quick = fast(graph)
            found = quick(part, neurons) if quick else run_cpu(graph, part, membranes=neurons)
        except PurespikeError as e:
            return cls(None, again, reference, None, e)
        check = cls(quick, again, reference, kept(found))
        same = not any(row.different for row in check.rows())
        return check if same else replace(check, fast=None)

    def rows(self) -> list[Mismatch]:
        """Every layer of the executor against the interpreter; raises why it did not run."""
        if self.executed is None:
            raise self.error or RuntimeError("the cpu executor did not run")
        return compare(self.interpreted, self.executed.values, self.executed.membranes)
