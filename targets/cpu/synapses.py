"""The synapses of a layer, and how each of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Node
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Scale
from purespike.targets.cpu.draft import Draft, placed, refuse
from purespike.targets.cpu.plan import Arm, Buffer, Ints, Kind, Place

# Tables of the sums of four weights take 32 bytes for each four inputs and output channel: worth it
# where they stay in the cache, and where few channels would be too few for a list.
TABLE_BYTES = 300_000
TABLE_CHANNELS = 16
LISTED = 1 << 16  # spikes of a row of a list have numbers below this


def arms(draft: Draft, name: str, place: Place, delay: int = 0) -> list[tuple[Arm, Array | None]]:
    """The synapses of a layer at ``place``, each with its bias."""
    node = draft.graph.producer(name)
    op = node.op if node else None
    if node is not None and isinstance(op, Add | Flatten) and not node.output.domain <= SPIKE:
        return [a for part in node.inputs for a in arms(draft, part, place, delay)]
    if node is not None and isinstance(op, Add):
        return [a for part in node.inputs for a in arms(draft, part, place, delay)]
    if node is not None and isinstance(op, Delay) and not node.output.domain <= SPIKE:
        return arms(draft, node.inputs[0], place, delay + int(op.longest))
    if node is not None and isinstance(op, Conv2d):
        return [(convolution(draft, node, op, delay), op.bias)]
    if node is not None and isinstance(op, Linear):
        return [(linear(draft, node, op, delay), op.bias)]
    if node is not None and isinstance(op, Scale):
        return [(one_to_one(draft, node.name, node.inputs[0], op.factor, place, delay), None)]
    return [(one_to_one(draft, name, name, np.ones(()), place, delay), None)]


def convolution(draft: Draft, node: Node, op: Conv2d, delay: int) -> Arm:
    """With groups: one weight a channel and tap if depthwise, else zeros between the groups."""
    source = draft.source(node.inputs[0])
    shape = draft.graph.edge(node.inputs[0]).shape
    if draft.buffers[source.buffer].place != placed(shape):
        refuse(node.name, f"an input of {shape}", "the image that the neurons before it form")
    w = whole(op.weight, node.name)
    geometry = (op.stride, op.padding, op.dilation)
    kernel = (w.shape[2], w.shape[3])
    if op.groups > 1 and op.groups == len(w) and w.shape[1] == 1:
        taps = w.reshape(len(w), -1).T
        return Arm(node.name, "lanewise", source.buffer, delay + source.delay, taps, kernel,
                   *geometry)  # fmt: skip
    if op.groups > 1:  # zeros between the groups: spikes are few, and rows are added whole
        each = w.shape[1]
        wide = np.zeros((len(w), shape[0], *kernel), np.int64)
        for k, row in enumerate(w):
            first = k // (len(w) // op.groups) * each
            wide[k, first : first + each] = row
        w = wide
    kind = dense(w, node.name)
    return Arm(node.name, kind, source.buffer, delay + source.delay, w, kernel, *geometry)


def linear(draft: Draft, node: Node, op: Linear, delay: int) -> Arm:
    """A convolution whose kernel is the whole image that it reads."""
    source = draft.source(node.inputs[0])
    c, h, w = draft.buffers[source.buffer].place
    delay += source.delay
    held = op.kept
    if op.run == 1 and h * w > 1:  # a file may have written out what all places share
        places = held.reshape(len(held), c, h * w)
        same = bool((places == places[:, :, :1]).all())
        held = places[:, :, 0] if same else held
    kept = whole(held, node.name)
    if h * w > 1 and kept.shape[1] == c:
        kept = kept.reshape(len(kept), c, 1, 1)
        dense(kept, node.name)
        return Arm(node.name, "events", source.buffer, delay, kept, (h, w), shared=True)
    kept = op.spread(kept).reshape(-1, c, h, w)
    return Arm(node.name, dense(kept, node.name), source.buffer, delay, kept, (h, w))


def one_to_one(draft: Draft, name: str, reads: str, factor: Array, place: Place, delay: int) -> Arm:
    """A weight for each spike; flattened first if the layer is."""
    source = draft.source(reads)
    if draft.buffers[source.buffer].place != place:
        source = draft.flattened(source)
    if draft.buffers[source.buffer].place != place:
        refuse(name, f"spikes of {draft.buffers[source.buffer].place}", f"spikes of {place}")
    weight = whole(factor, name)
    full = np.broadcast_to(weight, draft.graph.edge(reads).shape).reshape(place)
    same = bool((full == full[:, :1, :1]).all())
    taps = full[None, :, 0, 0] if same else full[None]
    return Arm(name, "lanewise", source.buffer, delay + source.delay, np.ascontiguousarray(taps))


def whole(values: Array, where: str) -> Ints:
    """The same numbers as integers."""
    rounded = np.rint(values)
    if not bool((rounded == values).all()) or (values.size and np.abs(values).max() >= 1 << 24):
        refuse(
            where, f"weights of {values.min():g} to {values.max():g}", "whole numbers below 2**24"
        )
    return rounded.astype(np.int64)


def dense(weight: Ints, where: str) -> Kind:
    """The kind of a synapse with all weights: tables for few channels, else events."""
    if weight.size and np.abs(weight).max() > 32767:
        refuse(where, f"a weight of {np.abs(weight).max()}", "weights of 16 bits")
    out, channels, kh, kw = weight.shape
    size = 32 * 2 * -(-channels // 8) * kh * kw * (-(-out // 16) * 16)
    sums = np.abs(weight).sum(axis=(1, 2, 3)).max() if weight.size else 0
    few = channels <= TABLE_CHANNELS and size <= TABLE_BYTES and sums <= 32767
    return "tables" if few else "events"


def cut(arm: Arm, source: Buffer) -> Iterator[Arm]:
    """The same synapse in parts of so many input channels that a list holds what a row hears."""
    columns = 1 if arm.shared else (source.place[2] + 2 * source.border) * arm.kernel[0]
    if arm.kind != "events" or arm.weight.shape[1] * columns < LISTED:
        yield arm
        return
    channels = (LISTED - 1) // columns // 8 * 8
    if not channels:
        refuse(arm.name, f"{columns} pixels that a row of neurons hears", f"{LISTED // 8 - 1}")
    for first in range(0, arm.weight.shape[1], channels):
        yield replace(arm, weight=arm.weight[:, first : first + channels], first=first // 8)
