"""Bounds and constants behind a layer, exactly: zero points and lowest levels other than 0."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.compiler.ir.ops import Conv2d, Linear
from purespike.compiler.quantized.exact import Affine, Exact, QuantizedError, Step, exact
from purespike.compiler.quantized.value import Value, Whole


def bounds(op: Conv2d | Linear, x: Value) -> tuple[Whole, Whole]:
    """Bounds of what a layer makes of values between x's, by channel."""
    rows = op.weight.reshape(len(op.weight), -1)
    low, high = int(x.low.min()), int(x.high.max())
    if isinstance(op, Conv2d) and any(op.padding):
        low, high = min(low, 0), max(high, 0)
    up, down = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    shape = (-1, 1, 1) if isinstance(op, Conv2d) else (-1,)
    return (
        (up * low + down * high).astype(np.int64).reshape(shape),
        (up * high + down * low).astype(np.int64).reshape(shape),
    )


def constants(
    op: Conv2d | Linear, shift: Exact, whole: Whole, unit: Fraction, into: Shape, shape: Shape
) -> Exact:
    """What a layer makes of the constants in its input, in units of its sum (case 3).

    The weights have the whole numbers of the units in them already: they are taken out again.
    """
    if not any(s != 0 for s in shift.ravel()):
        return exact(0)
    # shift of channel c is worth shift / (unit * whole[c]) levels there.
    factor = np.broadcast_to(whole, into)
    levels = np.broadcast_to(shift, into)
    kinds = {
        (s, int(w)) for s, w in zip(levels.ravel().tolist(), factor.ravel().tolist(), strict=True)
    }
    worths, sums = [], []
    for s, w in kinds:
        if s == 0:
            continue
        if w == 0:
            raise QuantizedError("a channel that is worth nothing has a constant")
        here = ((levels == s) & (factor == w)).astype(np.float64)
        worths.append(s / (unit * w))
        sums.append(op.step(None, here[None])[1][0].reshape(shape[0], -1))
    counts = np.stack(sums)  # (kinds, C, places), whole numbers
    if bool((counts == counts[:, :, :1]).all()):
        counts, shape = counts[:, :, :1], (shape[0], *(1,) * (len(shape) - 1))
    rows, which = np.unique(counts.reshape(len(sums), -1), axis=1, return_inverse=True)
    found = [sum(int(n) * w for n, w in zip(row, worths, strict=True)) for row in rows.T]
    each = np.empty(len(found), dtype=object)
    each[:] = found
    return np.asarray(each[which.reshape(-1)].reshape(shape), dtype=object)


def summed(shift: Exact, ones: Conv2d, shape: Shape) -> Exact:
    """The sums over windows of constants, which may differ by place."""
    (kh, kw), (sh, sw) = ones.weight.shape[2:], ones.stride
    if shift.ndim < 3 or shift.shape[1:] == (1, 1):
        return np.asarray(shift * (kh * kw), dtype=object)
    ends = [slice(i, i + sh * (shape[1] - 1) + 1, sh) for i in range(kh)]
    sides = [slice(j, j + sw * (shape[2] - 1) + 1, sw) for j in range(kw)]
    return np.asarray(sum(shift[:, i, j] for i in ends for j in sides), dtype=object)


def flattened(step: Step, shape: Shape) -> Step:
    """A step on values of ``shape`` that were put in a row."""
    if not isinstance(step, Affine):
        return step

    def row(x: Exact) -> Exact:
        return x.reshape(()) if x.size == 1 else np.broadcast_to(x, shape).reshape(-1)

    radicand = None if step.radicand is None else row(step.radicand)
    return Affine(row(step.factor), row(step.shift), radicand)
