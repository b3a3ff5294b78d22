"""Which synapses are copies of one, so that a file may hold their weights once."""

from __future__ import annotations

import re

import numpy as np

from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Conv2d, Linear

_LEVEL = re.compile(r"\.level-?[0-9]+$")  # as `unroll_levels` names them


def weight_owners(graph: Graph) -> dict[str, str]:
    """By the name of each synapse, whose weights it has: its own, or those of an equal copy before.

    Copies are what `unroll_levels` makes of a layer that reads counts, one for each level. Other
    layers keep weights of their own, equal or not.
    """
    firsts: dict[str, list[Node]] = {}
    owners: dict[str, str] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Conv2d | Linear):
            continue
        stem = _LEVEL.sub("", node.name)
        known = firsts.setdefault(stem, []) if stem != node.name else []
        same = (n.name for n in known if _equal(graph, n, node))
        owners[node.name] = next(same, node.name)
        if owners[node.name] == node.name:
            known.append(node)
    return owners


def _equal(graph: Graph, one: Node, other: Node) -> bool:
    a, b = one.op, other.op
    reads = [graph.edge(n.inputs[0]).domain for n in (one, other)]  # files store them by what comes
    if reads[0] != reads[1]:
        return False
    if isinstance(a, Linear) and isinstance(b, Linear) and a.run == b.run:
        return np.array_equal(a.kept, b.kept)
    return type(a) is type(b) and np.array_equal(a.arrays()["weight"], b.arrays()["weight"])
