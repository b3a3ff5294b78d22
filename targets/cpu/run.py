"""Runs a graph in integers, as the interpreter does and many times faster."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.library import kernels
from purespike.targets.cpu.plan import Plan
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.portable import run_portable
from purespike.targets.cpu.program import Program


def run_cpu(
    graph: Graph,
    x: NDArray[Any] | Mapping[str, NDArray[Any]],
    *,
    membranes: bool | Collection[str] = True,
    threads: int | None = None,
    lookups: bool | None = None,
) -> Trace:
    """Run ``graph`` for its T steps.

    Args:
        graph: A compiled network, the part on the chip alone: spikes in, whole weights.
        x: Spikes (T, B, *shape), or one such array for each input by name.
        membranes: Whether to keep them, for all neurons or for those named.
        threads: How many at most; as `Program`.
        lookups: As `Program`: which of its kernels run, where there is a choice.

    Returns:
        The spikes of all neurons (bytes), the outputs of integrators, and the membranes and
        synaptic currents that were asked for (32-bit integers, in the neurons' own units).

    Raises:
        CpuError: If a node has no exact form in integers, or the input does not fit.
    """
    return Runner(graph, membranes=membranes, threads=threads, lookups=lookups).run(x)


class Runner:
    """A graph made ready once, for any number of runs.

    Args:
        graph: As `run_cpu`.
        membranes: As `run_cpu`.
        threads: As `run_cpu`.
        lookups: As `run_cpu`.
        made: The plan of the graph, where there is one already.

    Raises:
        CpuError: If a node has no exact form in integers.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        membranes: bool | Collection[str] = False,
        threads: int | None = None,
        lookups: bool | None = None,
        made: Plan | None = None,
    ) -> None:
        self._graph, self._plan = graph, made or plan(graph)
        self._threads, self._lookups = threads, lookups
        names = {v.name for v in self._plan.neurons()}
        self._kept = names if membranes is True else set(membranes or ()) & names
        self._program: Program | None = None  # for as many samples as it ran last

    def run(self, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> Trace:
        """As `run_cpu`; the arrays belong to the caller."""
        inputs = _inputs(self._graph, x)
        if isinstance(kernels(), str):
            return _trace(self._plan, *run_portable(self._plan, inputs, self._kept))
        program = self._program
        if program is None or program.samples != inputs[0].shape[1]:
            program = Program(
                self._plan, inputs[0].shape[1], self._kept, self._threads, self._lookups
            )
            self._program = program
        program.run(inputs)
        spikes = {name: program.spikes(name) for name in self._plan.spikes}
        states = [
            {n: np.moveaxis(v, 4, 2) for n, v in held.items()}
            for held in (program.membranes, program.currents)
        ]
        program.renew()
        return _trace(self._plan, spikes, *states)


def _trace(
    made: Plan,
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
    currents: Mapping[str, NDArray[Any]],
) -> Trace:
    """In the shapes of the graph's edges; integrators send their membranes, in weights."""

    def shaped(held: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        return {
            n: v.reshape(*v.shape[:2], *made.shapes.get(n, v.shape[2:])) for n, v in held.items()
        }

    values, kept = shaped(spikes), shaped(membranes)
    for layer in made.neurons():
        if layer.out < 0:
            values[layer.name] = kept[layer.name] / (1 << layer.shift)
    return Trace(values, kept, shaped(currents))


def _inputs(graph: Graph, x: NDArray[Any] | Mapping[str, NDArray[Any]]) -> list[NDArray[np.uint8]]:
    held = x if isinstance(x, Mapping) else {graph.inputs[0].name: x}
    arrays = []
    for edge in graph.inputs:
        if edge.name not in held:
            raise CpuError(f"input %{edge.name} is missing", found=", ".join(held))
        array = np.asarray(held[edge.name])
        if array.ndim < 2 or (array.shape[0], *array.shape[2:]) != (graph.steps, *edge.shape):
            raise CpuError(
                f"input %{edge.name} has the wrong shape",
                found=str(array.shape),
                allowed=f"(T, B, ...) = ({graph.steps}, B, {', '.join(map(str, edge.shape))})",
            )
        if not bool(((array == 0) | (array == 1)).all()):
            other = array[(array != 0) & (array != 1)][0]
            raise CpuError(
                f"input %{edge.name} carries more than spikes",
                found=f"{other:g}, among others",
                allowed="0 and 1",
                remedy="encode the inputs as spikes (bit-plane, rate, latency or events)",
            )
        arrays.append(array.astype(np.uint8))
    if len({a.shape[1] for a in arrays}) != 1:
        raise CpuError("the inputs differ in their number of samples")
    return arrays
