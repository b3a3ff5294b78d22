"""Tables for convolutions as lookups in registers (kernels/lookups.h)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.plan import Arm, Ints, Layer

OUTS = 4  # channels at a time
LOOKUP_BYTES = 800_000  # of a layer: what a second-level cache keeps
_WORD = 16
_PARTS = ((0, 5), (5, 5), (10, 6))  # of the inputs of a word: first, how many


def looked_up(layer: Layer) -> bool:
    """Whether a layer can run as lookups: integrate and fire, whole convolutions, no loop."""
    op = layer.neuron
    fires = op is not None and op.reset != "none" and op.decay in (0.0, 1.0)
    if not fires or op is None or op.current_decay or layer.loop or not layer.brief:
        return False
    uniform = all(x.ndim == 1 for x in (layer.bias, layer.threshold, layer.amount))
    whole = all(a.kind != "lanewise" and not a.shared for a in layer.arms)
    size = sum(lookup_size(a) for a in layer.arms) * -(-layer.place[0] // OUTS) * 2
    return uniform and whole and bool(layer.arms) and size <= LOOKUP_BYTES


def _parts(channels: int) -> Iterator[tuple[int, int]]:
    for word in range(0, channels, _WORD):
        for first, count in _PARTS:
            if word + first < channels:
                yield word + first, count


def lookup_size(arm: Arm) -> int:
    """16-bit words of the tables of a synapse for `OUTS` channels."""
    if arm.kind == "lanewise" or arm.shared:
        return 0
    each = sum(OUTS << count for _, count in _parts(arm.weight.shape[1]))
    return each * arm.kernel[0] * arm.kernel[1]


def lookup_tables(layer: Layer, padded: int) -> NDArray[np.int16]:
    """The tables of all synapses: [four channels][arm][tap][part][channel][32 or 64]."""
    tables = [_of(a, padded) for a in layer.arms]
    return np.ascontiguousarray(np.concatenate(tables, axis=1).reshape(-1), dtype=np.int16)


def _of(arm: Arm, padded: int) -> Ints:
    out, channels, kh, kw = arm.weight.shape
    words = -(-channels // _WORD) * _WORD
    w = np.zeros((padded, words, kh, kw), np.int64)
    w[:out, :channels] = arm.weight
    taps = w.reshape(padded // OUTS, OUTS, words, kh * kw).transpose(0, 3, 1, 2)
    parts = []  # each (four channels, taps, channel * entries)
    for first, count in _parts(channels):
        bits = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        sums = taps[..., first : first + count] @ bits.T
        parts.append(sums.reshape(*sums.shape[:2], -1))
    tables: Ints = np.concatenate(parts, axis=2).reshape(padded // OUTS, -1)
    return tables
