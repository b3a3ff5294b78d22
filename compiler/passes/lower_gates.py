"""Turn logic gates and identity joins into synapses and memoryless threshold neurons.

A memoryless neuron (decay 0) forgets its input at once, so that the -1 of IAND cannot linger.

Cases:
1. OR of n spikes: one-to-one synapses of weight 1, threshold 1.
2. AND of n spikes: the same, threshold n.
3. IAND of (a, b) = (not a) and b: weights -1 and +1, threshold 1.
4. XOR: a + b - 2 (a and b) >= 1, so an AND neuron and a second stage; pair by pair for n inputs.
5. A spike added to a current in front of a neuron (SN residual), or read by a neuron alone: a
   one-to-one synapse of weight 1 carries it into the dendrite.
A sum of spikes that feeds a synapse (SEW ADD) stays: it is not a spike, and no rewrite makes it
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.ops import Add, Gate, Neuron, Scale
from purespike.compiler.proofs.currents import is_current


def lower_gates(graph: Graph) -> Graph:
    """The graph without gates; every spike reaches a neuron through a synapse."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, Gate):
            nodes.extend(_lower(node, node.op))
        elif isinstance(node.op, Neuron) or (
            isinstance(node.op, Add) and _only_into_neurons(graph, node)
        ):
            nodes.extend(_carry(graph, node))
        else:
            nodes.append(node)
    return graph.rebuilt(nodes)


def _lower(node: Node, gate: Gate) -> Iterator[Node]:
    if gate.kind == "xor":  # case 4
        left = node.inputs[0]
        for k, right in enumerate(node.inputs[1:], start=1):
            last = k == len(node.inputs) - 1
            name = node.name if last else f"{node.name}.xor{k}"
            both = f"{name}.and"
            yield from _threshold(node, both, ((left, 1.0), (right, 1.0)), 2.0)
            yield from _threshold(node, name, ((left, 1.0), (right, 1.0), (both, -2.0)), 1.0)
            left = name
    else:
        n = len(node.inputs)
        signs = (-1.0, 1.0) if gate.kind == "iand" else (1.0,) * n
        threshold = float(n) if gate.kind == "and" else 1.0
        yield from _threshold(
            node, node.name, tuple(zip(node.inputs, signs, strict=True)), threshold
        )


def _threshold(
    node: Node, name: str, terms: tuple[tuple[str, float], ...], threshold: float
) -> Iterator[Node]:
    """One-to-one synapses, their sum, and the memoryless neuron called ``name``."""
    synapses = []
    for k, (source, weight) in enumerate(terms):
        synapses.append(f"{name}.in{k}")
        yield _like(node, synapses[-1], Scale(np.asarray(weight)), (source,))
    yield _like(node, f"{name}.sum", Add(), tuple(synapses))
    yield _like(node, name, Neuron(np.asarray(threshold), decay=0.0), (f"{name}.sum",))


def _carry(graph: Graph, node: Node) -> Iterator[Node]:  # case 5
    inputs = []
    for k, source in enumerate(node.inputs):
        if graph.edge(source).domain <= SPIKE and not is_current(graph, source):
            inputs.append(f"{node.name}.in{k}")
            yield _like(node, inputs[-1], Scale(np.asarray(1.0)), (source,))
        else:
            inputs.append(source)
    yield replace(node, inputs=tuple(inputs))


def _only_into_neurons(graph: Graph, node: Node) -> bool:
    readers = graph.consumers(node.name)
    return bool(readers) and all(
        isinstance(r.op, Neuron) or (isinstance(r.op, Add) and _only_into_neurons(graph, r))
        for r in readers
    )


def _like(node: Node, name: str, op: Op, inputs: tuple[str, ...]) -> Node:
    """A node in the place of ``node``: same role and origin; ``rebuilt`` gives it its type.

    All are of one shape, which a delay in a loop may ask for before the node is typed.
    """
    return replace(node, op=op, inputs=inputs, output=Edge(name, node.output.shape, SPIKE))
