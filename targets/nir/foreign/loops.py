"""The bias in a loop, where NIR leaves open whether the first step sees it.

Such a loop carries the step before. Of a layer in it, tools keep one of two things from there: its
input, the spikes, of which there are none at first, so that the layer sends its bias (snnTorch); or
what it sent, of which there is nothing at first, so that its bias comes a step late (Norse).
Without a bias both are one network. A Delay node in the loop says itself which it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.targets.nir.document import Document, Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.order import Edge, feedback_edges
from purespike.targets.nir.foreign.soft_reset import merged
from purespike.targets.nir.shapes import WINDOWS

# Without a state: what they send follows from what they receive in the same step.
STATELESS = ("Affine", "Linear", "Scale", "Flatten", *WINDOWS)


def needs_recurrent_bias(document: Document, dt: float | None) -> bool:
    """Does a loop without a Delay node carry a bias? A file with broken loops is refused later."""
    with suppress(NirFileError):
        document = merged(document, 1.0 if dt is None else dt, True)
        return bool(biased(document, feedback_edges(document, True)))
    return False


def biased(document: Document, late: Set[Edge]) -> set[str]:
    """The nodes between a neuron and an edge that closes its loop, where one of them has a bias.

    Args:
        document: A checked document.
        late: The edges that close loops.
    """
    found: set[str] = set()
    for source, entry in late:
        way = _way(document, source, entry)
        if any(_has_bias(document.nodes[name]) for name in way):
            found |= way
    return found


def spikes_wait(
    document: Document, sends: Mapping[str, Shape], late: Set[Edge], dt: float
) -> tuple[Document, dict[str, Shape]]:
    """The document with Delay nodes in front of the layers of biased loops, and what it sends.

    A node whose value something else takes in the same step is there twice: the second one,
    ``name.late``, hears the step before.

    Args:
        document: A checked document.
        sends: The shape that each node sends.
        late: The edges that close loops.
        dt: Seconds per step.
    """
    moved = biased(document, late)
    prompt = _read_at_once(document, late, moved)
    name_of = {n: f"{n}.late" if n in prompt else n for n in moved}
    nodes, sizes = dict(document.nodes), dict(sends)
    edges: list[Edge] = []

    def add(name: str, fields: Fields, like: str) -> None:
        if name in document.nodes:
            raise NirFileError(
                "the name of a node is needed for a delay",
                where=f"node {name!r}",
                remedy="rename the node",
            )
        nodes[name], sizes[name] = fields, sends[like]

    for n in sorted(moved & prompt):
        add(name_of[n], document.nodes[n], n)
    for a, b in document.edges:
        if (a, b) in late and a in moved:
            edges.append((name_of[a], b))
            continue
        if b not in moved or b in prompt:
            edges.append((a, b))
        if b not in moved:
            continue
        if a in moved:
            edges.append((name_of[a], name_of[b]))
            continue
        wait = f"{a}.late"
        if wait not in nodes:
            add(wait, {"type": "Delay", "delay": np.full(sends[a], dt)}, a)
            edges.append((a, wait))
        edges.append((wait, name_of[b]))
    return replace(document, nodes=nodes, edges=tuple(edges)), sizes


def _read_at_once(document: Document, late: Set[Edge], moved: Set[str]) -> set[str]:
    """Those of ``moved`` whose value of the same step something needs."""
    found: set[str] = set()
    grown = True
    while grown:
        new = {
            a
            for a, b in document.edges
            if a in moved - found and (a, b) not in late and (b not in moved or b in found)
        }
        found |= new
        grown = bool(new)
    return found


def _way(document: Document, source: str, entry: str) -> set[str]:
    """The nodes without a state from ``source`` back to a neuron, or to where the loop begins."""
    way: set[str] = set()
    stack = [source]
    while stack:
        name = stack.pop()
        if name == entry or name in way or document.nodes[name]["type"] not in STATELESS:
            continue
        way.add(name)
        stack += [a for a, b in document.edges if b == name]
    return way


def _has_bias(fields: Fields) -> bool:
    return bool(np.any(fields["bias"])) if "bias" in fields else False
