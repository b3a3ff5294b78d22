"""Faults of networks that can be built and run, and must not be compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from helpers.generator.writer import Writer
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Node
from purespike.compiler.ir.ops import (
    AttentionMix,
    AttentionScores,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    RectifiedNeuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.proofs.widths import require_widths

# What training leaves behind.


def helper_in_the_way(w: Writer, x: str) -> None:
    """An auxiliary layer in the main path."""
    w.fire(w.conv(w.add("helper", Neuron(np.array(1.0)), w.conv(x), role="auxiliary")))


def nothing_to_deploy(w: Writer, x: str) -> None:
    """Auxiliary outputs alone."""
    w.auxiliary.append(w.add("helper", Neuron(np.array(1.0)), w.conv(x), role="auxiliary"))


def rectificator_that_decides(w: Writer, x: str) -> None:
    """A rectificator at another threshold than 0.5."""
    w.add("spikes", RectifiedNeuron(np.array(w.pick(0.25, 0.75, 2.0))), w.conv(x))


# What no rewrite takes away.


def norm_of_a_shared_layer(w: Writer, x: str) -> None:
    """A layer that others read before its batch norm."""
    current = w.conv(x, out=4, same=True)
    w.fire(w.total(w.norm(current), current))


def norm_of_nothing(w: Writer, x: str) -> None:
    """Variance and eps of zero."""
    n = w.shape(current := w.conv(x))[0]
    ones, zeros = np.ones(n), np.zeros(n)
    norm = Node(BatchNorm(ones, zeros, zeros, zeros, 0.0), (current,), Edge("norm", (), SPIKE))
    w.graph = w.graph.rebuilt((*w.graph.nodes, norm), ("norm",))


def norm_of_a_sum(w: Writer, x: str) -> None:
    """A sum of a layer and itself, or with something that is neither layer nor spikes."""
    current = w.conv(x, out=4, same=True)
    other = w.add("mean", AvgPool2d((1, 1), (1, 1)), w.conv(x, out=4, same=True))
    w.fire(w.norm(w.total(current, w.pick(current, other))))


def norm_across_padding(w: Writer, x: str) -> None:
    """An average that pads between a batch norm with a shift and its layer."""
    pool = AvgPool2d((2, 2), (1, 1), (1, 1))
    w.fire(w.norm(w.add("mean", pool, w.conv(x))))


def norm_in_front_of_padding(w: Writer, x: str) -> None:
    """A batch norm with a shift in front of a layer that pads."""
    w.fire(w.conv(w.norm(x), kind="plain", padding=(1, 1)))


# What has no integers.


def average_of_overlapping_windows(w: Writer, x: str) -> None:
    """A layer behind it pads the pooled map."""
    w.fire(w.conv(w.add("mean", AvgPool2d((2, 2), (1, 1)), _large(w, x)), kind="plain"))


def average_that_leaves_out(w: Writer, x: str) -> None:
    """Windows that leave out rows which the layer behind them reads as padding."""
    odd = _large(w, x, odd=True)
    w.fire(w.conv(w.add("mean", AvgPool2d((2, 2), (2, 2)), odd), kind="plain"))


def average_that_pads(w: Writer, x: str) -> None:
    """Both pool and layer pad, or the pool pads what a layer makes."""
    pool = AvgPool2d((2, 2), (1, 1), (1, 1))
    if w.chance(0.5):
        w.fire(w.conv(w.add("mean", pool, x), kind="plain"))
    else:
        w.fire(w.add("mean", pool, w.conv(x, bias=True)))


def average_read_twice(w: Writer, x: str) -> None:
    """Two layers read one average."""
    mean = w.add("mean", AvgPool2d((2, 2), (2, 2)), _large(w, x))
    w.fire(w.total(w.conv(mean, out=4, kind="plain"), w.conv(mean, out=4, kind="one")))


def average_as_output(w: Writer, x: str) -> None:
    """The average itself is the result."""
    w.add("mean", AvgPool2d((2, 2), (2, 2)), w.fire(w.conv(_large(w, x), same=True)))


def maximum_of_currents(w: Writer, x: str) -> None:
    """In front of neurons with memory."""
    w.fire(w.add("max", MaxPool2d((1, 1), (1, 1)), w.conv(x)), decay=1.0, initial=2.0)


def mean_read_by_neurons(w: Writer, x: str) -> None:
    """The mean over time in the middle of a network."""
    w.fire(w.add("rate", TimeMean(w.steps), w.fire(w.conv(x))), plain=True)


def rectified_unit(w: Writer, x: str) -> None:
    """A ReLU."""
    w.fire(w.conv(w.add("relu", Relu(), w.conv(x))))


def attention(w: Writer, x: str) -> None:
    """Spiking self-attention: products of what the network computes."""
    q, k, v = (w.fire(w.conv(x, out=4, same=True), plain=True) for _ in range(3))
    heads = w.pick(1, 2)
    mixed = w.add("mix", AttentionMix(heads), w.add("scores", AttentionScores(heads), q, k), v)
    w.fire(w.add("scale", Scale(np.array(0.25)), mixed))


def spikes_that_are_added(w: Writer, x: str) -> None:
    """SEW's ADD: the sum of spikes feeds a layer."""
    last = w.fire(w.conv(x, out=w.shape(x)[0], same=True), plain=True)
    w.fire(w.conv(w.total(last, x)))


