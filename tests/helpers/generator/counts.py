"""Blocks whose activations have levels: what they send is counts, which meet and are pooled."""

from __future__ import annotations

import numpy as np

from helpers.generator.blocks import normed
from helpers.generator.writer import Block, Writer
from purespike.compiler.ir.ops import AvgPool2d, Delay, MaxPool2d, Scale


def counted(w: Writer, source: str) -> str:
    """A layer and an activation with levels."""
    return w.fire(normed(w, w.conv(source)))


def added(w: Writer, source: str) -> str:
    """SEW: counts are added to what the block heard, and a layer reads the sum."""
    channels = w.shape(source)[0]
    last = w.level(w.conv(source, out=channels, same=True))
    return w.total(*w.pick((last, source), (source, last)))


def joined(w: Writer, source: str) -> str:
    """Counts or spikes that reach an activation without a layer, with a factor or none."""
    current = w.conv(source, out=w.shape(source)[0], same=True)
    skip = w.factor(source, 2.0, -1.0, by=w.pick("", "channel")) if w.chance(0.3) else source
    return w.level(w.total(current, skip)) if w.chance(0.6) else w.fire(w.total(current, skip))


def pooled(w: Writer, source: str) -> str:
    """The maximum or the average of counts, or counts that wait."""
    current = w.conv(source, same=True)
    last = w.level(current)
    size = w.shape(last)[1:]
    k = (min(2, size[0]), min(2, size[1]))
    kind = w.pick("max", "mean", "late", "scaled")
    if kind == "max" and w.graph.edge(last).domain.lo == 0:
        return w.add("max", MaxPool2d(k, k, w.pick((0, 0), (k[0] // 2, k[1] // 2))), last)
    if kind == "mean":
        return w.fire(w.conv(w.add("mean", AvgPool2d(k, k), last), kind="bare"))
    if kind == "scaled":  # a level scale
        worth = w.add("scale", Scale(np.array(w.pick(0.5, 2.0))), last)
        return w.fire(w.conv(worth))
    return w.fire(w.conv(w.add("late", Delay(w.pick(1, 2)), last)))


def shared_current(w: Writer, source: str) -> str:
    """A membrane shortcut between activations with levels."""
    current = w.conv(source, out=4, same=True)
    more = w.conv(w.level(current), out=4, same=True)
    return w.level(w.total(current, more))


COUNTS: tuple[Block, ...] = (counted, counted, added, joined, pooled, pooled, shared_current)
