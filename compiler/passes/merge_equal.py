"""Compute once what is computed twice: equal operations on equal inputs.

Two nodes are equal if they are of one role, their operations have the same fields, bit for bit, and
their inputs are the same edges or equal ones, in order. States start at rest, so that equal neurons
stay equal at every step.

Cases:
1. Equal neurons, gates, pools and flattens: the first stays, and what only the others needed goes,
   their synapses included.
2. Equal synapses of different neurons stay: sharing one would tie the scales of those neurons.
3. A node that is an output stays, so that outputs keep their names and number.
4. What reads through a delay that is written later is not compared: only the loop as a whole could
   be equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from purespike.compiler.ir.graph import Graph, Op
from purespike.compiler.ir.ops import SYNAPSES, Add, Linear


def merge_equal(graph: Graph) -> Graph:
    """The graph with every case above applied; the same object where there is nothing to merge."""
    leader = _leaders(graph)
    rename = {
        n.name: leader[n.name]
        for n in graph.nodes
        if leader[n.name] != n.name
        and not isinstance(n.op, (*SYNAPSES, Add))  # case 2
        and n.name not in graph.outputs  # case 3
    }
    if not rename:
        return graph
    nodes = [replace(n, inputs=tuple(rename.get(i, i) for i in n.inputs)) for n in graph.nodes]
    merged = graph.rebuilt(nodes)
    needed = merged.ancestors(merged.outputs)
    unread = graph.ancestors(graph.outputs)  # what nothing read before is not this pass's to drop
    kept = [n for n in merged.nodes if n.name in needed or n.name not in unread]
    return merged.rebuilt(kept)


def merged(before: Graph, after: Graph) -> tuple[str, ...]:
    """What was merged, by module path."""
    leader = _leaders(before)
    return tuple(
        f"merged {before.origin(n.name)} into {before.origin(leader[n.name])}, its equal"
        for n in before.nodes
        if after.producer(n.name) is None and leader[n.name] != n.name
        if not isinstance(n.op, (*SYNAPSES, Add))
    )


def _leaders(graph: Graph) -> dict[str, str]:
    """The first node that is equal to each node."""
    first: dict[Hashable, str] = {}
    leader = {e.name: e.name for e in graph.inputs}
    for node in graph.nodes:
        late = [i for i in node.inputs if i not in leader]  # case 4
        reads = tuple(leader.get(i, i) for i in node.inputs)
        key = node.name if late else (node.role, reads, _value(node.op))
        leader[node.name] = first.setdefault(key, node.name)
    return leader


def _value(op: Op) -> Hashable:
    # A linear layer makes its weight of what it keeps, which is a field as well.
    made = {"weight"} if isinstance(op, Linear) else set()
    names = [f.name for f in fields(op) if f.name not in made]  # type: ignore[arg-type]
    return type(op), tuple(_plain(getattr(op, name)) for name in names)


def _plain(x: Any) -> Hashable:
    """Arrays by digest: keys of all weights of a large network would be a copy of it."""
    if not isinstance(x, np.ndarray):
        plain: Hashable = x
        return plain
    return x.shape, hashlib.sha256(np.ascontiguousarray(x).data).digest()
