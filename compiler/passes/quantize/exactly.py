"""Networks that were quantized before: their integers are the chip's, or they are refused.

Scales that round would give an answer, too, and one that is nearly right: whoever trained integers
wants those.
"""

from __future__ import annotations

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import SYNAPSES, Conv2d, Levels, Linear, Neuron
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import (
    QuantizeError,
    group_members,
    values_of,
)
from purespike.compiler.passes.quantize.scales import exact_scale


def is_quantized(graph: Graph) -> bool:
    """Are its activations levels, and all of its weights whole numbers?"""
    leveled = any(isinstance(n.op, Levels) for n in graph.nodes)
    weights = [a for n in graph.nodes if isinstance(n.op, SYNAPSES) for a in values_of(n.op)]
    return leveled and all(bool((a == np.rint(a)).all()) for a in weights)


def require_held(graph: Graph, grid: Grid) -> None:
    """Raise QuantizeError for whole numbers that the chip does not hold as they are."""
    for nodes in group_members(graph).values():
        if exact_scale(graph, nodes, grid) is not None:  # a power of two: nothing moves
            continue
        neuron = next(n for n in nodes if isinstance(n.op, Neuron))
        raise QuantizeError(
            "a quantized network has numbers that the chip does not hold: to round them would lose "
            "what it was trained for",
            where=graph.origin(neuron.name),
            found=_found(nodes),
            allowed=f"whole weights to {grid.weight_limit}, biases to {grid.bias_limit}, "
            f"thresholds and what outputs can reach to {grid.threshold_limit}",
            remedy="train with fewer bits for weights or activations, or with narrower layers",
        )


def _found(nodes: list[Node]) -> str:
    weights = [a for n in nodes for a in values_of(n.op)]
    biases = [
        n.op.bias for n in nodes if isinstance(n.op, Conv2d | Linear) and n.op.bias is not None
    ]
    thresholds = [n.op.threshold for n in nodes if isinstance(n.op, Neuron) and n.op.fires]
    read = [n.op for n in nodes if isinstance(n.op, Neuron) and not n.op.fires]
    if read:  # the largest sum of weights: of D levels each weight stands D times
        sums = [np.abs(a.reshape(len(a), -1)).sum(axis=1) for a in weights if a.ndim > 1]
        reach = float(np.max(np.sum(sums, axis=0))) if sums else 0.0
        return f"outputs that can reach {reach:g}, weights to {max(map(_most, weights)):g}"
    kinds = {"weights": weights, "biases": biases, "thresholds": thresholds}
    return ", ".join(
        f"{name} {min(float(a.min()) for a in arrays):g} to {max(float(a.max()) for a in arrays):g}"
        for name, arrays in kinds.items()
        if arrays
    )


def _most(x: Array) -> float:
    return float(np.abs(x).max(initial=0.0))
