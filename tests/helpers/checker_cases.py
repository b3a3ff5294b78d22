"""NIR files with something done to them, and what purespike's own rules say about a graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purespike.compiler.checker import Verdict, inspect
from purespike.compiler.checker.statement import read_statement
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Add, Conv2d, FixedPoint, Flatten, Linear, Neuron, Scale
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.rules.graph_rules import (
    check_arithmetic,
    check_boundary,
    check_domains,
    check_operations,
)
from purespike.targets.nir.guard.guard import load

FIXED = FixedPoint()


def broken(graph: Graph) -> list[tuple[str, str]]:
    """(rule, node) of every broken rule that a NIR file alone can decide, too."""
    dense = {n.name: dense_counts(graph, n) for n in graph.nodes}
    findings = [
        *check_domains(graph),
        *check_operations(graph),
        *check_arithmetic(graph, dense, leak_multiplies=False),
        *check_boundary(graph, dense),
    ]
    return [(f.rule.id, f.where.split(" (module ")[0]) for f in findings if f.status == "FAIL"]


def judged(path: Path) -> Verdict:
    """What the checker says about a file."""
    document = load(path)
    return inspect(document.nodes, document.edges, read_statement(document.metadata))


def residual() -> Graph:
    """Two layers whose spikes an OR joins, with a relay around the second, and a readout."""
    r = np.random.default_rng(0)

    def neuron(threshold: float, **more: Any) -> Neuron:
        return Neuron(np.array(threshold), fixed=FIXED, **more)

    nodes = [
        ("conv1", Conv2d(r.integers(-3, 7, (2, 1, 3, 3)), padding=(1, 1)), ("x",)),
        ("n1", neuron(4.0), ("conv1",)),
        ("conv2", Conv2d(r.integers(-3, 7, (2, 2, 3, 3)), padding=(1, 1)), ("n1",)),
        ("n2", neuron(4.0, reset="subtract"), ("conv2",)),
        ("or.a", Scale(np.array(1.0)), ("n1",)),
        ("or.b", Scale(np.array(1.0)), ("n2",)),
        ("or.sum", Add(), ("or.a", "or.b")),
        ("or", neuron(1.0, decay=0.0), ("or.sum",)),
        ("flat", Flatten(), ("or",)),
        ("fc", Linear(r.integers(-9, 10, (3, 32))), ("flat",)),
        ("read", neuron(0.0, reset="none"), ("fc",)),
    ]
    return build((Edge("x", (1, 4, 4), SPIKE),), nodes, ("read",), 4)


def edit(path: Path, change: Callable[[Any, list[tuple[str, str]]], None]) -> None:
    """Change the nodes (HDF5 groups) and edges of a NIR file."""
    with h5py.File(path, "r+") as file:
        edges = [(a.decode(), b.decode()) for a, b in file["node/edges"][()]]
        change(file["node/nodes"], edges)
        del file["node/edges"]
        file["node"].create_dataset("edges", data=edges, dtype=h5py.string_dtype())


def insert(nodes: Any, edges: list[tuple[str, str]], at: tuple[str, str], **fields: Any) -> None:
    """A new node on an edge."""
    name = "inserted"
    put(nodes, name, **fields)
    edges[edges.index(at)] = (at[0], name)
    edges.append((name, at[1]))


def put(nodes: Any, name: str, **fields: Any) -> None:
    """Write a node, over one of that name."""
    if name in nodes:
        del nodes[name]
    group = nodes.create_group(name)
    for field, value in fields.items():
        group[field] = value


def remove(nodes: Any, edges: list[tuple[str, str]], name: str) -> None:
    """Take a node out; what it read goes to its readers."""
    del nodes[name]
    before = [a for a, b in edges if b == name]
    after = [b for a, b in edges if a == name]
    edges[:] = [e for e in edges if name not in e] + [(a, b) for a in before for b in after]
