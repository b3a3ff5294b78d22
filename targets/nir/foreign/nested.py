"""Graphs within graphs, made flat: a node ``b`` of the graph ``a`` becomes the node ``a.b``.

An inner graph's Input and Output are places and no nodes: what enters the graph goes to whatever
reads its Input, what feeds its Output goes to whatever reads the graph. Sums stay sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from purespike.targets.nir.document import Fields
from purespike.targets.nir.errors import NirFileError

Edge = tuple[str, str]


@dataclass(frozen=True)
class Level:
    """One graph, flat but for its ports."""

    nodes: Mapping[str, Fields]
    edges: tuple[Edge, ...]


def flattened(
    nodes: Mapping[str, Fields], edges: tuple[Edge, ...], inner: Mapping[str, Level]
) -> Level:
    """One flat graph.

    Args:
        nodes: The nodes of the outer graph that are not graphs.
        edges: The edges of the outer graph.
        inner: The graphs among its nodes, flat themselves.

    Raises:
        NirFileError: If a name is taken, or an inner graph has not exactly one Input and Output
            that other nodes stand between.
    """
    merged = dict(nodes)
    entries: dict[str, list[str]] = {}
    exits: dict[str, list[str]] = {}
    joined: list[Edge] = []
    for name, level in inner.items():
        where = f"node {name!r} (NIRGraph)"
        source, sink = (_port(level, kind, where) for kind in ("Input", "Output"))
        for node, fields in level.nodes.items():
            if node in (source, sink):
                continue
            if f"{name}.{node}" in merged or f"{name}.{node}" in inner:
                raise NirFileError(
                    "two nodes have one name when the graphs are made flat",
                    where=where,
                    found=f"{name}.{node}",
                    remedy="rename one of them",
                )
            merged[f"{name}.{node}"] = fields
        if (source, sink) in level.edges:
            raise NirFileError(
                "an inner graph passes its input on",
                where=where,
                remedy="join what it stands between directly",
            )
        entries[name] = [f"{name}.{b}" for a, b in level.edges if a == source]
        exits[name] = [f"{name}.{a}" for a, b in level.edges if b == sink]
        joined += [
            (f"{name}.{a}", f"{name}.{b}")
            for a, b in level.edges
            if source not in (a, b) and sink not in (a, b)
        ]
    for a, b in edges:
        joined += [(x, y) for x in exits.get(a, [a]) for y in entries.get(b, [b])]
    return Level(merged, tuple(joined))


def _port(level: Level, kind: str, where: str) -> str:
    found = [n for n, fields in level.nodes.items() if fields.get("type") == kind]
    if len(found) != 1:
        raise NirFileError(
            f"an inner graph has exactly one {kind}: an edge does not say which it means",
            where=where,
            found=", ".join(found) or "none",
        )
    return found[0]
