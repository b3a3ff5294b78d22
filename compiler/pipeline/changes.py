"""What a pass changed, node by node: for the ledger in one word, for a graph dump in detail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Literal

import numpy as np

from purespike.compiler.ir.graph import Graph, Node, Op

Change = Literal["made", "changed", "removed"]


def changed_nodes(before: Graph, after: Graph) -> dict[str, Change]:
    """What became of every node that is not as it was, by name; those of ``before`` first.

    A node is changed if its operation, a parameter, what it reads, its role, or the shape or domain
    of its output is another.
    """
    if after is before:
        return {}
    found: dict[str, Change] = {}
    for node in before.nodes:
        now = after.producer(node.name)
        if now is None:
            found[node.name] = "removed"
        elif now is not node and not _same(node, now):
            found[node.name] = "changed"
    made = (n.name for n in after.nodes if before.producer(n.name) is None)
    return {**found, **dict.fromkeys(made, "made")}


def _same(a: Node, b: Node) -> bool:
    if (a.inputs, a.output, a.role, a.origin) != (b.inputs, b.output, b.role, b.origin):
        return False
    return type(a.op) is type(b.op) and not any(changed_parameters(a.op, b.op))


def changed_parameters(before: Op, after: Op) -> Iterator[str]:
    """Every field of an operation that has another value, with both."""
    if after is before or not is_dataclass(after):
        return
    for name in (f.name for f in fields(after) if f.init):
        old, new = getattr(before, name), getattr(after, name)
        if old is new:
            continue
        if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
            arrays = any(isinstance(x, np.ndarray) for x in (old, new))
            if arrays or old != new:
                yield f"{name} {_short(old)} -> {_short(new)}"
        elif old.shape != new.shape or (not old.ndim and old != new):
            yield f"{name} {_short(old)} -> {_short(new)}"
        elif changed := int((old != new).sum()):
            with np.errstate(invalid="ignore"):  # infinite thresholds
                most = float(np.nanmax(np.abs(new - old)))
            yield f"{name}: {changed} of {old.size} values changed, by {most:.6g} at most"


def _short(value: object) -> str:
    if isinstance(value, np.ndarray):
        size = "x".join(map(str, value.shape))
        return f"array {size}" if size else f"{value:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
