"""In which order the nodes of a foreign NIR graph are evaluated, and which edges close loops."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Set

from purespike.compiler.wording import Advice
from purespike.targets.nir.document import Document
from purespike.targets.nir.errors import NirFileError

Edge = tuple[str, str]


def sorted_nodes(document: Document, late: Set[Edge]) -> list[str]:
    """Nodes after those that they read, but for delays and ``late`` edges, which read the past."""
    place = {name: i for i, name in enumerate(document.nodes)}
    names = list(document.nodes)
    edges = [e for e in _prompt(document) if e not in late]
    follow = _followers(edges)
    waits = dict.fromkeys(names, 0)
    for _, b in edges:
        waits[b] += 1
    ready = [place[n] for n in names if not waits[n]]
    done: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        done.append(name)
        for reader in follow.get(name, ()):
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, place[reader])
    return done


def prompt_loops(document: Document) -> list[Edge]:
    """The edges of loops that have no Delay node."""
    edges = _prompt(document)
    component = _components(list(document.nodes), edges)
    return [(a, b) for a, b in edges if component[a] == component[b]]


def feedback_edges(document: Document, previous: bool) -> set[Edge]:
    """The edges that close loops without a Delay node.

    A loop gets its one step of delay where it is entered: the feedback edges are those from
    inside a strongly connected part to its only node that is also fed from outside. Where there
    are several such nodes, or loops are left, NIR does not say where the step sits.

    Args:
        document: A checked document.
        previous: Whether the caller stated that such edges carry the step before.

    Raises:
        NirFileError: If there is such a loop and it was not stated, or is not clear.
    """
    inside = prompt_loops(document)
    if not inside:
        return set()
    component = _components(list(document.nodes), _prompt(document))
    if not previous:
        raise NirFileError(
            "a loop has no Delay node, and NIR does not say which edge takes a step",
            where=f"edge {inside[0][0]!r} -> {inside[0][1]!r}",
            remedy=Advice("put a Delay node into the loop, or state {feedback}"),
        )
    entries: dict[str, set[str]] = {}
    looped = {component[a] for a, _ in inside}
    for a, b in document.edges:
        if component[b] in looped and component[a] != component[b]:
            entries.setdefault(component[b], set()).add(b)
    late = {(a, b) for a, b in inside if entries.get(component[b]) == {b}}
    left = [e for e in inside if e not in late]
    rest = _components(list(document.nodes), left)
    unclear = [(a, b) for a, b in left if rest[a] == rest[b]]
    if unclear:
        raise NirFileError(
            "it is not clear which edge of a loop takes a step",
            where=f"edge {unclear[0][0]!r} -> {unclear[0][1]!r}",
            found="a loop that is entered at more than one node, or a loop within a loop",
            remedy="put Delay nodes into the loops",
        )
    return late


def _prompt(document: Document) -> list[Edge]:
    """Edges that are read in the same step: all but those into a Delay."""
    return [e for e in document.edges if document.nodes[e[1]]["type"] != "Delay"]


def _followers(edges: Iterable[Edge]) -> dict[str, list[str]]:
    follow: dict[str, list[str]] = {}
    for a, b in edges:
        follow.setdefault(a, []).append(b)
    return follow


def _components(names: list[str], edges: list[Edge]) -> Mapping[str, str]:
    """The strongly connected component of each node, named by one member (Kosaraju, 1978).

    Two nodes are in one component if each reaches the other; a node with an edge to itself is
    in its own.
    """
    follow, before = _followers(edges), _followers((b, a) for a, b in edges)
    finished: list[str] = []
    seen: set[str] = set()
    for root in names:
        stack = [(root, iter(follow.get(root, ())))] if root not in seen else []
        seen.add(root)
        while stack:
            name, rest = stack[-1]
            new = next((n for n in rest if n not in seen), None)
            if new is None:
                finished.append(name)
                stack.pop()
            else:
                seen.add(new)
                stack.append((new, iter(follow.get(new, ()))))
    component: dict[str, str] = {}
    for root in reversed(finished):
        todo = [] if root in component else [root]
        while todo:
            name = todo.pop()
            if name not in component:
                component[name] = root
                todo.extend(before.get(name, ()))
    return component
