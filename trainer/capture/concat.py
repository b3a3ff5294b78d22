"""Layers on concatenated channels: one for each part.

``torch.cat`` joins maps along their channels, which no edge of the graph does; the layer behind it
does not need one. A convolution or linear layer of the whole is the sum of one for each part, with
its columns of the weights; what acts on each channel by itself acts on each part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.capture.values import Axis, Value

__all__ = ["Joined", "split"]


@dataclass(frozen=True)
class Joined:
    """Tensors side by side along their channels."""

    parts: tuple[Value, ...]

    @property
    def lead(self) -> tuple[Axis, ...]:
        """The axes in front of those of a sample."""
        return self.parts[0].lead

    @property
    def shape(self) -> Shape:
        """Of one sample at one step."""
        first = self.parts[0].shape
        return (sum(p.shape[0] for p in self.parts), *first[1:])

    @property
    def said(self) -> str:
        """Its axes, for an error."""
        return replace(self.parts[0], shape=self.shape).said


def split(op: Op, sizes: Sequence[int], where: str) -> tuple[list[Op], bool]:
    """An operation on concatenated channels as one for each part, and whether they add up.

    Args:
        op: As it would be for the whole.
        sizes: Channels (or features) of each part.
        where: For the error.

    Raises:
        CaptureError: If it mixes channels in another way than by a sum.
    """
    ends = np.cumsum(sizes)[:-1].tolist()
    if isinstance(op, ops.Linear):
        parts = np.split(op.weight, ends, axis=1)
        biases = [op.bias, *[None] * (len(parts) - 1)]
        layers = zip(parts, biases, strict=True)
        return [ops.Linear(np.ascontiguousarray(w), b) for w, b in layers], True
    if isinstance(op, ops.Conv2d) and op.groups == 1:
        parts = np.split(op.weight, ends, axis=1)
        kernels = zip(parts, [op.bias, *[None] * (len(parts) - 1)], strict=True)
        return [replace(op, weight=np.ascontiguousarray(w), bias=b) for w, b in kernels], True
    if isinstance(op, ops.BatchNorm):
        columns = (op.gamma, op.beta, op.mean, op.variance)
        split_up = zip(*(np.split(a, ends) for a in columns), strict=True)
        return [ops.BatchNorm(g, b, m, v, op.eps) for g, b, m, v in split_up], False
    if isinstance(op, ops.Neuron):
        thresholds, amounts = (_sliced(a, sizes, ends) for a in (op.threshold, op.amount))
        pairs = zip(thresholds, amounts, strict=True)
        return [replace(op, threshold=t, amount=a) for t, a in pairs], False
    if isinstance(op, ops.Scale):
        return [ops.Scale(f) for f in _sliced(op.factor, sizes, ends)], False
    if isinstance(op, ops.MaxPool2d | ops.AvgPool2d | ops.Relu | ops.Flatten | ops.TimeMean):
        return [op] * len(sizes), False
    raise CaptureError(
        "this layer mixes concatenated channels in its own way",
        where=where,
        found=f"{type(op).__name__} on {len(sizes)} parts of {', '.join(map(str, sizes))} channels",
        allowed="Conv2d without groups, Linear, BatchNorm, neurons, pools and Flatten",
        remedy="put it in front of torch.cat, once for each part",
    )


def _sliced(array: Array, sizes: Sequence[int], ends: list[int]) -> list[Array]:
    """Of an array that broadcasts to (C, H, W), or a number, what each part gets."""
    whole = array.ndim > 0 and array.shape[0] == sum(sizes)
    return [np.asarray(a) for a in np.split(array, ends)] if whole else [array] * len(sizes)
