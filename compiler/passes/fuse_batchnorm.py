"""Fuse batch normalisation (also tdBN) into the convolution or linear layer beside it.

``y = g x + h`` with ``g = gamma / sqrt(variance + eps)`` and ``h = beta - g mean`` per channel
(full-spike AAP paper, Eq. 16 and 17). tdBN is the same with ``gamma = lambda alpha V_th`` (Zheng et
al. 2021, Eq. 4). After a layer padding needs no care: it comes before the weights, and the
shift comes after them. Before a padded layer it does: the zeros would have to be shifted too.

Cases:
1. After a convolution or linear layer that nothing else reads: ``W' = g W``, ``b' = g b + h``.
2. Several batch norms in a row: each in turn.
3. Another node reads the layer before its batch norm: refused.
4. After a sum of such layers and of spikes: each layer takes the factor, the first one the shift
   too, and spikes get a one-to-one synapse.
5. After average pooling of such a layer or sum: in front of the pool, where the pool pads nothing.
6. Before convolutions and linear layers, also behind average pooling and flattening: into their
   input columns and biases. With a shift and zero padding: refused.
7. On spikes (or an average of them) in front of neurons: a depthwise convolution of size 1.
8. None of these: refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, AvgPool2d, BatchNorm, Conv2d, Linear
from purespike.compiler.ir.rewrite import (
    Match,
    absorb,
    applied,
    draft,
    into_neurons_only,
    is_current,
    one_to_one,
    only_reader,
    scaled,
)


class BatchNormError(Refusal):
    """A batch norm that cannot be fused exactly."""


def fuse_batchnorm(graph: Graph) -> Graph:
    """The graph without batch norms.

    Raises:
        BatchNormError: Cases 3, 6 and 8.
    """
    while True:
        norms = [n for n in graph.nodes if isinstance(n.op, BatchNorm)]
        if not norms:
            return graph
        refused: list[BatchNormError] = []
        for norm in norms:  # one that is stuck now may be free when its neighbour is gone
            try:
                graph = applied(graph, _fuse(graph, norm))
                break
            except BatchNormError as e:
                refused.append(e)
        else:
            raise refused[0]


def _fuse(graph: Graph, norm: Node) -> Match:
    assert isinstance(norm.op, BatchNorm)
    factor, shift = norm.op.affine()
    before = graph.producer(norm.inputs[0])
    if before is not None and isinstance(before.op, Conv2d | Linear):  # cases 1 to 3
        _alone(graph, norm, before)
        fused = replace(before, op=scaled(before.op, factor, shift))
        return {before.name: [fused], norm.name: []}, {norm.name: before.name}
    if before is not None and isinstance(before.op, Add) and is_current(graph, before.name):
        return _into_sum(graph, norm, before, factor, shift)  # case 4
    if before is not None and isinstance(before.op, AvgPool2d):  # case 5
        behind = graph.producer(before.inputs[0])
        if behind is not None and isinstance(behind.op, Conv2d | Linear | Add):
            _alone(graph, norm, before)
            return _swapped(graph, before, norm, shift)
    reader = only_reader(graph, norm.name)
    if reader is not None and isinstance(reader.op, AvgPool2d):  # case 6, through a pool
        return _swapped(graph, norm, reader, shift)
    shape = norm.output.shape
    spikes = before.inputs[0] if before and isinstance(before.op, AvgPool2d) else norm.inputs[0]
    if (
        len(shape) == 3
        and graph.edge(spikes).domain <= SPIKE
        and into_neurons_only(graph, norm.name)
    ):  # case 7
        bias = shift if np.any(shift) else None
        op = Conv2d(factor.reshape(-1, 1, 1, 1), bias, groups=shape[0])
        return {norm.name: [replace(norm, op=op)]}, {}
    wide = (-1, *(1,) * (len(shape) - 1))
    found = absorb(graph, norm, factor.reshape(wide), shift.reshape(wide))  # case 6
    if isinstance(found, str):
        raise BatchNormError(
            "this batch norm has no convolution or linear layer that could take it",
            where=graph.origin(norm.name),
            found=f"its input comes from {_kind(before)} {graph.origin(norm.inputs[0])}; {found}",
            allowed="a Conv2d or Linear directly before it, or only such layers after it, "
            "unpadded where the batch norm shifts",
            remedy="normalise the current (after the layer, before the neuron), not the spikes",
        )
    return found


def _alone(graph: Graph, norm: Node, layer: Node) -> None:
    """Refuse a layer that something besides its batch norm reads (case 3)."""
    if only_reader(graph, layer.name) is not norm:
        others = [graph.origin(n.name) for n in graph.consumers(layer.name) if n is not norm]
        raise BatchNormError(
            "another node reads this layer before its batch norm",
            where=graph.origin(layer.name),
            found=f"also read by {', '.join(others) or 'an output'}",
            remedy="give each reader a layer of its own",
        )


def _into_sum(graph: Graph, norm: Node, add: Node, factor: Array, shift: Array) -> Match:
    _alone(graph, norm, add)
    swaps: dict[str, list[Node]] = {norm.name: []}
    inputs, rest = [], shift if np.any(shift) else None
    for k, name in enumerate(add.inputs):
        part = graph.producer(name)
        if part is not None and isinstance(part.op, Conv2d | Linear):
            _alone(graph, add, part)
            swaps[name] = [replace(part, op=scaled(part.op, factor, rest))]
            inputs.append(name)
            rest = None
        elif graph.edge(name).domain <= SPIKE and not is_current(graph, name):
            weight = one_to_one(factor, norm.output.shape)
            synapse = draft(norm, f"{norm.name}.in{k}", weight, (name,))
            swaps.setdefault(add.name, []).append(synapse)
            inputs.append(synapse.name)
        else:
            rest = shift
            break
    if rest is not None or len(set(add.inputs)) < len(add.inputs):
        raise BatchNormError(
            "this batch norm normalises a sum that cannot take it",
            where=graph.origin(norm.name),
            found=", ".join(f"{_kind(graph.producer(i))} {graph.origin(i)}" for i in add.inputs),
            allowed="a sum of layers and spikes, each once, at least one Conv2d or Linear",
            remedy="normalise each layer before the sum",
        )
    swaps[add.name] = [*swaps.get(add.name, []), replace(add, inputs=tuple(inputs))]
    return swaps, {norm.name: add.name}


def _swapped(graph: Graph, first: Node, second: Node, shift: Array) -> Match:
    """A batch norm and an average pool that read one another, the other way round."""
    pool = next(n.op for n in (first, second) if isinstance(n.op, AvgPool2d))
    if any(pool.padding) and np.any(shift):
        norm = first if isinstance(first.op, BatchNorm) else second
        raise BatchNormError(
            "average pooling with zero padding stands between this batch norm and its layer",
            where=graph.origin(norm.name),
            found=f"padding {pool.padding}, whose zeros the batch norm would have to shift too",
            allowed="a pool without padding, or a batch norm without shift",
            remedy="normalise before pooling, directly after the layer",
        )
    front = draft(second, f"{second.name}.first", second.op, first.inputs)
    back = draft(first, second.name, first.op, (front.name,))
    return {first.name: [], second.name: [front, back]}, {}


def _kind(node: Node | None) -> str:
    return "the input" if node is None else type(node.op).__name__
