"""The graph: nodes in order of evaluation, joined by typed edges. Nothing here is mutable.

Logical time: at step t every node sees what its inputs made at step t. States start at rest for
each sample, and a sample lasts ``Graph.steps`` steps. A readout is read at the last step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import Array, Domain

Role = Literal["main", "auxiliary", "host"]
Shape = tuple[int, ...]


class IRError(Refusal):
    """A graph breaks a rule of the graph language."""


@dataclass(frozen=True)
class Edge:
    """What one node sends to others at every time step; ``shape`` is without time and batch."""

    name: str
    shape: Shape
    domain: Domain

    def __str__(self) -> str:
        return f"%{self.name}: {'x'.join(map(str, self.shape)) or 'scalar'} {self.domain}"


class Op:
    """An operation: its typing rule and its meaning, each stated once.

    All arrays are float64. Integers stay exact in them: every sum of a legal graph is far below
    2**53, which the range proof confirms.
    """

    delays: ClassVar[bool] = False  # reads its input one or more steps late: may close a loop

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Shape and domain of the output; raises IRError if the inputs do not fit."""
        raise NotImplementedError

    def start(self, batch: int, shape: Shape) -> Any:
        """The state at rest for ``batch`` samples of an output of ``shape``."""
        return None

    def step(self, state: Any, *inputs: Array) -> tuple[Any, Array]:
        """One time step on arrays (B, *shape): (state, inputs) -> (state, output)."""
        raise NotImplementedError

    def read(self, state: Any) -> Array:
        """For an op that ``delays``: its output, from the state alone."""
        raise NotImplementedError

    def arrays(self) -> dict[str, Array]:
        """The parameters that are arrays, by name."""
        return {}

    def details(self) -> str:
        """Parameters worth a glance in the printed graph."""
        return ""


def frozen(x: ArrayLike, *, infinite: bool = False) -> Array:
    """As a read-only float64 array: parameters are shared between graphs and must not change.

    Raises:
        IRError: If a value is not a number, or infinite where that has no meaning.
    """
    array = x if _is_frozen(x) else np.array(x, dtype=np.float64)
    if bool(np.isnan(array).any()) or not (infinite or bool(np.isfinite(array).all())):
        raise IRError(
            "a parameter is not finite",
            found=f"{int((~np.isfinite(array)).sum())} of {array.size} values are NaN or infinite",
            remedy="the training diverged, or the file is damaged",
        )
    array.setflags(write=False)
    return array


