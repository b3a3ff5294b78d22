"""Between our layout and Lava's: (C, H, W) here is (W, H, C) there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Node, Shape
from purespike.compiler.wording import QUANTIZE


class EmitError(PurespikeError):
    """A graph that Lava's processes cannot say exactly."""


def to_lava_shape(shape: Shape) -> Shape:
    """(C, H, W) -> (W, H, C); flat stays flat."""
    return tuple(reversed(shape))


def lava_order(x: NDArray[Any]) -> NDArray[Any]:
    """The values of (C, H, W) in the order in which Lava flattens (W, H, C)."""
    return x.transpose(*range(x.ndim - 1, -1, -1)).reshape(-1)


def integers(x: Array, node: Node) -> NDArray[np.int64]:
    """The same numbers as integers; raises EmitError if one is not whole."""
    whole = np.rint(x).astype(np.int64)
    if not bool((whole == x).all()):
        raise EmitError(
            "Lava takes whole numbers only",
            where=node.origin or node.name,
            remedy=QUANTIZE,
        )
    return whole


def weights(x: Array, node: Node) -> NDArray[np.signedinteger[Any]]:
    """The same weights as integers in a byte or two each, if they fit: layers have millions."""
    whole = integers(x, node)
    sizes: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16)
    for size in sizes:
        small = whole.astype(size)
        if np.array_equal(small, whole):
            return small
    return whole
