"""What layers did: a pass that leaves a layer and all before it as they are need not run them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph, Op

LARGEST = 1 << 28  # bytes of values that are kept


class Memory:
    """Values of edges by the operations that made them and the input that they were made of.

    Operations cannot change, so the same objects on the same input give the same values.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._alive: list[Op] = []  # an object's number is its own only while it lives
        self._values: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._bytes = 0

    def input(self, graph: Graph, x: NDArray[np.uint8]) -> int:
        """The number of an input (T, B, *shape), by its content."""
        return self._number(("input", graph.steps, x.shape, hashlib.sha256(x.data).digest()))

    def edge(self, graph: Graph, name: str, numbers: dict[str, int]) -> int:
        """The number of an edge.

        Args:
            graph: One without delays.
            name: The edge.
            numbers: Of edges that have one, the input among them; takes up those on the way.
        """
        if name not in numbers:
            node = graph.producer(name)
            assert node is not None
            reads = tuple(self.edge(graph, i, numbers) for i in node.inputs)
            key = (id(node.op), *reads)
            if key not in self._numbers:
                self._alive.append(node.op)
            numbers[name] = self._number(key)
        return numbers[name]

    def get(self, number: int) -> NDArray[Any] | None:
        """What an edge carried, if it is kept."""
        found = self._values.get(number)
        if found is not None:
            self._values.move_to_end(number)
        return found

    def put(self, number: int, values: NDArray[Any]) -> None:
        """Keep what an edge carried; the values asked for longest ago make room."""
        if values.nbytes > LARGEST or number in self._values:
            return
        self._values[number] = values
        self._bytes += values.nbytes
        while self._bytes > LARGEST:
            _, old = self._values.popitem(last=False)
            self._bytes -= old.nbytes

    def _number(self, key: tuple[Any, ...]) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