def _is_frozen(x: ArrayLike) -> TypeGuard[Array]:
    """Can nobody write to it? Then it needs no copy: large layers are handed on as they are."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float64 or x.flags.writeable:
        return False
    return x.base is None or (isinstance(x.base, np.ndarray) and not x.base.flags.writeable)


@dataclass(frozen=True)
class Node:
    """One operation, the edges it reads in order, and the edge it writes.

    Attributes:
        op: The operation.
        inputs: Names of the edges it reads; the order matters (IAND).
        output: The edge it writes; its name is the node's name.
        role: ``auxiliary`` exists for training only, ``host`` runs beside the chip.
        origin: Dotted path of the module that it was captured from.
    """

    op: Op
    inputs: tuple[str, ...]
    output: Edge
    role: Role = "main"
    origin: str = ""

    @property
    def name(self) -> str:
        """The name of the edge that the node writes."""
        return self.output.name

    def __str__(self) -> str:
        arguments = ", ".join(
            ["%" + i for i in self.inputs] + ([d] if (d := self.op.details()) else [])
        )
        notes = [f"from {self.origin}"] if self.origin and self.origin != self.name else []
        notes = ([self.role] if self.role != "main" else []) + notes
        tail = f"  # {', '.join(notes)}" if notes else ""
        return f"{self.output} = {type(self.op).__name__}({arguments}){tail}"


@dataclass(frozen=True)
class Graph:
    """A network: inputs, nodes in order of evaluation, outputs, T steps of ``dt`` seconds."""

    inputs: tuple[Edge, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    steps: int
    dt: float = 1e-3
    _by_name: dict[str, Node] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {n.name: n for n in self.nodes})

    def __repr__(self) -> str:
        """One line, without weights; ``str`` gives one line per node."""
        inputs, outputs = ", ".join(map(str, self.inputs)), ", ".join(self.outputs)
        return f"Graph({inputs} -> {outputs}, nodes={len(self.nodes)}, T={self.steps})"

    def _repr_svg_(self) -> str | None:
        """For notebooks: the network as a report draws it; None if it is too large for that."""
        from purespike.compiler.report.page.standalone import graph_picture  # it knows graphs

        return graph_picture(self)

    def edges(self) -> Iterator[Edge]:
        """Every edge, inputs first."""
        yield from self.inputs
        yield from (n.output for n in self.nodes)

    @cached_property
    def _edges(self) -> dict[str, Edge]:
        return {e.name: e for e in self.edges()}

    def edge(self, name: str) -> Edge:
        """The edge of that name; raises IRError if there is none."""
        try:
            return self._edges[name]
        except KeyError:
            raise IRError(
                f"the graph has no edge %{name}", allowed=", ".join(self._edges)
            ) from None

    def producer(self, name: str) -> Node | None:
        """The node that writes the edge; None for an input of the graph."""
        return self._by_name.get(name)

    @cached_property
    def _readers(self) -> dict[str, tuple[Node, ...]]:
        readers: dict[str, list[Node]] = {e.name: [] for e in self.edges()}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    def consumers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read the edge, in order; a node that reads it twice stands once."""
        return self._readers.get(name, ())

    def origin(self, name: str) -> str:
        """The module path behind an edge, or the edge's own name where there is none."""
        node = self.producer(name)
        return (node.origin if node else "") or name

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """Every edge that the named edges depend on, themselves included."""
        seen: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.producer(name)
            stack.extend(node.inputs if node else ())
        return seen

    def rebuilt(self, nodes: Iterable[Node], outputs: tuple[str, ...] | None = None) -> Graph:
        """The graph with these nodes; every edge's shape and domain is inferred anew.

        A node that reads an edge before it is written (through a delay, in a loop) is typed by
        the edge as declared; ``verify`` then checks that the declaration holds.
        """
        nodes = tuple(nodes)
        known = {e.name: e for e in self.inputs}
        declared = {n.name: n.output for n in nodes}
        typed: list[Node] = []
        for node in nodes:
            try:
                edges = [known[i] if i in known else declared[i] for i in node.inputs]
            except KeyError as e:
                raise IRError(f"%{node.name} reads %{e.args[0]}, which no node writes") from None
            try:
                output = Edge(node.name, *node.op.infer(*edges))
            except IRError as e:
                e.where = e.where or f"%{node.name} (module {node.origin or node.name})"
                raise
            typed.append(node if output == node.output else replace(node, output=output))
            known[node.name] = output
        return replace(self, nodes=tuple(typed), outputs=outputs or self.outputs)

    def __str__(self) -> str:
        body = [f"{e} = input" for e in self.inputs] + [str(n) for n in self.nodes]
        head = f"graph (T = {self.steps}, dt = {self.dt:g} s) {{"
        return "\n".join([head, *("  " + b for b in body), "} -> %" + ", %".join(self.outputs)])


def build(
    inputs: tuple[Edge, ...],
    nodes: Iterable[tuple[str, Op, tuple[str, ...]]],
    outputs: tuple[str, ...],
    steps: int,
    dt: float = 1e-3,
    *,
    loops: Iterable[Edge] = (),
) -> Graph:
    """A graph from (name, op, inputs) triples; shapes and domains are inferred.

    ``loops`` declares the edges that a delay reads before they are written.
    """
    declared = {e.name: e for e in loops}
    unknown = Domain(0, 0, 0)
    drafts = [
        Node(op, tuple(reads), declared.get(name, Edge(name, (), unknown)))
        for name, op, reads in nodes
    ]
    return Graph(inputs, (), outputs, steps, dt).rebuilt(drafts)
