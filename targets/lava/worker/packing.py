"""How a layer's weights become the mantissas and the exponent of a Lava synapse.

`Dense` and `Sparse` hold mantissas of 8 bits: 0 to 255 or -255 to 0 where a layer has one sign,
even ones of -256 to 254 where it has both, since they cut the lowest bit there. Twice the weight
with exponent -1 is exact for -128 to 127; weights beyond that go as they are, with exponent 0.
`purespike.targets.lava.lower.legality` decodes what comes of it as Lava does.

Numpy alone: the worker and the compiler share this file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = -128, 127


def packed(weight: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """(mantissas, exponent) for integer weights of any shape; int32."""
    wide = weight.astype(np.int32)
    return (2 * wide, -1) if doubles(int(wide.min()), int(wide.max())) else (wide, 0)


def doubles(low: int, high: int) -> bool:
    """Does a layer with these lowest and highest weights hold them twice, with exponent -1?"""
    least = LEAST if high > 0 else -MOST  # -256 is a mantissa of mixed signs only
    return least <= low and high <= MOST