def delayed_into_neurons(w: Writer, x: str) -> None:
    """A current of a layer, or of a sum of more than layers, waits in front of neurons."""
    current = w.conv(x, out=4, same=True)
    current = current if w.chance(0.5) else w.total(current, w.add("late", Delay(1), current))
    steps = np.arange(1.0, 1 + int(np.prod(w.shape(current)))).reshape(w.shape(current)) % 3 + 1
    w.fire(w.add("late", Delay(steps), current))


def factor_by_place(w: Writer, x: str) -> None:
    """A current times a number of its own at each place."""
    w.fire(w.factor(w.conv(_large(w, x)), 2.0, 3.0, 5.0, by="place"), plain=True)


def layer_of_a_layer(w: Writer, x: str) -> None:
    """Two convolutions in a row, the second of which pads what the first would make there."""
    w.fire(w.conv(w.conv(_large(w, x), kind="plain"), kind="plain"))


def layer_at_the_end(w: Writer, x: str) -> None:
    """A layer as output, which is read at every step."""
    w.conv(x)


def few_bits(w: Writer, x: str) -> dict[str, Any]:
    """Weights of one bit, or of more than eight."""
    w.fire(w.conv(x))
    return {"grid": Grid(w.pick(0, 1, 9, 16))}


def not_of_integers(w: Writer, x: str) -> dict[str, Any]:
    """A quantized network whose weights would have to be rounded."""
    w.style = "fine"
    current = w.conv(x, out=4)
    last = w.add("counts", Levels(np.array([1.0, 2.0])), current)
    if w.chance(0.5):  # or whose outputs reach too far
        w.graph, w.values = replace(w.graph, nodes=w.graph.nodes[:1]), w.values
        last = w.add("spikes", Neuron(np.array(0.3), 0.0), w.graph.nodes[0].name)
    flat = w.add("flat", Flatten(), last)
    w.add("out", TimeMean(w.steps), w.add("head", Linear(w.weigh(2, *w.shape(flat))), flat))
    return {"quantized": True}


# Counts that no spikes can say.


def too_many_levels(w: Writer, x: str) -> None:
    """More neurons for each value than are allowed."""
    w.fire(w.conv(w.add("counts", Levels(np.arange(1.0, w.pick(18, 30))), w.conv(x))), plain=True)


def counts_at_the_end(w: Writer, x: str) -> None:
    """Counts of several steps, which nobody adds up."""
    w.add("counts", Levels(np.array([1.0, 3.0])), w.conv(x))


def _pooled_counts(w: Writer, last: str) -> None:
    w.fire(w.conv(w.add("max", MaxPool2d((1, 1), (1, 1)), last)), plain=True)


def maximum_of_a_sum(w: Writer, x: str) -> None:
    """Of counts of two activations."""
    parts = [w.conv(x, out=4, same=True) for _ in range(2)]
    _pooled_counts(w, w.total(*(w.add("counts", Levels(np.array([1.0, 3.0])), p) for p in parts)))


def maximum_below_zero(w: Writer, x: str) -> None:
    """Of counts that go below zero."""
    op = Levels(np.array([1.0, 3.0]), below=np.array([1.0]))
    _pooled_counts(w, w.add("counts", op, w.conv(x, same=True)))


def maximum_of_negated(w: Writer, x: str) -> None:
    """Of counts times a factor below zero."""
    last = w.add("counts", Levels(np.array([1.0, 3.0])), w.conv(x, same=True))
    _pooled_counts(w, w.factor(last, -1.0))


def product_of_counts(w: Writer, x: str) -> None:
    """A ReLU of counts."""
    last = w.add("counts", Levels(np.array([1.0, 3.0])), w.conv(x))
    w.fire(w.conv(w.add("relu", Relu(), last)), plain=True)


def counts_by_place(w: Writer, x: str) -> None:
    """Counts times a number of their own at each place, in front of a convolution."""
    last = w.add("counts", Levels(np.array([1.0, 3.0])), w.conv(_large(w, x), same=True))
    worth = w.factor(last, 1.0, 2.0, 4.0, by="place")
    other = w.add("counts", Levels(np.array([1.0])), w.conv(last, out=w.shape(last)[0], same=True))
    w.fire(w.conv(w.total(worth, other)), plain=True)  # unlike trains: no pass folds the factor


