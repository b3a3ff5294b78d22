"""The interpreter on a part of a network: what lies behind spikes that are known already."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run


def run_part(
    graph: Graph,
    names: Collection[str],
    known: Mapping[str, NDArray[Any]],
    *,
    lean: bool = False,
) -> Trace:
    """The values of edges, computed from those that are known: bit for bit as in a whole run.

    Args:
        graph: A verified graph.
        names: Edges to compute, whether they are known or not.
        known: What edges carry (T, B, *shape); the inputs of the graph are among them.
        lean: As `run`.

    Returns:
        A trace of ``names``.
    """
    needed: set[str] = set()
    given: dict[str, NDArray[Any]] = {}
    stack = list(names)
    while stack:
        name = stack.pop()
        node = graph.producer(name)
        if node is None:
            given[name] = known[name]
        elif name not in needed:
            needed.add(name)
            for read in node.inputs:
                if read in known and read not in names:
                    given[read] = known[read]
                else:
                    stack.append(read)
    part = replace(
        graph,
        inputs=tuple(graph.edge(name) for name in given),
        nodes=tuple(n for n in graph.nodes if n.name in needed),
        outputs=tuple(names),
    )
    return run(part, given, record=set(names), lean=lean)
