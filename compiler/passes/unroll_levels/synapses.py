"""The weights with which spikes do what a count did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.compiler.ir.ops import Conv2d, Delay, Linear, Scale
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import per_channel
from purespike.compiler.passes.unroll_levels.trains import Train


def weighed(op: Conv2d | Linear, train: Train, counts: Shape) -> Conv2d | Linear | None:
    """The layer without its bias for spikes of a train, or None if it has no form.

    Args:
        op: A layer that reads counts.
        train: Spikes to read in their place.
        counts: The shape of the counts.
    """
    layer = _times(op, train.worth, counts)
    return layer if layer is None or train.signs is None else _spread(layer, train, train.signs)


def one_to_one(train: Train, sign: float, counts: Shape) -> Op | None:
    """The synapse that delivers what the spikes of a train are worth; None if it has no form."""
    worth = train.worth * sign
    if train.signs is None:
        return Scale(worth)
    if len(counts) == 1:
        one: Conv2d | Linear = Linear(np.eye(counts[0]) * np.broadcast_to(worth, counts))
    else:
        channels = per_channel(worth, counts)
        if channels is None:
            return None
        one = Conv2d(channels.reshape(-1, 1, 1, 1), groups=counts[0])
    return _spread(one, train, train.signs)


def waiting(op: Op, train: Train, counts: Shape) -> Op:
    """The operation for spikes of a train: a delay by place is one for each of its channels.

    Args:
        op: One that weighs nothing.
        train: Spikes to read in the place of counts.
        counts: The shape of the counts.
    """
    if train.signs is None or not isinstance(op, Delay) or isinstance(op.steps, int):
        return op
    steps = np.broadcast_to(op.steps, counts).reshape(train.channels, 1, -1)
    every = np.repeat(steps, len(train.signs), axis=1)
    return Delay(every.reshape(train.shape(counts)))


def _times(op: Conv2d | Linear, worth: Array, counts: Shape) -> Conv2d | Linear | None:
    if bool((worth == 1).all()):
        return reweighted(op, lambda w: w, None)
    if not worth.ndim:
        return reweighted(op, lambda w: w * worth, None)
    if isinstance(op, Linear):
        return Linear(op.weight * np.broadcast_to(worth, counts).reshape(-1))
    channels = per_channel(worth, counts)
    if channels is None:
        return None
    by_group = np.repeat(channels.reshape(op.groups, -1), len(op.weight) // op.groups, axis=0)
    return replace(op, weight=op.weight * by_group[:, :, None, None], bias=None)


def _spread(op: Conv2d | Linear, train: Train, signs: Array) -> Conv2d | Linear:
    """The layer for spikes of which each channel of counts has several (case 10)."""
    if isinstance(op, Linear):
        rows = op.shape[0]
        weight = op.weight.reshape(rows, train.channels, 1, -1) * signs[:, None]
        return Linear(weight.reshape(rows, -1), op.bias)
    weight = op.weight[:, :, None] * signs[:, None, None]
    return replace(op, weight=weight.reshape(len(op.weight), -1, *op.weight.shape[2:]))
