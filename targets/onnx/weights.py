"""Weights in a byte each, as the operators of ONNX take them: plain, or behind a zero point.

Loihi's mantissas have 8 bits and sometimes reach beyond int8: 0 to 255, -255 to 0, or even ones of
-256 to 254. The first two lie behind a zero point; of the last the halves are stored, and the sum
is added to itself. That is one synapse still, and no multiplication.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purespike.compiler.ir.domain import Array

ALLOWED = "-128 to 127, 0 to 255, -255 to 0, or even numbers of -256 to 254"
_LEAST, _MOST = -128, 127  # of int8


@dataclass(frozen=True)
class Stored:
    """What stands in the file for the weights of a layer: ``(values - zero) * times``.

    Attributes:
        values: Bytes.
        dtype: int8 or uint8.
        zero: The zero point, in ``dtype``.
        times: 1, or 2 where the halves are stored.
    """

    values: Array
    dtype: type
    zero: int = 0
    times: int = 1


def stored(weight: Array, *, unsigned: bool = False) -> Stored | None:
    """The weights as bytes; None where they have no such form.

    Args:
        weight: Whole numbers.
        unsigned: Whether int8 will not do: kernels for it may add two products in 16 bits on x86
            without VNNI, which inputs above 128 overflow. Those for uint8 do not.
    """
    low, high = float(weight.min(initial=0.0)), float(weight.max(initial=0.0))
    if _LEAST <= low and high <= _MOST:
        return Stored(weight - _LEAST, np.uint8, -_LEAST) if unsigned else Stored(weight, np.int8)
    if low >= 0 and high <= 255:
        return Stored(weight, np.uint8)
    if high <= 0 and low >= -255:
        return Stored(weight + 255, np.uint8, 255)
    if 2 * _LEAST <= low and high <= 2 * _MOST and not np.any(weight % 2):
        half = stored(weight / 2, unsigned=unsigned)
        return half and Stored(half.values, half.dtype, half.zero, 2)
    return None
