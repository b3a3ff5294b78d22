"""How a fault is planted: one function of purespike is exchanged for a wrong one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from purespike.compiler import pipeline
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node

Patch = Callable[[], contextlib.AbstractContextManager[Any]]
Listed = dict[str, tuple[str, Patch]]  # by name: where it sits, and how it is put there


@dataclass(frozen=True)
class Mutant:
    """A fault, where it sits, and which comparison has to notice it.

    Attributes:
        name: What is wrong.
        where: An operation, a pass, or a folder.
        seen_by: ``executors`` (the interpreter against all others), ``passes`` (every pass, before
            and after), or the one executor that is wrong.
        patch: Plants it, for as long as the context lasts.
    """

    name: str
    where: str
    seen_by: str
    patch: Patch


def method(owner: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """Exchange ``owner.name`` for ``make(old)``."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


def stepping(owner: Any, change: Callable[[Any], dict[str, Any]]) -> Patch:
    """One step of ``owner`` runs with the parameters ``change(op)`` in place of its own."""

    def make(old: Any) -> Any:
        return lambda self, state, *inputs: old(replace(self, **change(self)), state, *inputs)

    return method(owner, "step", make)


def reading(owner: Any, change: Callable[..., tuple[Array, ...]]) -> Patch:
    """One step of ``owner`` runs with ``change(*inputs)`` as its inputs."""

    def make(old: Any) -> Any:
        return lambda self, state, *inputs: old(self, state, *change(*inputs))

    return method(owner, "step", make)


def taking(owner: Any, name: str, position: int, change: Callable[[Any], Any]) -> Patch:
    """``owner.name`` gets ``change(x)`` for its argument number ``position``."""

    def make(old: Any) -> Any:
        def wrong(*args: Any, **rest: Any) -> Any:
            changed = (change(a) if k == position else a for k, a in enumerate(args))
            return old(*changed, **rest)

        return wrong

    return method(owner, name, make)


def giving(owner: Any, name: str, change: Callable[[Any], Any]) -> Patch:
    """``owner.name`` gives ``change(x)`` for what it gave."""
    return method(owner, name, lambda old: lambda *args, **rest: change(old(*args, **rest)))


def bumped(weight: Any, by: int) -> Any:
    """The array with one value in the middle moved."""
    changed = weight.copy()
    changed.flat[changed.size // 2] += by
    return changed


def behind(name: str, change: Callable[[Graph], Graph]) -> Patch:
    """The graph that a pass leaves is changed before it is judged."""

    def standard(*args: Any, **options: Any) -> pipeline.Pipeline:
        passes = original(*args, **options)
        p = passes[name]
        return passes.replaced(name, replace(p, rewrite=lambda g: change(p.rewrite(g))))

    original = pipeline.standard_pipeline
    return lambda: mock.patch("helpers.random_graphs.standard_pipeline", standard)


def first(graph: Graph, kind: type, change: Callable[[Any], Any]) -> Graph:
    """The first node of a kind with another op."""
    nodes: list[Node] = list(graph.nodes)
    for k, node in enumerate(nodes):
        if isinstance(node.op, kind):
            nodes[k] = replace(node, op=change(node.op))
            return graph.rebuilt(nodes)
    return graph
