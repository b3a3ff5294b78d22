"""Shapes as tools write them, where the layers decide what is meant.

NIR's shapes are those of one sample at one step, and every parameter of a neuron has a value for
each neuron. Tools also write (measured, see docs/errata.md):

1. Axes for samples and steps in front, on Input and Output: (1, T, N), (1, N), (1, C, H, W).
2. One number for all: a parameter without axes or of one element, for as many values as arrive.
3. Parameters of one node in several shapes, which broadcast to one.
4. A bias of one number.
5. A Flatten that counts a batch axis: ``start_dim`` 1.
6. An Output of one element behind neurons that are given by one number.

Where what a layer takes leaves one reading, that is taken and noted. Anything else stays as it is,
and `shapes` refuses it with both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.targets.nir.document import Document, Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.schema import NEURON, check_edges, check_fields
from purespike.targets.nir.shapes import LARGEST, signature, sizes

MOST_AXES = 2  # in front: samples and steps
ELEMENTWISE = {"Scale": ("scale",), "Delay": ("delay",), "Threshold": ("threshold",)}
_SHOWN = 3


def settled(document: Document) -> tuple[Document, tuple[str, ...]]:
    """The document with the shapes that its layers decide, and in words what was taken.

    Raises:
        NirFileError: If a node is not of its type, or an edge joins nothing.
    """
    nodes = {name: dict(fields) for name, fields in document.nodes.items()}
    draft = _Draft(replace(document, nodes=nodes))
    for name, fields in nodes.items():
        draft.alone(name, fields)
    for name, fields in nodes.items():
        check_fields(name, fields)
    check_edges(draft.document)
    draft.walk()
    return draft.document, tuple(draft.notes())


@dataclass
class _Draft:
    document: Document
    taken: list[str] = field(default_factory=list)
    one: dict[str, None] = field(default_factory=dict)  # nodes given by one number

    def __post_init__(self) -> None:
        self.nodes: dict[str, Fields] = dict(self.document.nodes)
        self.readers: dict[str, list[str]] = {}
        for a, b in self.document.edges:
            self.readers.setdefault(a, []).append(b)

    def notes(self) -> Iterator[str]:
        yield from self.taken
        if self.one:
            names = list(self.one)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"one number for all values: {', '.join(names[:_SHOWN])}{more}"

    def alone(self, name: str, fields: Fields) -> None:
        """What a node says of itself: parameters of one shape, a bias for each output."""
        arrays = {f: a for f in _parameters(fields) if isinstance(a := fields[f], np.ndarray)}
        shapes = {a.shape for a in arrays.values()}
        if len(shapes) > 1 and all(a.size for a in arrays.values()):
            full = _broadcast(*shapes)
            if full is not None and prod(full) <= LARGEST:
                fields.update({f: np.broadcast_to(a, full) for f, a in arrays.items()})
                self.one[name] = None
        weight, bias = fields.get("weight"), fields.get("bias")
        if not isinstance(weight, np.ndarray) or not isinstance(bias, np.ndarray):
            return
        if weight.ndim and bias.size == 1 and bias.shape != weight.shape[:1]:
            fields["bias"] = np.broadcast_to(bias.reshape(1), weight.shape[:1])
            self.one[name] = None

    def walk(self) -> None:
        """From the inputs on, each node as what it receives says."""
        sends: dict[str, Shape] = {}
        ready = []
        for name in self.document.of_type("Input"):
            sends[name] = self._input(name)
            ready.append(name)
        while ready:
            source = ready.pop()
            for name in self.readers.get(source, []):
                if name in sends:
                    continue
                self._receives(name, source, sends[source])
                sends[name] = signature(name, self.nodes[name], sends[source])[1]
                if prod(sends[name]) <= LARGEST:  # else `shapes` refuses it
                    ready.append(name)

    def _input(self, name: str) -> Shape:
        """The shape of an Input without the axes in front that no layer takes."""
        said = sizes(self.nodes[name], "shape")
        for dropped in range(min(MOST_AXES, len(said) - 1) + 1):
            shape = said[dropped:]
            if dropped and self._takes(name, shape):
                self._say(name, "shape", said, shape)
                return shape
            if not dropped and self._takes(name, shape) is not False:
                break
        return said

    def _takes(self, source: str, x: Shape, seen: frozenset[str] = frozenset()) -> bool | None:
        """Do the readers of a node take its shape? None where nothing tells."""
        answers = {
            self._fits(b, x, seen | {b}) for b in self.readers.get(source, ()) if b not in seen
        }
        return False if False in answers else True if True in answers else None

    def _fits(self, name: str, x: Shape, seen: frozenset[str]) -> bool | None:
        fields = self.nodes[name]
        kind = fields["type"]
        if kind == "Output":
            return None
        if kind == "Flatten":
            first = int(np.asarray(fields["start_dim"]))
            batch = len(x) in (2, 4) and first == 1 == x[0] and _said(fields) in (x, None)
            return False if batch else self._takes(name, (prod(x),), seen)
        own = _own_shape(fields)
        if own is not None and prod(own) == 1:
            return self._takes(name, x, seen)
        if own is not None:
            return _stretched(own, x) is not None
        try:
            takes, makes = signature(name, fields, x)
        except NirFileError:
            return False
        return (
            False if takes != x else True if "weight" in fields else self._takes(name, makes, seen)
        )

    def _receives(self, name: str, source: str, x: Shape) -> None:
        """Settle a node that receives ``x``."""
        fields = self.nodes[name]
        kind, own = fields["type"], _own_shape(fields)
        if kind == "Output":
            said = sizes(fields, "shape")
            if said != x and (
                (len(said) - len(x) in range(1, MOST_AXES + 1) and said[-len(x) :] == x)
                or (prod(said) == 1 and source in self.one)
            ):
                self._say(name, "shape", said, x)
        elif kind == "Flatten":
            self._flatten(name, fields, x)
        elif own is not None and own != x and (full := _stretched(own, x)) is not None:
            for parameter in _parameters(fields):
                fields[parameter] = np.broadcast_to(np.reshape(fields[parameter], full), x)
            if prod(own) != prod(x):
                self.one[name] = None

    def _flatten(self, name: str, fields: Fields, x: Shape) -> None:
        said = _said(fields) or x
        batch = len(said) - len(x)
        if said != x and not (batch in range(1, MOST_AXES + 1) and said[batch:] == x):
            return
        first, last = (int(np.asarray(fields[k])) for k in ("start_dim", "end_dim"))
        axes = len(said)
        whole = (first % axes, last % axes) == (0, axes - 1)
        behind = first % axes in range(batch + 2) and last % axes == axes - 1
        if said == x and (whole or not behind or not self._takes(name, (prod(x),))):
            return
        if not (whole or behind):
            return
        fields["start_dim"], fields["end_dim"] = np.array(0), np.array(-1)
        fields["input_type"] = np.array(x)
        self.taken.append(f"Flatten {name!r}: all axes of {x}")

    def _say(self, name: str, key: str, said: Shape, shape: Shape) -> None:
        fields = self.nodes[name]
        fields[key] = np.array(shape)
        self.taken.append(f"{fields['type']} {name!r} {said}: {shape} a sample and step")


def _said(flatten: Fields) -> Shape | None:
    """The shape that a Flatten says it takes."""
    return sizes(flatten, "input_type") if "input_type" in flatten else None


def _parameters(fields: Fields) -> list[str]:
    """The fields of a node that have a value for each value that it takes."""
    return [f for f in (*ELEMENTWISE.get(str(fields.get("type")), ()), *NEURON) if f in fields]


def _own_shape(fields: Fields) -> Shape | None:
    """The shape of a node that takes each value by itself; None of others."""
    names = _parameters(fields)
    return tuple(np.shape(fields[names[0]])) if names else None


def _stretched(own: Shape, x: Shape) -> Shape | None:
    """The shape of ``own`` that broadcasts to ``x``: without axes in front that x does not have."""
    if prod(own) == 1:
        return (1,) * len(x)
    front = len(own) - len(x)
    if front > 0 and prod(own[:front]) == 1:
        own = own[front:]
    fits = len(own) == len(x) and all(a in (1, b) for a, b in zip(own, x, strict=True))
    return own if fits else None


def _broadcast(*shapes: Shape) -> Shape | None:
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        return None
