"""Signals (C, L), which Conv1d takes, as images (C, 1, L): the graph's convolutions take images.

A kernel of height 1 without padding above and below sees the same values in the same order, and
flattening an image of height 1 gives what flattening the signal gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Edge, Graph, Op, Shape
from purespike.compiler.ir.ops import Delay, Neuron, Scale
from purespike.targets.nir.document import Document
from purespike.targets.nir.shapes import WINDOWS


def has_signals(document: Document, sends: Mapping[str, Shape]) -> bool:
    """Does a convolution or pool take signals? Without one, two axes have no such meaning."""
    return any(
        document.nodes[reader]["type"] in WINDOWS and len(sends[source]) == 2
        for source, reader in document.edges
    )


def on_images(graph: Graph) -> Graph:
    """The graph with (C, 1, L) for each (C, L); its convolutions and pools are on images already.

    Types are not inferred anew.
    """
    nodes = (replace(n, op=_tall(n.op), output=_image(n.output)) for n in graph.nodes)
    return replace(graph, inputs=tuple(map(_image, graph.inputs)), nodes=tuple(nodes))


def _image(edge: Edge) -> Edge:
    if len(edge.shape) != 2:
        return edge
    channels, length = edge.shape
    return replace(edge, shape=(channels, 1, length))


def _tall(op: Op) -> Op:
    if isinstance(op, Scale):
        return Scale(_raised(op.factor))
    if isinstance(op, Delay) and not isinstance(op.steps, int):
        return Delay(_raised(op.steps))
    if isinstance(op, Neuron):
        return replace(op, threshold=_raised(op.threshold), amount=_raised(op.amount))
    return op


def _raised(x: Array) -> Array:
    return np.expand_dims(x, 1) if x.ndim == 2 else x
