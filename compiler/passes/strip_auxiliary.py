"""Remove the paths that only training needed.

Cases:
1. A node that the main outputs do not depend on goes (backward slice, not by name).
2. A module that served both streams (the AAP code's one classifier) stays for the main stream.
3. An auxiliary node that a main output depends on is an error with the path: removing it would
   change the network, keeping it would deploy a training-only path.
4. A membrane potential rectificator (InfLoR-SNN) goes if no neuron can fire differently without
   it: it rises everywhere, so it is enough to look at the threshold and at the number below it.
   If one can, it is an error.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Neuron, RectifiedNeuron


class AuxiliaryLeak(Refusal):
    """The main output depends on a path that was built for training only."""

    rule = "PS003"


def strip_auxiliary(graph: Graph) -> Graph:
    """The slice of the graph that its main outputs depend on.

    Raises:
        AuxiliaryLeak: Case 3, no main output at all, or a rectificator that decides over spikes.
    """
    outputs = tuple(o for o in graph.outputs if _role(graph, o) != "auxiliary")
    if not outputs:
        raise AuxiliaryLeak(
            "the graph has no main output",
            where=", ".join(graph.origin(o) for o in graph.outputs),
            found=", ".join(f"{o} (auxiliary)" for o in graph.outputs),
            remedy="return the output to deploy under the key 'main'",
        )
    needed = graph.ancestors(outputs)
    for node in graph.nodes:  # case 3
        if node.role == "auxiliary" and node.name in needed:
            raise AuxiliaryLeak(
                "the main output depends on an auxiliary path",
                where=graph.origin(node.name),
                found=" -> ".join(graph.origin(n) for n in _path(graph, node.name, outputs)),
                allowed="auxiliary nodes that lead to auxiliary outputs only",
                remedy="feed the main path from the spike stream, or build this module without "
                "its auxiliary mark if it is meant to be deployed",
            )
    kept = tuple(_unrectified(n) for n in graph.nodes if n.name in needed)
    return replace(graph, nodes=kept, outputs=outputs)


def _unrectified(node: Node) -> Node:  # case 4
    op = node.op
    if not isinstance(op, RectifiedNeuron):
        return node
    below = np.nextafter(op.threshold, -np.inf)
    moved = (op.seen(op.threshold) < op.threshold) | (op.seen(below) >= op.threshold)
    if bool(moved.any()):
        raise AuxiliaryLeak(
            "without the membrane potential rectificator other neurons would fire",
            where=node.origin or node.name,
            found=f"phi(threshold) = {np.ravel(op.seen(op.threshold))[0]:g} at threshold "
            f"{np.ravel(op.threshold)[0]:g}",
            allowed="a threshold that the rectificator leaves where it is: 0.5",
            remedy="train with threshold 0.5 and reset amount 1, as InfLoR-SNN does",
        )
    return replace(node, op=Neuron(**{f.name: getattr(op, f.name) for f in fields(op)}))


def describe(before: Graph, after: Graph) -> tuple[str, ...]:
    """What went and what was shared, by module path."""
    kept = {n.origin for n in after.nodes if n.origin}
    went = [n.origin for n in before.nodes if after.producer(n.name) is None and n.origin]
    removed = sorted({o for o in went if o not in kept})
    shared = sorted({o for o in went if o in kept})
    notes = [f"removed {origin}" for origin in removed]
    notes += [
        f"removed the rectificator of {n.origin or n.name}: no spike changes"
        for n in before.nodes
        if isinstance(n.op, RectifiedNeuron) and after.producer(n.name) is not None
    ]
    return tuple(notes + [f"shared, kept for the main path: {origin}" for origin in shared])


def _role(graph: Graph, name: str) -> str:
    node = graph.producer(name)
    return node.role if node else "main"


def _path(graph: Graph, start: str, outputs: tuple[str, ...]) -> list[str]:
    """A shortest chain of edges from ``start`` to one of ``outputs``."""
    paths = [[start]]
    seen = {start}
    for path in paths:  # grows while it is read: breadth first
        if path[-1] in outputs:
            return path
        for reader in graph.consumers(path[-1]):
            if reader.name not in seen:
                seen.add(reader.name)
                paths.append([*path, reader.name])
    return [start]
