"""Layers with constants taken into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.compiler.ir.ops import BatchNorm, Conv2d, Linear


def shifted(op: Op | None, shape: Shape, factor: Array, shift: Array) -> Op | None:
    """The layer whose output is ``factor`` times that of ``op``, plus ``shift``.

    None if ``op`` has no bias, or one that would have to differ between the places of a channel.

    Args:
        op: A layer, or anything else.
        shape: Of its output.
        factor: Broadcasts to ``shape``, as does ``shift``.
        shift: What becomes of its bias.
    """
    narrow = (shape[0], *(1 for _ in shape[1:]))
    if any(np.broadcast_shapes(x.shape, narrow) != narrow for x in (factor, shift)):
        return None
    k, c = (np.broadcast_to(x, narrow).reshape(-1) for x in (factor, shift))
    if isinstance(op, BatchNorm):
        return replace(op, gamma=op.gamma * k, beta=op.beta * k + c)
    if not isinstance(op, Conv2d | Linear):
        return None
    bias = c if op.bias is None else op.bias * k + c
    if isinstance(op, Linear):
        return Linear(op.weight * k[:, None], bias)
    return replace(op, weight=op.weight * k[:, None, None, None], bias=bias)
