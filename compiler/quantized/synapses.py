"""Synapses of whole numbers: on levels, with pools, and in multiples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.compiler.ir.ops import Conv2d, Linear, Scale
from purespike.compiler.quantized.exact import QuantizedError
from purespike.compiler.quantized.value import Part, Value, Whole, one_to_one, per_channel, times

WIDEST = 16 * 127  # whole weights; a chip holds them as that many synapses of 8 bits


def not_levels(what: str) -> QuantizedError:
    """The refusal of a layer that takes no levels."""
    return QuantizedError(
        f"{what} takes something that no quantizer made",
        found="the result of a layer, or of a sum",
        allowed="levels of a quantizer, their sums, or the input",
        remedy="put a quantizer in front of it (Brevitas: QuantIdentity)",
    )


def weighted(op: Conv2d | Linear, whole: Whole, x: Value) -> Conv2d | Linear:
    """The layer with the units of the channels that it takes in its weights."""
    if whole.size == 1:
        return times(op, np.full(len(op.weight), whole.item()))
    if isinstance(op, Linear):
        return Linear(op.weight * np.broadcast_to(whole, x.shape).reshape(-1))
    each = per_channel(whole, x.shape).reshape(op.groups, -1)
    rows = np.repeat(each, len(op.weight) // op.groups, axis=0)
    return replace(op, weight=op.weight * rows[:, :, None, None])


def through(part: Part, op: Conv2d | Linear) -> Part:
    """A part behind one layer more."""
    if part.pooled:
        return replace(part, through=(*part.through, op), pooled=False)
    return replace(part, through=(_multiple(op, part),))


def _multiple(op: Conv2d | Linear, part: Part) -> Conv2d | Linear:
    """The layer on levels that count ``part.times`` each."""
    if part.times is None:
        raise not_levels("a layer")
    return op if part.times == 1 else times(op, np.full(len(op.weight), part.times))


def pooled(part: Part, ones: Conv2d, what: str) -> Part:
    """A part behind sums over windows."""
    if part.times is not None:
        return replace(part, through=(_multiple(ones, part),), pooled=True)
    *before, layer = part.through
    if part.pooled or not isinstance(layer, Conv2d) or any(ones.padding):
        raise QuantizedError(
            f"{what} averages something that it cannot",
            allowed="levels, or behind a convolution without padding of the pool",
            remedy="average behind the quantizer",
        )
    return replace(part, through=(*before, _composed(layer, ones)))


def _composed(conv: Conv2d, ones: Conv2d) -> Conv2d:
    """The convolution whose results are sums over windows of another's."""
    dilation = conv.dilation
    if dilation != (1, 1):
        raise QuantizedError("an average behind a convolution with gaps", found=str(dilation))
    (kh, kw), (ph, pw) = conv.weight.shape[2:], ones.weight.shape[2:]
    (sh, sw), (th, tw) = conv.stride, ones.stride
    weight = np.zeros((*conv.weight.shape[:2], kh + (ph - 1) * sh, kw + (pw - 1) * sw))
    for i in range(ph):
        for j in range(pw):
            weight[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw] += conv.weight
    return replace(conv, weight=weight, stride=(sh * th, sw * tw))


def multiplied(part: Part, factor: Whole, x: Value) -> Part:
    """A part times a whole number for each channel (C,)."""
    if part.times is not None and bool((factor == factor[0]).all()):
        total = part.times * int(factor[0])
        return replace(part, through=() if total == 1 else (Scale(np.asarray(float(total))),))
    *inner, last = collected(part, x.shape)
    return replace(part, through=(*inner, times(last, factor)), pooled=False)


def collected(part: Part, shape: Shape) -> list[Any]:
    """The layers of a part; where there is none, one that gives back what the edge carries."""
    if part.times is not None:
        return [one_to_one(shape, np.full(shape[0], part.times))]
    last = part.through[-1]
    rest = [] if isinstance(last, Conv2d | Linear) else [one_to_one(shape, np.ones(shape[0], int))]
    return [*part.through, *rest]


def too_wide(op: Conv2d | Linear) -> QuantizedError:
    """The refusal of weights of too many bits."""
    return QuantizedError(
        "weights of too many bits",
        found=f"whole numbers up to {float(np.abs(op.weight).max()):.0f}",
        allowed=f"{WIDEST}",
        remedy="quantize weights to 8 bits, with scales that are equal where values are added; "
        "quantize the biases of the last layer (Brevitas: bias_quant=Int32Bias)",
    )
