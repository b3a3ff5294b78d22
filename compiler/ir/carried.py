"""What edges carry that a fast executor does not record: inputs, and what follows from spikes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Delay, Flatten


def carried(graph: Graph, x: NDArray[Any], trace: Trace, names: Iterable[str]) -> Trace:
    """The trace with these edges too, each spike in a byte.

    Args:
        graph: One input; its neurons stand in the trace.
        x: What ran (T, B, *shape).
        trace: Spikes (T, B, *shape) of every neuron.
        names: Edges that carry spikes: of inputs, of neurons, and what is made of those without
            memory, flattened or delayed.
    """
    values: dict[str, NDArray[Any]] = {graph.inputs[0].name: x.astype(np.uint8), **trace.values}

    def value(name: str) -> NDArray[Any]:
        if name in values:
            return values[name]
        node = graph.producer(name)
        assert node is not None
        reads = [value(i) for i in node.inputs]
        if isinstance(node.op, Flatten):
            found = reads[0].reshape(*reads[0].shape[:2], -1)
        elif isinstance(node.op, Delay):
            found = _delayed(reads[0], node.op)
        else:
            steps, samples = reads[0].shape[:2]
            rows = (r.reshape(steps * samples, *r.shape[2:]).astype(np.float64) for r in reads)
            flat = node.op.step(None, *rows)[1]
            found = flat.astype(np.uint8).reshape(steps, samples, *node.output.shape)
        values[name] = found
        return found

    for name in names:
        value(name)
    return Trace(values, trace.membranes, trace.currents)


def _delayed(x: NDArray[Any], op: Delay) -> NDArray[Any]:
    late = np.zeros_like(x)
    for steps in (n for n in np.unique(op.steps).astype(int) if n < len(x)):
        here = np.broadcast_to(np.asarray(op.steps) == steps, x.shape[2:])
        late[steps:] = np.where(here, x[: len(x) - steps], late[steps:])
    return late