def pool_by_place(w: Writer, x: str) -> None:
    """The same in front of a pool."""
    last = w.add("counts", Levels(np.array([1.0, 3.0])), w.conv(_large(w, x), same=True))
    _pooled_counts(w, w.factor(last, 1.0, 2.0, 4.0, by="place"))


# What a chip's registers do not hold.


def wide_sums(w: Writer, x: str) -> dict[str, Any]:
    """A current that may wrap around: found behind the passes, before files are written."""
    flat = w.add("flat", Flatten(), x)
    n = w.shape(flat)[0]
    w.fire(w.add("head", Linear(w.rng.integers(50, 128, (2, n)).astype(float)), flat), plain=True)
    return {"then": lambda graph: require_widths(graph, current_limit=49)}


# A host that makes something else than spikes.


def analog_and_undeclared(w: Writer, x: str) -> None:
    """An analog input that nobody declared."""
    w.fire(w.conv(x))


def encoder_that_meets_the_chip(w: Writer, x: str) -> dict[str, Any]:
    """What a host makes is added to what the chip makes."""
    current = w.conv(x, out=4, same=True)
    fired = w.fire(current, plain=True)
    w.fire(w.total(current, w.conv(fired, out=4, same=True)), plain=True)
    return {"host_encoder": True}


def nothing_on_the_chip(w: Writer, x: str) -> dict[str, Any]:
    """An encoder that is the whole network."""
    w.add("out", TimeMean(w.steps), w.conv(x))
    return {"host_encoder": True}


def two_encoders(w: Writer, x: str) -> dict[str, Any]:
    """Two layers of neurons on the host, which the chip both reads."""
    first, second = (w.fire(w.conv(x, out=4, same=True), plain=True) for _ in range(2))
    both = [w.conv(n, out=4, same=True) for n in (first, second)]
    w.fire(w.total(*both), plain=True)
    return {"host_encoder": True, "then": chip_part}


def slow_encoder(w: Writer, x: str) -> dict[str, Any]:
    """An encoder that counts and keeps a membrane."""
    last = w.add("counts", Levels(np.array([1.0, 30.0]), decay=1.0), w.conv(x))
    w.fire(w.conv(last), plain=True)
    return {"host_encoder": True}


def encoder_by_place(w: Writer, x: str) -> dict[str, Any]:
    """Counts of an encoder that reach a neuron times a number of their own at each place."""
    last = w.add("counts", Levels(np.array([1.0, 30.0])), w.conv(x, out=4, same=True))
    shape = w.shape(last)
    by_place = np.arange(1.0, 1 + int(np.prod(shape))).reshape(shape)
    worth = w.add("scale", Scale(by_place), last)
    w.fire(w.total(worth, w.conv(last, out=4, same=True)), plain=True)
    return {"host_encoder": True}


def _large(w: Writer, x: str, *, odd: bool = False) -> str:
    """Spikes of 4 x 4 channels and places, or 5 x 5."""
    n = 5 if odd else 4
    _, height, width = w.shape(x)
    kernel = Conv2d(w.weigh(4, w.shape(x)[0], 1, 1), padding=(n, n))
    big = w.add("conv", kernel, x)
    rows, columns = (2 * n + s for s in (height, width))
    crop = Conv2d(w.weigh(4, 4, rows - n + 1, columns - n + 1))
    return w.fire(w.add("conv", crop, w.fire(big, plain=True)), plain=True)


AUXILIARY = (helper_in_the_way, nothing_to_deploy, rectificator_that_decides)
OPERATIONS = (norm_of_a_shared_layer, norm_of_nothing, norm_of_a_sum, norm_across_padding,
              norm_in_front_of_padding)  # fmt: skip
INTEGERS = (average_of_overlapping_windows, average_that_leaves_out, average_that_pads,
            average_read_twice, average_as_output, maximum_of_currents, mean_read_by_neurons,
            rectified_unit, attention, spikes_that_are_added, delayed_into_neurons, factor_by_place,
            layer_of_a_layer, layer_at_the_end, few_bits, not_of_integers)  # fmt: skip
COUNTS = (too_many_levels, counts_at_the_end, maximum_of_a_sum, maximum_below_zero,
          maximum_of_negated, product_of_counts, pool_by_place,
          counts_by_place)  # fmt: skip
WIDTHS = (wide_sums,)
HOST = (analog_and_undeclared, encoder_that_meets_the_chip, nothing_on_the_chip, two_encoders)
HOST_COUNTS = (slow_encoder, encoder_by_place)
STEPS = (maximum_of_currents, mean_read_by_neurons, delayed_into_neurons, slow_encoder)
