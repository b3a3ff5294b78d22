"""How random networks end: each reads the last edge of a network (C, H, W) and closes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from helpers.generator.writer import Writer
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Scale,
    TimeMean,
)


def _linear(w: Writer, source: str, out: int = 3) -> str:
    bias: Array | None = w.weigh(out) if w.chance(0.5) else None
    return w.add("head", Linear(w.weigh(out, w.shape(source)[0]), bias), source)


def _ended(w: Writer, current: str) -> str:
    """The mean over time where it is exact, else neurons."""
    if _dyadic(w.steps) and w.chance(0.5):
        w.whole &= w.steps == 1
        return w.add("out", TimeMean(w.steps), current)
    w.levels = False  # a network does not end in counts of several steps
    return w.fire(current)


def _dyadic(n: int) -> bool:
    return n & (n - 1) == 0


def flattened(w: Writer, source: str) -> str:
    """Flatten, a linear layer or two, and neurons or the mean over time."""
    flat = w.add("flat", Flatten(), source)
    kind = w.pick("one", "one", "two", "norm", "norm before", "hidden", "late", "early",
                  "waits", "read twice")  # fmt: skip
    if kind == "early" and _dyadic(w.steps):
        w.whole &= w.steps == 1
        return _linear(w, w.add("rate", TimeMean(w.steps), flat))
    if kind == "late":
        flat = w.add("late", Delay(w.pick(1, w.rng.integers(1, 3, w.shape(flat)))), flat)
    if kind == "norm before" and w.spikes(flat):
        n = w.shape(flat)[0]
        ones = np.full(n, 1.0 - 2.0**-10)
        flat = w.add("norm", BatchNorm(w.rng.choice([1.0, 2.0], n), w.weigh(n), w.weigh(n), ones,
                                       2.0**-10), flat)  # fmt: skip
    if kind == "hidden":
        flat = w.fire(_linear(w, flat, 5), plain=not w.levels)
    current = _linear(w, flat, 4)
    if kind == "waits":  # its bias begins as late
        w.levels = False
        return w.fire(w.add("late", Delay(w.pick(1, 2)), current))
    if kind == "read twice":
        current = w.add("sum", Add(), _linear(w, current, 4), current)
    if kind == "norm":
        current = w.norm(current)
    if kind == "two":
        current = _linear(w, current)
        if w.chance(0.4):
            current = w.add("late", Delay(w.pick(1, 2)), current)
            w.levels = False
            return w.fire(current)
    return _ended(w, current)


def averaged(w: Writer, source: str) -> str:
    """Averages or sums over the whole map or windows, flatten, a linear layer."""
    _, height, width = w.shape(source)
    whole = _dyadic(height * width)
    k = (height, width) if whole and w.chance(0.6) else (min(2, height), min(2, width))
    sums = w.chance(0.3)
    if sums:
        channels = w.shape(source)[0]
        pool = w.add("pool", Conv2d(np.ones((channels, 1, *k)), stride=k, groups=channels), source)
    else:
        padding = (k[0] // 2, 0) if w.chance(0.2) else (0, 0)
        pool = w.add("mean", AvgPool2d(k, w.pick(k, (1, 1)), padding), source)
    if _dyadic(w.steps) and not sums and w.chance(0.2):
        w.whole &= w.steps == 1
        pool = w.add("rate", TimeMean(w.steps), pool)
        return _linear(w, w.add("flat", Flatten(), pool))
    return _ended(w, _linear(w, w.add("flat", Flatten(), pool)))


def rate(w: Writer, source: str) -> str:
    """The mean over time in front of a flatten, an average or a factor, and a linear layer."""
    if not _dyadic(w.steps):
        return flattened(w, source)
    w.whole &= w.steps == 1
    mean = w.add("rate", TimeMean(w.steps), source)
    if w.chance(0.4):
        mean = w.add("scale", Scale(np.array(2.0)), mean)
    return _linear(w, w.add("flat", Flatten(), mean))


def one_place(w: Writer, source: str) -> str:
    """A convolution as large as the map, then flatten."""
    channels, height, width = w.shape(source)
    groups = 2 if channels % 2 == 0 and w.chance(0.4) else 1
    weight = w.weigh(4, channels // groups, height, width)
    bias = w.weigh(4) if w.chance(0.5) else None
    current = w.add("head", Conv2d(weight, bias, groups=groups), source)
    return _ended(w, w.add("flat", Flatten(), current))


def unread(w: Writer, source: str) -> str:
    """No classifier: spikes, or how often they fire."""
    if w.graph.producer(source) is None or not (w.spikes(source) or _dyadic(w.steps)):
        return flattened(w, source)
    if w.steps == 1 and w.chance(0.4):  # counts, where no later step adds to them
        return source
    if _dyadic(w.steps) and (w.chance(0.6) or not w.spikes(source)):
        w.whole &= w.steps == 1
        return w.add("out", TimeMean(w.steps), source)
    return source


def mean_of_sum(w: Writer, source: str) -> str:
    """The mean over time of two layers' sum, or of a convolution."""
    if not _dyadic(w.steps):
        return flattened(w, source)
    w.whole &= w.steps == 1
    flat = w.add("flat", Flatten(), source)
    parts = [_linear(w, flat), _linear(w, flat)]
    return w.add("out", TimeMean(w.steps), w.total(*parts))


READOUTS: tuple[Callable[[Writer, str], str], ...] = (
    flattened, flattened, flattened, averaged, averaged, rate, one_place, unread, mean_of_sum,
)  # fmt: skip
