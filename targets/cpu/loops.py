"""In which order layers run, and which of them are loops."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

from purespike.targets.cpu.plan import Layer


def in_order(layers: Iterable[Layer]) -> list[Layer]:
    """Each layer after those that it hears; layers that hear each other are numbered as a loop.

    Within a loop the order is the one given: there, whoever is heard at once stands first.
    """
    given = list(layers)
    maker = {x.out: k for k, x in enumerate(given) if x.out >= 0}
    hears = [{maker[a.source] for a in x.arms if a.source in maker} for x in given]
    at_once = [
        {maker[a.source] for a in x.arms if a.source in maker and not a.delay} for x in given
    ]
    reach = _closure(hears)
    group = [
        min((j for j in reach[k] if k in reach[j]), default=k) if k in reach[k] else k
        for k in range(len(given))
    ]
    members: dict[int, list[int]] = {}
    for k, g in enumerate(group):
        members.setdefault(g, []).append(k)
    between = {g: {group[j] for k in ks for j in hears[k]} - {g} for g, ks in members.items()}
    ordered: list[Layer] = []
    loops = 0
    for g in TopologicalSorter(between).static_order():
        ks = members[g]
        looped = g in reach[g]
        loops += looped
        inside = {k: {j for j in at_once[k] if j in ks} for k in ks}
        for k in TopologicalSorter(inside).static_order():
            given[k].loop = loops if looped else 0
            ordered.append(given[k])
    return ordered


def _closure(hears: list[set[int]]) -> list[set[int]]:
    """Everything that each layer hears, directly or through others."""
    reach: list[set[int]] = []
    for k in range(len(hears)):
        seen: set[int] = set()
        stack = list(hears[k])
        while stack:
            j = stack.pop()
            if j not in seen:
                seen.add(j)
                stack.extend(hears[j])
        reach.append(seen)
    return reach
