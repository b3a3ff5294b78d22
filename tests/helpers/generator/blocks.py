"""Blocks of spiking networks: each reads an edge of spikes (C, H, W) and gives another."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from helpers.generator.writer import Block, Writer
from purespike.compiler.ir.ops import (
    AvgPool2d,
    Conv2d,
    Delay,
    Gate,
    MaxPool2d,
    Neuron,
    RectifiedNeuron,
    Scale,
)
from purespike.compiler.ir.ops.join import GateKind


def normed(w: Writer, current: str) -> str:
    """A batch norm or two, a factor, or nothing."""
    for _ in range(w.pick(0, 0, 1, 1, 2)):
        current = w.norm(current)
    if w.chance(0.2):
        current = w.factor(current, 2.0, 3.0, by=w.pick("", "channel"))
    return current


def plain(w: Writer, source: str) -> str:
    """A convolution of any kind, and neurons of any kind."""
    return w.fire(normed(w, w.conv(source)))


def residual(w: Writer, source: str, after: str = "") -> str:
    """SN residual: spikes, or a 1x1 convolution of them, join a current in front of a neuron."""
    channels = w.shape(source)[0]
    current = w.conv(source, out=channels, same=True)
    current = normed(w, current) if w.chance(0.5) else current
    skip = source if w.chance(0.6) else w.conv(source, out=channels, kind="one")
    current = w.total(*w.pick((current, skip), (skip, current)))
    after = after or w.pick("", "", "norm", "scale", "negative")
    behind = (w.graph.producer(i) for i in w.graph.nodes[-1].inputs)
    if after == "norm" and not any(n is not None and isinstance(n.op, Scale) for n in behind):
        current = w.norm(current)
    elif after == "scale":  # into the threshold
        current = w.factor(current, 2.0, 0.5)
    elif after == "negative":  # into each of the layers
        current = w.factor(current, -1.0, 2.0, -2.0, by=w.pick("channel", ""))
    return w.fire(current)


def gated(w: Writer, source: str, kind: GateKind = "or") -> str:
    """A gate of what a layer fires and what it heard, of two or three inputs."""
    last = w.fire(normed(w, w.conv(source, out=w.shape(source)[0], same=True)), plain=True)
    reads = [last, source]
    if kind != "iand" and w.chance(0.4):
        reads.append(w.fire(w.conv(source, out=w.shape(source)[0], same=True), plain=True))
    return w.add("gate", Gate(kind), *(reads if w.chance(0.5) else reads[::-1]))


def looped(w: Writer, source: str) -> str:
    """Neurons that hear themselves, late: by one factor, by place, or through a convolution."""
    current = w.conv(source, same=True)
    shape = w.shape(current)
    steps = w.pick(1, 2, w.rng.integers(1, 4, (shape[0], 1, 1)), w.rng.integers(1, 4, shape))
    late = w.feedback(current, steps)
    if w.chance(0.3):
        back = w.conv(late, out=shape[0], same=True)
    else:
        back = w.factor(late, -9.0, 4.0, by=w.pick("", "channel", "place"))
    last = w.fire(w.total(current, back), plain=w.levels)
    w.close(late, last)
    return last


def delayed(w: Writer, source: str) -> str:
    """Spikes that wait, as long everywhere or by place, in front of a layer beside another."""
    shape = w.shape(source)
    steps = w.pick(1, 3, w.rng.integers(1, 4, (shape[0], 1, 1)), w.rng.integers(1, 4, shape))
    late = w.add("late", Delay(steps), source)
    current = w.conv(late, out=shape[0], same=True)
    other = w.conv(source, out=shape[0], same=True) if w.chance(0.5) else source
    return w.fire(w.total(current, other))


def waiting_current(w: Writer, source: str) -> str:
    """A current that waits: of a layer with or without bias, of one-to-one synapses, of a sum."""
    kind = w.pick("bare", "biased", "one", "sum", "read twice")
    channels, steps = w.shape(source)[0], w.pick(1, 2)
    beside = w.conv(source, out=channels, same=True)
    if kind == "one":
        current = w.factor(source, -2.0, 1.0, 3.0, by="channel")
        steps = w.pick(2, w.rng.integers(1, 4, w.shape(source)))
    elif kind == "sum":
        parts = [w.conv(source, out=channels, same=True, bias=False) for _ in range(2)]
        current = w.total(*parts)
    else:
        current = w.conv(source, out=channels, same=True, bias=kind == "biased")
    late = w.add("late", Delay(steps), current)
    parts = [late, current] if kind == "read twice" else [late, beside]
    return w.fire(w.total(*parts))


def averaged(w: Writer, source: str) -> str:
    """An average of spikes or of currents, on either side of a convolution, or of a norm."""
    window = _window(w, source)
    if window is None:
        return plain(w, source)
    pool = AvgPool2d(window, window)
    kind = w.pick("before", "after", "sum", "alone", "norm", "twice", "factor", "over norm", "pad")
    size = w.shape(source)[1:]
    if kind == "before":
        tiled = all(n % k == 0 for n, k in zip(size, window, strict=True))
        inner = w.conv(w.add("mean", pool, source), kind=w.pick("plain" if tiled else "bare"))
        return w.fire(normed(w, inner))
    if kind == "pad":  # padding in the pool alone
        pool = AvgPool2d((2, 2), (1, 1), (1, 1))
        return w.fire(w.conv(w.add("mean", pool, source), kind="bare"))
    if kind == "after":
        current = w.conv(source, same=True)
        pool = AvgPool2d(window, w.pick(window, (1, 1)))
        return w.fire(w.add("mean", pool, current))
    if kind == "sum":
        parts = [w.conv(source, out=4, same=True) for _ in range(2)]
        return w.fire(w.add("mean", pool, w.total(*parts)))
    if kind == "norm":  # behind the pool of a layer: in front of it
        current = w.add("mean", pool, w.conv(source, same=True))
        return w.fire(w.norm(current))
    if kind == "twice":
        small = w.add("mean", pool, source)
        again = _window(w, small)
        small = small if again is None else w.add("mean", AvgPool2d(again, again), small)
        return w.fire(small)
    if kind == "factor":  # one-to-one behind the pool, a neuron behind that
        scaled = w.factor(source, 1.0, 3.0, -2.0, by="channel")
        return w.fire(w.add("mean", pool, scaled))
    if kind == "over norm":
        mean = w.add("mean", pool, w.norm(source, shift=w.chance(0.5)))
        return w.fire(w.conv(mean, kind="bare"))
    return w.fire(w.add("mean", pool, source))


def _window(w: Writer, source: str) -> tuple[int, int] | None:
    """One that keeps numbers dyadic, with at least two values."""
    height, width = w.shape(source)[1:]
    windows = [k for k in ((2, 2), (1, 2), (2, 1), (4, 2), (2, 4), (4, 4))
               if k[0] <= height and k[1] <= width]  # fmt: skip
    return w.pick(*windows) if windows else None


def summed(w: Writer, source: str) -> str:
    """Sums over windows (a depthwise convolution of equal weights) beside a convolution."""
    channels, height, width = w.shape(source)
    k = (min(2, height), min(2, width))
    weight = np.full((channels, 1, *k), w.pick(1.0, 1.0, -1.0, 0.5))
    pool = Conv2d(weight, stride=k, groups=channels)
    if w.chance(0.5):
        return w.fire(w.conv(w.add("pool", pool, source), kind="bare"))
    return w.fire(w.add("pool", pool, w.conv(source, out=channels, same=True)))


def maximum(w: Writer, source: str) -> str:
    """The maximum of spikes, or of currents in front of neurons without memory."""
    shape = w.shape(source)
    k = (min(2, shape[1]), min(2, shape[2]))
    pool = MaxPool2d(k, w.pick(k, (1, 1)), w.pick((0, 0), (k[0] // 2, k[1] // 2)))
    if w.chance(0.5):
        return w.add("max", pool, source)
    current = w.conv(source, same=True)
    pooled = w.add("max", MaxPool2d(k, k), current)
    place = w.pick((), (w.shape(pooled)[0], 1, 1))
    v = w.values[pooled]
    threshold = w.rng.choice(v[v > 0], place) if (v > 0).any() else np.full(place, 3.0)
    op = Neuron(threshold, decay=0.0)
    w.whole &= bool((threshold == np.rint(threshold)).all())
    last = w.add("spikes", op, pooled)
    if w.chance(0.3):  # the layer is read by others, too
        other = w.fire(current, plain=True)
        small = w.add("max", MaxPool2d(k, k), other)
        return w.add("gate", Gate("or"), last, small)
    return last


def norm_of_spikes(w: Writer, source: str) -> str:
    """A batch norm in front of a layer without padding, or of neurons."""
    if w.chance(0.5):
        return w.fire(w.norm(source))
    spread = w.norm(source)
    return w.fire(w.conv(spread, kind=w.pick("bare", "one"), dilation=(1, 1)))


def factor_of_spikes(w: Writer, source: str) -> str:
    """One factor or two on spikes, in front of a layer."""
    spread = w.factor(source, 2.0, -1.0, 3.0, by=w.pick("", "channel"))
    if w.chance(0.4):
        spread = w.factor(spread, 2.0, -1.0, by=w.pick("", "channel"))
    return w.fire(w.conv(spread))


def beside(w: Writer, source: str) -> str:
    """Layers of one geometry side by side, one without weights, factors of one, biases of zero."""
    channels = w.shape(source)[0]
    first = w.conv(source, out=channels, kind="plain")
    op = next(n.op for n in w.graph.nodes if n.name == first)
    assert isinstance(op, Conv2d)
    kind = w.pick("same", "silent", "one", "zero")
    if kind == "same":
        twin = replace(op, weight=w.weigh(*op.weight.shape), bias=w.weigh(channels))
        return w.fire(w.total(first, w.add("conv", twin, source)))
    if kind == "silent":
        zeros = replace(op, weight=np.zeros(op.weight.shape), stride=(1, 1))
        bias = w.pick(None, w.weigh(channels))
        unlike = replace(zeros, weight=zeros.weight[..., :1, :1], padding=(0, 0), bias=bias)
        return w.fire(w.total(first, w.add("conv", unlike, source)))
    if kind == "one":
        part = w.add("scale", Scale(np.ones(w.pick((), (channels, 1, 1)))), first)
        return w.fire(w.total(part, first if w.chance(0.5) else source))
    none = w.add("conv", replace(op, weight=w.weigh(*op.weight.shape), bias=np.zeros(channels)),
                 source)  # fmt: skip
    return w.fire(none)


def twins(w: Writer, source: str) -> str:
    """The same layer and neurons twice, which two readers hear."""
    first = w.fire(w.conv(source, out=w.shape(source)[0], same=True), plain=True)
    neuron = next(n for n in w.graph.nodes if n.name == first)
    layer = next(n for n in w.graph.nodes if n.name == neuron.inputs[0])
    again = w.add("spikes", neuron.op, w.add("conv", layer.op, source))
    if w.chance(0.3) and not w.auxiliary:
        w.kept.append(again)  # an output: it stays
    currents = [w.conv(n, out=4, same=True) for n in (first, again)]
    return w.fire(w.total(*currents))


def silent(w: Writer, source: str) -> str:
    """Channels, or a whole layer, that can never fire."""
    kind = w.pick("channels", "layer", "all", "tied")
    channels = max(2, w.shape(source)[0])
    current = w.conv(source, out=channels, same=True, kind="plain")
    far = np.full((channels, 1, 1), 3.0)
    far[: 1 if kind in ("channels", "tied") else None] = 120_000.0
    reset = w.pick("zero", "subtract")
    threshold = far if kind != "all" else np.array(120_000.0)
    amount = np.minimum(threshold, 5.0)
    never = w.add("spikes", Neuron(threshold, w.pick(0.0, 1.0), reset, amount), current)
    if kind == "tied":
        tie = w.pick("gate", "grouped", "one", "pool")
        if tie == "gate":
            other = w.fire(w.conv(source, out=channels, same=True), plain=True)
            return w.add("gate", Gate("or"), never, other)
        if tie == "pool":
            size = w.shape(never)[1:]
            k = (min(2, size[0]), min(2, size[1]))
            return w.add("max", MaxPool2d(k, k), never)
        current = w.conv(never, out=channels, kind="depthwise") if tie == "grouped" else (
            w.total(w.factor(never, 3.0, -2.0), w.conv(source, out=channels, same=True))
        )  # fmt: skip
        return w.fire(current)
    if kind == "layer":  # the sum goes on without it
        heard = w.conv(source, out=4, same=True)
        return w.fire(w.total(w.conv(never, out=4, same=True), heard))
    return w.fire(w.conv(never, out=4, same=True, bias=True))


def rectified(w: Writer, source: str) -> str:
    """Neurons of InfLoR-SNN: a rectificator that changes no spike at threshold 0.5."""
    w.whole = False  # a threshold of one half
    decay = w.pick(1.0, 0.5 if w.steps <= 8 else 1.0)
    op = RectifiedNeuron(np.array(0.5), decay, "subtract", np.array(1.0))
    return w.add("spikes", op, w.conv(source))


def assisted(w: Writer, source: str) -> str:
    """A block beside which training has a path and an output of its own."""
    last = plain(w, source)
    helper = w.add("helper", Neuron(np.array(3.0)), w.conv(last), role="auxiliary")
    w.auxiliary.append(helper)
    if w.chance(0.5):  # a module of the main stream serves this one, too
        layer = next(n for n in w.graph.nodes if isinstance(n.op, Conv2d))
        if w.shape(source) == w.shape(layer.inputs[0]):
            shared = w.add("again", layer.op, source, role="auxiliary", origin=layer.origin)
            w.auxiliary.append(shared)
    return last


ANDED, INHIBITED, XORED = (partial(gated, kind=k) for k in ("and", "iand", "xor"))
DIVIDED = partial(residual, after="scale")
BLOCKS: tuple[Block, ...] = (
    plain, residual, INHIBITED, looped, waiting_current, averaged, maximum, norm_of_spikes, beside,
    silent, twins, delayed, summed, factor_of_spikes, XORED, rectified, assisted, averaged,
    DIVIDED, waiting_current, ANDED, beside, averaged, maximum, gated, silent, looped,
    norm_of_spikes, averaged, residual, beside, XORED, averaged, plain,
)  # fmt: skip
