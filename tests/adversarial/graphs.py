"""Parts of hand-made integer graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, build
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Linear, Neuron

FIXED = FixedPoint()
IMAGE = Edge("x", (1, 4, 4), SPIKE)
VECTOR = Edge("x", (4,), SPIKE)


def neuron(threshold: float, **more: Any) -> Neuron:
    """Integrate-and-fire on the chip's grid."""
    return Neuron(np.asarray(float(threshold)), fixed=FIXED, **more)


def integrator() -> Neuron:
    """A readout."""
    return Neuron(np.asarray(np.inf), reset="none", fixed=FIXED)


def linear(weight: Any, bias: float | None = None) -> Linear:
    """These weights, or a 4 x 4 layer of one number."""
    w = np.full((4, 4), float(weight)) if np.isscalar(weight) else np.asarray(weight, np.float64)
    return Linear(w, None if bias is None else np.full(len(w), float(bias)))


def conv(weight: float) -> Conv2d:
    """1 x 1 with one channel."""
    return Conv2d(np.full((1, 1, 1, 1), float(weight)))


def vector(
    nodes: list[tuple[str, Op, tuple[str, ...]]],
    *,
    size: int = 4,
    steps: int = 3,
    x: Edge | None = None,
    outputs: tuple[str, ...] = (),
) -> Graph:
    """A graph on a vector of spikes; the last node is its output unless said otherwise."""
    return build((x or Edge("x", (size,), SPIKE),), nodes, outputs or (nodes[-1][0],), steps)


def chain(
    weight: float = 1, bias: float | None = None, op: Neuron | None = None, x: Edge = VECTOR
) -> Graph:
    """One layer, one neuron, one readout layer with its integrator."""
    return vector(
        [
            ("layer", linear(weight, bias), (x.name,)),
            ("n1", op or neuron(3), ("layer",)),
            ("last", linear(2), ("n1",)),
            ("read", integrator(), ("last",)),
        ],
        x=x,
    )


def edited(graph: Graph, **nodes: Node) -> Graph:
    """The graph with these nodes in place, nothing inferred anew: as a file could claim it."""
    return Graph(
        graph.inputs,
        tuple(nodes.get(n.name, n) for n in graph.nodes),
        graph.outputs,
        graph.steps,
        graph.dt,
    )
