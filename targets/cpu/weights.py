"""How weights lie in memory for the kernels, and spikes that come later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.plan import Arm, Place

CACHE_BYTES = 24_000  # of weights that stay in a first-level cache beside all else


def delayed(spikes: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    """The same spikes (T, ...) some steps later, none before."""
    late = np.zeros_like(spikes)
    late[steps:] = spikes[: max(0, len(spikes) - steps)]
    return late


def packable(a: Arm, tile: int) -> bool:
    """Whether two weights of a synapse share a word."""
    large = tile > 32 or (tile > 16 and a.weight[0].size * 2 * tile > CACHE_BYTES)
    return a.kind == "events" and large and int(np.abs(a.weight).max(initial=0)) <= 127


def laid_out(a: Arm, place: Place, padded: int, tile: int) -> NDArray[np.int16] | NDArray[np.int32]:
    """The weights of a synapse as the kernel reads them.

    Tables: [tile][ky][kx][four][16][lane], sums of those of four weights whose bits are set.
    Events: [tile][kx][ky][channel][lane], and a row of zeros; where they are `packable`, lane k and
    lane k of the second half of the tile are one word. Lanewise: [place][tap][channel], 32 bits.
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
        rows = tiles.transpose(0, 4, 3, 2, 1).reshape(len(tiles), -1, tile)
        rows = np.pad(rows, ((0, 0), (0, 1), (0, 0)))
        if packable(a, tile):
            rows = 256 * rows[:, :, tile // 2 :] + rows[:, :, : tile // 2] + 128
        return np.ascontiguousarray(rows, dtype=np.int16)
    fours = 1 if channels <= 4 else 2 * -(-channels // 8)
    filled = np.zeros((len(tiles), tile, fours * 4, kh, kw), np.int64)
    filled[:, :, :channels] = tiles
    by_four = filled.reshape(len(tiles), tile, fours, 4, kh, kw)
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    tables: NDArray[Any] = np.einsum("vk,nlbkyx->nyxbvl", bits, by_four, optimize=True)
    return tables.astype(np.int16)
