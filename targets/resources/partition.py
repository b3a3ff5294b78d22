"""Layers onto cores, by a strategy simple enough to state.

A core holds neurons of one layer: a contiguous block of channels at contiguous positions (rows
from the top, each from left to right). The channels of a layer are cut into 1, 2, 4, ... equal
blocks; in each, positions fill one core after the other as far as they fit. The cut that needs the
fewest cores wins. A limit that a single neuron breaks is left aside and reported instead. More
neurons in a layer never need fewer cores as long as the layer fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from purespike.targets.resources import measure
from purespike.targets.resources.chips import Chip
from purespike.targets.resources.layers import Layer
from purespike.targets.resources.measure import Block

RESOURCES = ("neurons", "in_axons", "out_axons", "memory", "thresholds")


@dataclass(frozen=True)
class Core:
    """One core and what it needs."""

    block: Block
    neurons: int
    in_axons: int
    out_axons: int
    memory: int  # bytes
    thresholds: int

    def use(self, resource: str) -> int:
        """Of a resource by name."""
        return int(getattr(self, resource))


class Needs:
    """What blocks of one layer need; ``fan`` is how many cores' axons each neuron feeds."""

    def __init__(self, layer: Layer, chip: Chip, fan: NDArray[np.int64]) -> None:
        self.layer = layer
        self.bits = tuple(
            measure.stored_bits(measure.weight_bits(k), chip.formats) for k in layer.links
        )
        zero = np.zeros((layer.grid[0], 1), np.int64)
        self._sent = np.hstack([zero, fan.reshape(layer.grid).cumsum(axis=1)])

    def of(self, block: Block, resource: str) -> int:
        """Of one resource."""
        if resource == "neurons":
            return block.neurons
        if resource == "in_axons":
            return measure.in_axons(self.layer, block)
        if resource == "out_axons":
            sent = self._sent[block.first : block.last]
            return int((sent[:, block.stop] - sent[:, block.start]).sum())
        if resource == "memory":
            return measure.memory(self.layer, block, self.bits)
        return measure.thresholds(self.layer, block)

    def core(self, block: Block) -> Core:
        """Of all resources."""
        return Core(block, **{r: self.of(block, r) for r in RESOURCES})

    def broken(self, block: Block, limits: Mapping[str, int]) -> set[str]:
        """The limits that the block breaks."""
        return {r for r, limit in limits.items() if self.of(block, r) > limit}

    def fits(self, block: Block, limits: Mapping[str, int]) -> bool:
        """Does it break none?"""
        return all(self.of(block, r) <= limit for r, limit in limits.items())


def core_limits(chip: Chip) -> dict[str, int]:
    """The published limits of a core by resource."""
    values = ((r, chip.values()[r].value) for r in RESOURCES)
    return {r: value for r, value in values if value is not None}


def partition(layer: Layer, needs: Needs, limits: Mapping[str, int]) -> tuple[Block, ...]:
    """The blocks of a layer, each for a core of its own."""
    best: tuple[Block, ...] | None = None
    hopeless: set[str] = set()
    for cuts in _cuts(layer.grid[0]):
        if best is not None and cuts >= len(best):
            break  # every cut needs a core at least
        found = _pack(layer, needs, limits, cuts, None if best is None else len(best))
        if isinstance(found, set):
            hopeless = found
        else:
            best = found or best
    if best is not None:
        return best
    return partition(layer, needs, {r: n for r, n in limits.items() if r not in hopeless})


def _cuts(channels: int) -> Iterator[int]:
    cuts = 1
    while cuts < channels:
        yield cuts
        cuts *= 2
    yield channels


def _pack(
    layer: Layer, needs: Needs, limits: Mapping[str, int], cuts: int, below: int | None
) -> tuple[Block, ...] | set[str]:
    """The blocks, none if not fewer than ``below``; or the limits that one position breaks."""
    channels, positions = layer.grid
    edges = [-(-channels * i // cuts) for i in range(cuts + 1)]
    blocks: list[Block] = []
    for first, last in pairwise(edges):
        start = 0
        while start < positions:
            one = Block(first, last, start, start + 1)
            if broken := needs.broken(one, limits):
                return broken
            stop = _last(needs, limits, one, positions)
            blocks.append(Block(first, last, start, stop))
            if len(blocks) == below:
                return ()
            start = stop
    return tuple(blocks)


def _last(needs: Needs, limits: Mapping[str, int], one: Block, positions: int) -> int:
    """How far the block reaches: needs never shrink with a longer block, so bisect."""
    room = limits.get("neurons", one.neurons * positions) // one.neurons
    good, bad = one.stop, min(positions, one.start + room) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        fits = needs.fits(Block(one.first, one.last, one.start, middle), limits)
        good, bad = (middle, bad) if fits else (good, middle)
    return good
