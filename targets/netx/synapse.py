"""What becomes of dense weights on their way through netx and Lava."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def survives(weight: NDArray[np.int64]) -> bool:
    """Are the weights exact in a Loihi synapse of 8 bits, as netx packs them?

    netx shifts the weights up until they fill 8 bits and counts the bits that are left
    (``optimize_weight_bits``, lava-dl 0.6.0); Lava clips them and drops the bits that were not
    counted (``clip_weights``, ``truncate_weights``, lava-nc 0.10.0). netx fails on a matrix of
    zeros. Convolutions skip all that on Lava's CPU backend, not on the chip.
    """
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    if not weight.size or not weight.any() or low < -256 or high > 255:
        return False
    low, high = int(weight.min()), int(weight.max())
    signed = low < 0 <= high  # as netx decides
    if signed:
        scale = min(127 / high if high else math.inf, -128 / low)
    else:
        scale = -256 / low if low < 0 else 255 / high
    shift = math.floor(math.log2(scale)) + signed
    zeros = next(n for n in range(8, -1, -1) if not (weight % 2**n).any())
    bits = 8 - shift - (zeros - signed)
    if shift < 0 or bits > 8:
        return False
    shifted = weight << shift
    return bool((_in_lava(shifted, bits) == shifted).all())


def _in_lava(weight: NDArray[Any], bits: int) -> NDArray[Any]:
    mixed = weight.min() < 0 < weight.max()
    sign = -1 if weight.min() < 0 and not mixed else 1
    clipped = np.clip(sign * weight, -256 if mixed else 0, 255)
    drop = max(8 - bits + int(mixed), 0)
    kept: NDArray[Any] = sign * ((clipped >> drop) << drop)
    return kept
