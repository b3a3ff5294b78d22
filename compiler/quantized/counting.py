"""Uniform quantizers as counters: which boundaries a value passes, and what the count is worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.ops.levels import Rounding, boundary
from purespike.compiler.quantized.exact import Affine, Exact, QuantizedError
from purespike.compiler.quantized.network import MOST_LEVELS
from purespike.compiler.quantized.thresholds import Counter

ROUND: dict[Rounding, Callable[[Array], Array]] = {
    "half even": np.rint,
    "ceil": np.ceil,
    "floor": np.floor,
    "up": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "down": np.trunc,
    "half away": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "half to zero": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
"""How floats are rounded, in the mode of each."""


def whole_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and greatest whole number of a quantizer."""
    if signed:
        return -(1 << bits - 1) + narrow, (1 << bits - 1) - 1
    return 0, (1 << bits) - 1 - narrow


def uniform(
    scale: Exact, zero: Exact, bits: int, signed: bool, narrow: bool, mode: Rounding
) -> Counter:
    """``scale * (clip(round(x / scale + zero)) - zero)``; one signed bit is -1 or 1.

    Args:
        scale: Above 0; () or (C, 1, ...), as ``zero``.
        zero: Added before rounding.
        bits: Of the whole numbers.
        signed: Whether those may be below 0.
        narrow: Whether one of them is left out, so that they are symmetric.
        mode: How they are rounded.

    Raises:
        QuantizedError: If there are more levels than a layer of neurons may stand for.
    """
    if bits == 1 and signed:
        return bipolar(scale, zero)
    low, high = whole_range(bits, signed, narrow)
    if high - low > MOST_LEVELS:
        raise QuantizedError(
            "a quantizer of activations with too many levels",
            found=f"{bits} bits",
            allowed="up to 8 bits",
            remedy="train with fewer bits, or leave the quantizer out: sums are exact without it",
        )
    found = [boundary(level, mode) for level in range(low + 1, high + 1)]
    bounds = [np.asarray((bound - zero) * scale, dtype=object) for bound, _ in found]

    def computed(x: Array) -> Array:
        """In float32, step by step."""
        moved = x.astype(np.float32) / scale.astype(np.float32) + zero.astype(np.float32)
        return np.asarray(ROUND[mode](np.clip(moved, low, high)) - low, np.float64)

    worth = Affine(scale, np.asarray(scale * (low - zero), dtype=object))
    strict = tuple(above for _, above in found)
    return Counter(np.stack(np.broadcast_arrays(*bounds)), strict, worth, computed)


def bipolar(scale: Exact, zero: Exact) -> Counter:
    """``scale * (-1 - zero)`` below the boundary and ``scale * (1 - zero)`` from it on."""
    bounds = np.asarray(-zero * scale, dtype=object)
    shift = np.asarray(scale * (-1 - zero), dtype=object)
    return Counter(bounds[None], (False,), Affine(np.asarray(2 * scale, dtype=object), shift))
