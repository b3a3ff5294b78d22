"""A part of a test set as it travels: to this process, another one, or a cluster's worker."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.archives import DAMAGED, arrays
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.rules.measure import decide
from purespike.compiler.scratch import scratch_folder
from purespike.targets.agreement import compare
from purespike.targets.cpu.run import Runner
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.onnx.run import run_onnx

Backend = Literal["cpu", "lava", "onnx"]


@dataclass(frozen=True, eq=False)
class Task:
    """Samples to run, and on what.

    Attributes:
        key: Its name.
        graph: The network, pickled once for all tasks.
        backend: What runs it.
        model: Content of model.onnx, for ``onnx``.
        stock: Whether Lava's own convolution model computes.
        threads: Of the cpu executor; None for all.
        first: Index of the first sample.
        shape: (T, samples, *shape) of the inputs.
        bits: The inputs, packed.
    """

    key: str
    graph: bytes
    backend: Backend
    model: bytes
    stock: bool
    threads: int | None
    first: int
    shape: tuple[int, ...]
    bits: NDArray[np.uint8]

    @property
    def samples(self) -> int:
        """How many."""
        return self.shape[1]


@dataclass(frozen=True, eq=False)
class Part:
    """What was done on some samples.

    Attributes:
        first: Index of the first one.
        decisions: Class of each (samples,).
        fired: Spikes of all its neurons, steps and samples, by firing layer.
        different: Where the executor of the task and the cpu executor differ, in words; empty if
            nowhere, or if they are the same.
    """

    first: int
    decisions: NDArray[np.int64]
    fired: dict[str, int]
    different: str

    def packed(self) -> bytes:
        """As the content of a file."""
        buffer = BytesIO()
        arrays: dict[str, Any] = {f"fired/{n}": np.int64(v) for n, v in self.fired.items()}
        np.savez(
            buffer,
            first=np.int64(self.first),
            decisions=self.decisions,
            different=np.array(self.different),
            **arrays,
        )
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Part | None:
        """From the content of a file; None if it is damaged."""
        try:
            held = arrays(BytesIO(content))
            fired = {n[6:]: int(values) for n, values in held.items() if n.startswith("fired/")}
            decided = held["decisions"].astype(np.int64)
            return cls(int(held["first"]), decided, fired, str(held["different"]))
        except DAMAGED:
            return None


def run_task(task: Task) -> Part:
    """Run a task; a pool and Dask call this where it shall run."""
    graph, runner = _ready(task.graph, task.threads)
    count = int(np.prod(task.shape))
    x = np.unpackbits(task.bits, count=count).reshape(task.shape)
    if task.backend == "cpu":
        trace = (runner or Runner(graph)).run(x)  # which says what has no form
        return Part(task.first, decide(graph, trace), _fired(graph, trace), "")
    trace = _lava(graph, x, task.stock) if task.backend == "lava" else _onnx(graph, x, task.model)
    reference = runner.run(x) if runner else run(graph, x)
    return Part(
        task.first, decide(graph, trace), _fired(graph, trace), difference(graph, reference, trace)
    )


@lru_cache(maxsize=1)  # a worker runs many parts of one test set
def _ready(graph: bytes, threads: int | None) -> tuple[Graph, Runner | None]:
    network: Graph = pickle.loads(graph)
    try:
        return network, Runner(network, threads=threads)
    except PurespikeError:
        return network, None


def _onnx(graph: Graph, x: NDArray[Any], model: bytes) -> Trace:
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        path.write_bytes(model)
        return run_onnx(path, graph, x)


def _lava(graph: Graph, x: NDArray[Any], stock: bool) -> Trace:
    found = simulate(graph, x, conv="stock" if stock else "fast", jobs=1)
    values: dict[str, NDArray[Any]] = dict(found.spikes)
    for node in graph.nodes:
        if node.name in found.membranes and isinstance(node.op, Neuron) and not node.op.fires:
            unit = 1 << node.op.fixed.fraction_bits if node.op.fixed else 1
            values[node.name] = found.membranes[node.name] / unit
    return Trace(values, {})


def _fired(graph: Graph, trace: Trace) -> dict[str, int]:
    return {
        n.name: int(np.count_nonzero(trace.values[n.name]))
        for n in graph.nodes
        if isinstance(n.op, Neuron) and n.op.fires and n.name in trace.values
    }


def difference(graph: Graph, reference: Trace, found: Trace) -> str:
    """The first layer in which an executor differs from the reference, in words."""
    spikes = {n: v for n, v in found.values.items() if graph.edge(n).domain <= SPIKE}
    outputs = {n: v for n, v in found.values.items() if n in graph.outputs and n not in spikes}
    for row in compare(reference, {**spikes, **outputs}, {}):
        if row.different:
            return f"{row.layer}: {row.different} of {row.values} values, {row.words}"
    return ""
