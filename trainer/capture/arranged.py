"""Samples seen with other axes: heads and tokens of attention, channels taken apart, masks.

The graph knows maps (C, H, W) and features (F,). A forward may see the same numbers in any order: a
view is followed by letting it move the numbers' places themselves, since all shapes are known.
What sums, masks and layers then do is said in synapses: a sum over tokens or over the channels of a
head has weights of 1, and a mask that is spread over tokens or channels is an AND of spikes, two
synapses of weight 1 into a neuron without memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Op, Shape
from purespike.trainer.capture.values import MERGED, SEQUENCE, Axis, Value

Places = NDArray[np.intp]
MOST = 2**24  # numbers whose places are followed, of all samples and steps


def order_of(value: Value) -> Places:
    """Where each number that is seen stands in the value's own shape."""
    if value.order is not None:
        known: Places = value.order
        return known
    return np.arange(int(np.prod(value.form.shape))).reshape(value.shape)


def is_whole(value: Value) -> bool:
    """Is every number of a map seen once?"""
    order = value.order
    return order is None or (
        order.size == int(np.prod(value.form.shape)) and len(np.unique(order)) == order.size
    )


def fits(value: Value) -> bool:
    """Are the axes that are seen those of the map: (C, H, W), tokens (C, H W), or flat?"""
    shape, own = value.shape, value.form.shape
    if value.order is not None:
        return False
    return shape == own or (len(shape) == 2 and len(own) == 3 and shape[0] == own[0])


def seen(value: Value, order: Places, lead: tuple[Axis, ...] | None = None) -> Value:
    """The value in another order; None where they are only grouped anew."""
    plain = order.size == np.prod(value.form.shape) and bool(
        (order.reshape(-1) == np.arange(order.size)).all()
    )
    kept = None if plain else order
    return replace(value, shape=order.shape, order=kept, lead=lead or value.lead)


def moved(
    value: Value,
    view: Callable[[torch.Tensor], Any],
    sizes: Sequence[int],
    merged: Callable[..., Any],
) -> Value | list[Value] | None:
    """The value, or the parts, that a view of tensors gives; None if it touches time or samples.

    Args:
        value: What is looked at.
        view: The view.
        sizes: Of all axes of the value.
        merged: Gives the sizes of a value's axes.
    """
    order = order_of(value)
    lead = int(np.prod(sizes[: len(value.lead)]))
    size = int(np.prod(value.form.shape))
    if order.size * lead > MOST:
        return None
    numbers = np.arange(lead)[:, None] * size + order.reshape(1, -1)
    made = view(torch.from_numpy(numbers.reshape(sizes)))
    if isinstance(made, tuple | list):
        parts = [_placed(value, p, size, merged) for p in made]
        return None if any(p is None for p in parts) else [p for p in parts if p is not None]
    return _placed(value, made, size, merged)


def _placed(value: Value, made: Any, size: int, merged: Callable[..., Any]) -> Value | None:
    if not isinstance(made, torch.Tensor):
        return None
    for lead in dict.fromkeys((value.lead, SEQUENCE, MERGED)):
        if lead != value.lead and value.lead not in (SEQUENCE, MERGED):
            continue
        wanted = merged(replace(value, lead=lead))[: len(lead)]
        if list(made.shape[: len(lead)]) != wanted:
            continue
        rows = made.numpy().reshape(int(np.prod(wanted)), -1)
        places = rows - np.arange(len(rows))[:, None] * size
        inside = bool((places == places[:1]).all()) and 0 <= places.min() and places.max() < size
        if inside:
            return seen(value, places[0].reshape(made.shape[len(lead) :]), lead)
    return None


@dataclass(frozen=True)
class Carried:
    """A synapse of weights 0 and 1, and how its result is seen.

    Attributes:
        op: The synapse.
        shape: Of what it makes.
        order: Where each number that is seen stands in it.
    """

    op: Op
    shape: Shape
    order: Places


