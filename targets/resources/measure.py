"""What one block of a layer needs on its core. Every formula of the estimate stands here.

*Input axons*: one for each source neuron and synapse layer that reaches the block, as nengo-loihi
lays them out. *Output axons*: one for each neuron, synapse layer and core that it reaches. Synapses
whose current several layers of neurons read stand on the cores of each of them.
*Synaptic memory*: lists of weights in 64-bit words, ``ceil((n * bits + 10) / 64)`` words for a
list of n weights (header of 10 bits: nengo-loihi, block.py). A linear layer stores one list for
each input, a convolution its kernels once for the whole core (one list for each input channel), a
one-to-one synapse one list for each factor of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.ops import Conv2d, Linear
from purespike.targets.resources.layers import Layer, Link

Mask = NDArray[np.bool_]
_HEADER, _WORD, _BYTE = 10, 64, 8


@dataclass(frozen=True)
class Block:
    """Channels ``[first, last)`` at positions ``[start, stop)`` of a layer's grid."""

    first: int
    last: int
    start: int
    stop: int

    @property
    def neurons(self) -> int:
        """How many."""
        return (self.last - self.first) * (self.stop - self.start)


@dataclass(frozen=True)
class Geometry:
    """Where the windows of a convolution lie: pairs (height, width)."""

    size: tuple[int, int]
    width_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


def in_axons(layer: Layer, block: Block) -> int:
    """Of a core that holds the block."""
    return sum(k.times * _sources(k, block) for k in layer.links)


def thresholds(layer: Layer, block: Block) -> int:
    """Distinct ones in the block."""
    if layer.neuron.threshold.ndim == 0:
        return 1
    part = layer.thresholds[block.first : block.last, block.start : block.stop]
    return len(np.unique(part))


def weight_bits(link: Link) -> int:
    """Bits of the largest magnitude; of both signs, those of two's complement.

    Even weights of both signs that need more than a byte are stored by halves, and the exponent
    has the rest: that is as far as Loihi's mantissas go.
    """
    w = link.weights()
    low, high = int(w.min()), int(w.max())
    if low >= 0 or high <= 0:
        return max(1, int(np.abs(w).max()).bit_length())
    bits = max(high, -low - 1).bit_length() + 1
    return bits - 1 if bits > _BYTE and not np.any(w % 2) else bits


def stored_bits(bits: int, formats: tuple[int, ...]) -> int:
    """The next width that the memory can hold; wider ones as they are."""
    return next((f for f in formats if f >= bits), bits)


def memory(layer: Layer, block: Block, bits: tuple[int, ...]) -> int:
    """Bytes of synaptic memory; ``bits`` of a stored weight by link."""
    each = (
        link.times * _list_words(layer, link, block, b)
        for link, b in zip(layer.links, bits, strict=True)
    )
    return sum(each) * _WORD // 8


def _list_words(layer: Layer, link: Link, block: Block, bits: int) -> int:
    """Words of one array."""
    if isinstance(link.op, Linear):
        return link.op.shape[1] * _words(block.neurons, bits)
    if isinstance(link.op, Conv2d):
        inner, *kernel = link.op.weight.shape[1:]
        taps = math.prod(kernel)
        channels = _by_group(len(link.op.weight) // link.op.groups, block.first, block.last)
        return int(inner * sum(_words(n * taps, bits) for n in channels))
    if link.op.factor.size == 1:
        return _words(1, bits)
    return len(np.unique(_factors(layer, link, block))) * _words(1, bits)


def touched(layer: Layer, link: Link, block: Block) -> Mask:
    """Which neurons of the source reach the block: flat, in the order of a flatten."""
    size = int(np.prod(link.shape))
    if isinstance(link.op, Linear):
        return np.ones(size, np.bool_)
    if isinstance(link.op, Conv2d):
        mask = np.zeros((link.shape[0], size // link.shape[0]), np.bool_)
        first, last = _inputs(link.op, block)
        mask[first:last] = _pixels(_geometry(link, link.op), block.start, block.stop)
        return mask.reshape(-1)
    own = np.zeros(layer.grid, np.bool_)
    own[block.first : block.last, block.start : block.stop] = True
    return own.reshape(-1)


def _sources(link: Link, block: Block) -> int:
    """How many neurons of the source reach the block: ``touched(...).sum()``, but faster."""
    if isinstance(link.op, Linear):
        return link.op.shape[1]
    if isinstance(link.op, Conv2d):
        first, last = _inputs(link.op, block)
        return (last - first) * _pixel_count(_geometry(link, link.op), block.start, block.stop)
    return block.neurons


def _words(weights: int, bits: int) -> int:
    return -(-(weights * bits + _HEADER) // _WORD)


def _by_group(size: int, first: int, last: int) -> list[int]:
    """Channels of ``[first, last)`` in each group of ``size`` that they have a part in."""
    groups = range(first // size, (last - 1) // size + 1)
    return [min(last, (g + 1) * size) - max(first, g * size) for g in groups]


def _inputs(op: Conv2d, block: Block) -> tuple[int, int]:
    """Input channels ``[first, last)`` of the block's groups."""
    size, inner = len(op.weight) // op.groups, op.weight.shape[1]
    return block.first // size * inner, ((block.last - 1) // size + 1) * inner


def _factors(layer: Layer, link: Link, block: Block) -> NDArray[np.int64]:
    """Which factor of a one-to-one synapse each neuron of the block has."""
    factor = link.weights()
    own = np.arange(factor.size).reshape(factor.shape)
    spread = np.broadcast_to(own, link.shape).reshape(layer.grid)
    return spread[block.first : block.last, block.start : block.stop]


def _geometry(link: Link, op: Conv2d) -> Geometry:
    size = (link.shape[1], link.shape[2])
    kernel = (op.weight.shape[2], op.weight.shape[3])
    span = op.dilation[1] * (kernel[1] - 1) + 1
    width = (size[1] + 2 * op.padding[1] - span) // op.stride[1] + 1
    return Geometry(size, width, kernel, op.stride, op.padding, op.dilation)


@lru_cache(maxsize=1 << 16)
def _pixel_count(g: Geometry, start: int, stop: int) -> int:
    return int(_pixels(g, start, stop).sum())


def _pixels(g: Geometry, start: int, stop: int) -> Mask:
    """Input pixels in the windows of the output positions ``[start, stop)``, flat."""
    (top, left), (bottom, right) = divmod(start, g.width_out), divmod(stop - 1, g.width_out)
    if top == bottom:
        parts = [(top, top + 1, left, right + 1)]
    else:
        parts = [
            (top, top + 1, left, g.width_out),
            (top + 1, bottom, 0, g.width_out),
            (bottom, bottom + 1, 0, right + 1),
        ]
    mask = np.zeros(g.size, np.bool_)
    for a, b, c, d in parts:
        mask |= np.outer(_reached(g, 0, a, b), _reached(g, 1, c, d))
    return mask.reshape(-1)


def _reached(g: Geometry, axis: int, start: int, stop: int) -> Mask:
    """Rows (axis 0) or columns (axis 1) of the input under the windows ``[start, stop)``."""
    windows = np.arange(start, stop)[:, None] * g.stride[axis] - g.padding[axis]
    index = (windows + np.arange(g.kernel[axis]) * g.dilation[axis]).reshape(-1)
    mask = np.zeros(g.size[axis], np.bool_)
    mask[index[(index >= 0) & (index < g.size[axis])]] = True
    return mask
