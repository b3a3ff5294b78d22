"""How weights lie in memory for the kernels, and spikes that come later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.plan import Arm, Place


def delayed(spikes: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    """The same spikes (T, ...) some steps later, none before."""
    late = np.zeros_like(spikes)
    late[steps:] = spikes[: max(0, len(spikes) - steps)]
    return late


def laid_out(a: Arm, place: Place, padded: int, tile: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """The weights of a synapse as the kernel reads them.

    Tables: [tile][ky][kx][byte][256][lane], sums of the weights whose bits are set. Events:
    [tile][ky][kx][channel][lane]. Lanewise: [place][tap][channel], 32 bits.
    """
    w = a.weight
    if a.kind == "lanewise":
        places = w.reshape(w.shape[0], w.shape[1], -1)  # (taps, channels, places)
        full = np.zeros((places.shape[2], places.shape[0], padded), np.int32)
        full[:, :, : place[0]] = places.transpose(2, 0, 1)
        return full
    out, channels, kh, kw = w.shape
    lanes = np.zeros((padded, channels, kh, kw), np.int64)
    lanes[:out] = w
    tiles = lanes.reshape(-1, tile, channels, kh, kw)
    if a.kind == "events":
        return np.ascontiguousarray(tiles.transpose(0, 3, 4, 2, 1), dtype=np.int16)
    whole = -(-channels // 8)
    filled = np.zeros((len(tiles), tile, whole * 8, kh, kw), np.int64)
    filled[:, :, :channels] = tiles
    by_byte = filled.reshape(len(tiles), tile, whole, 8, kh, kw)
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    tables: NDArray[Any] = np.einsum("vk,nlbkyx->nyxbvl", bits, by_byte, optimize=True)
    return tables.astype(np.int16)
