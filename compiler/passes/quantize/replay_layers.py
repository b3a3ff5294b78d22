"""Run a network layer by layer over all steps, so that one layer can be tried again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.interpret import Execute, lean
from purespike.compiler.ir.ops import Add, Flatten, Neuron
from purespike.compiler.passes.quantize.groups import require_integer_form

# What neurons make of a current (T, B, channels, *places), with what is added to it (channels,).
Fire = Callable[[Op, Array, Array | None], NDArray[Any]]


def fire(op: Op, current: Array, shift: Array | None = None) -> Array:
    """What neurons make of a current (T, B, *shape), step by step: the meaning of a `Fire`.

    Args:
        op: Neurons.
        current: (T, B, channels, *places).
        shift: What is added at every step (channels,).
    """
    if shift is not None:
        current = current + shift.reshape(-1, *(1,) * (current.ndim - 3))
    state = op.start(current.shape[1], current.shape[2:])
    steps = []
    for now in current:
        state, y = op.step(state, now)
        steps.append(y)
    return np.stack(steps)


@dataclass(frozen=True)
class Layers:
    """What every spike edge carries, in real numbers and in the layers settled so far.

    Attributes:
        graph: Synapses, sums, neurons and flattens; host nodes keep their real values.
        real: What inputs, neurons and the host send in the real-valued network (T, B, *shape).
        carried: The edges that are settled (T, B, *shape).
        fire: Runs neurons on a current.
    """

    graph: Graph
    real: Mapping[str, NDArray[Any]]
    carried: dict[str, NDArray[Any]]
    fire: Fire = fire

    @classmethod
    def start(
        cls, graph: Graph, x: NDArray[Any], execute: Execute = lean, fire: Fire = fire
    ) -> Layers | None:
        """Nothing settled but the inputs; None for a recurrent graph, where no layer runs alone.

        Raises:
            QuantizeError: If an operation of the chip has no integer form.
        """
        require_integer_form(graph)
        if any(n.op.delays for n in graph.nodes):
            return None
        kept = {n.name for n in graph.nodes if isinstance(n.op, Neuron) or n.role == "host"}
        real = execute(graph, x, kept | {e.name for e in graph.inputs}).values
        return cls(graph, real, {e.name: real[e.name] for e in graph.inputs}, fire)

    def neurons(self) -> Iterator[Node]:
        """The neurons of the chip in order; each must be settled before the next is asked for."""
        for node in self.graph.nodes:
            if node.role == "host":
                self.carried[node.name] = self.real[node.name]
            elif isinstance(node.op, Flatten):
                source = self.carried[node.inputs[0]]
                self.carried[node.name] = source.reshape(*source.shape[:2], -1)
            elif isinstance(node.op, Neuron):
                yield node

    def settle(self, node: Node, ops: Mapping[str, Op]) -> None:
        """Fix what a layer does from here on."""
        self.carried[node.name] = self.output(node, ops)

    def output(self, node: Node, ops: Mapping[str, Op]) -> NDArray[Any]:
        """What the neurons do (T, B, *shape) with ``ops`` in the place of the real operations."""
        return self.fire(ops[node.name], self.current(node.inputs[0], ops), None)

    def current(self, name: str, ops: Mapping[str, Op]) -> Array:
        """The current at an edge (T, B, *shape)."""
        node = self.graph.producer(name)
        assert node is not None
        if isinstance(node.op, Add):
            parts = [self.current(i, ops) for i in node.inputs]
            return np.asarray(sum(parts[1:], start=parts[0]))
        x = self.carried[node.inputs[0]]
        _, y = ops.get(node.name, node.op).step(None, x.reshape(-1, *x.shape[2:]))
        whole: Array = y.reshape(*x.shape[:2], *y.shape[1:])
        return whole