def summed(value: Value, axes: Sequence[int], keep: bool) -> Carried | None:
    """The sum over axes of a sample: of channels at each place, of all places, or of both."""
    order = order_of(value)
    shape = value.form.shape
    rest = [a for a in range(order.ndim) if a not in axes]
    kept = [1 if a in axes else n for a, n in enumerate(order.shape)]
    result = tuple(kept if keep else [order.shape[a] for a in rest])
    groups = order.transpose(*rest, *axes).reshape(int(np.prod(result)), -1)
    if len(shape) != 3:
        return None
    area = shape[1] * shape[2]
    channels, places = np.divmod(np.sort(groups, axis=1), area)
    over = bool((np.diff(places.min(axis=1)) == 0).all()) and area > 1 and (
        groups.shape[1] % area == 0 and bool((np.sort(places, axis=1)[:, :: groups.shape[1] // area]
                                              == np.arange(area)).all())
    )  # fmt: skip
    if over:  # all places
        heard = [tuple(np.unique(c)) for c in channels]
        if any(len(h) * area != groups.shape[1] for h in heard):
            return None
    elif bool((places == places[:, :1]).all()):  # one place
        heard = [tuple(c) for c in channels]
        if any(len(set(h)) != len(h) for h in heard):
            return None
    else:
        return None
    kinds = {h: k for k, h in enumerate(dict.fromkeys(heard))}
    weight = np.zeros((len(kinds), shape[0]))
    for h, k in kinds.items():
        weight[k, list(h)] = 1.0
    which = np.array([kinds[h] for h in heard])
    if over:
        return Carried(_over_places(weight, shape), (len(kinds), 1, 1), which.reshape(result))
    order = (which * area + places[:, 0]).reshape(result)
    return Carried(_over_channels(weight), (len(kinds), *shape[1:]), order)


def picked(value: Value, order: Places) -> Carried | None:
    """The channels that are seen, as a map of their own: each number once."""
    shape = value.form.shape
    if len(shape) != 3 or len(np.unique(order)) != order.size:
        return None
    area = shape[1] * shape[2]
    channels, places = np.divmod(order.reshape(-1), area)
    heard = np.array(list(dict.fromkeys(channels.tolist())))
    if len(heard) * area != order.size:
        return None
    weight = np.zeros((len(heard), shape[0]))
    weight[np.arange(len(heard)), heard] = 1.0
    row = np.zeros(shape[0], np.intp)
    row[heard] = np.arange(len(heard))
    own = (row[channels] * area + places).reshape(order.shape)
    return Carried(_over_channels(weight), (len(heard), *shape[1:]), own)


def spread(mask: Value, order: Places, target: Shape, places: Places) -> Op | None:
    """The synapse that brings a mask to each number of a map.

    Args:
        mask: What is spread.
        order: The place of the mask's number for each number that is seen.
        target: (C, H, W) of the map.
        places: The place of each number that is seen in the map.
    """
    source = mask.form.shape
    if len(source) != 3 or len(target) != 3:
        return None
    wanted = np.empty(int(np.prod(target)), np.intp)
    wanted[places.reshape(-1)] = order.reshape(-1)
    maps = wanted.reshape(target[0], -1)
    area = source[1] * source[2]
    channels, at = np.divmod(maps, area)
    if not bool((channels == channels[:, :1]).all()):
        return None
    weight = np.zeros((target[0], source[0]))
    weight[np.arange(target[0]), channels[:, 0]] = 1.0
    if source[1:] == target[1:] and bool((at == np.arange(area)).all()):
        return _over_channels(weight)
    if source[1:] != (1, 1):
        return None
    height, width = target[1:]
    if bool((weight == np.eye(*weight.shape)).all()):
        kernel, groups = np.ones((target[0], 1, height, width)), target[0]
    else:
        kernel, groups = weight[:, :, None, None] * np.ones((height, width)), 1
    # Padded so that each window of the result meets the one number of the mask.
    return ops.Conv2d(kernel, padding=(height - 1, width - 1), groups=groups)


def _over_channels(weight: NDArray[np.float64]) -> Op:
    if weight.shape[0] == weight.shape[1] and bool((weight == np.eye(len(weight))).all()):
        return ops.Scale(np.ones(()))
    return ops.Conv2d(weight[:, :, None, None])


def _over_places(weight: NDArray[np.float64], shape: Shape) -> Op:
    if weight.shape[0] == weight.shape[1] and bool((weight == np.eye(len(weight))).all()):
        return ops.Conv2d(np.ones((shape[0], 1, *shape[1:])), groups=shape[0])
    return ops.Conv2d(weight[:, :, None, None] * np.ones(shape[1:]))
