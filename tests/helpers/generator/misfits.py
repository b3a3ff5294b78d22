"""Operations that no graph takes: parameters that do not fit, loops without time, wrong claims."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from helpers.generator.writer import EPS, Writer
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Node
from purespike.compiler.ir.ops import (
    Add,
    AttentionMix,
    AttentionScores,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    RectifiedNeuron,
    Scale,
    TimeMean,
)


def layer_of_other_channels(w: Writer, x: str) -> None:
    """A convolution for another number of channels, or with a bias of another size."""
    n = w.shape(x)[0]
    w.add("conv", w.pick(Conv2d(w.weigh(3, n + 1, 1, 1)),
                         Conv2d(w.weigh(3, n, 1, 1), w.weigh(2))), x)  # fmt: skip


def kernel_beyond_the_map(w: Writer, x: str) -> None:
    """A kernel larger than its padded input."""
    n, height, width = w.shape(x)
    w.add("conv", Conv2d(w.weigh(2, n, height + w.pick(1, 2), width)), x)


def matrix_of_other_inputs(w: Writer, x: str) -> None:
    """A linear layer for another number of inputs, or on an image."""
    flat = w.add("flat", Flatten(), x)
    w.add("head", Linear(w.weigh(3, w.shape(flat)[0] + 1)), w.pick(flat, x))


def parameter_of_another_shape(w: Writer, x: str) -> None:
    """Factors, thresholds or delays that do not broadcast."""
    size = (w.shape(x)[0] + 1, 1, 1)
    w.add("scale", w.pick(Scale(np.arange(1.0, 1 + size[0]).reshape(size)),
                          Neuron(np.arange(1.0, 1 + size[0]).reshape(size)),
                          Delay(np.arange(1, 1 + size[0]).reshape(size))), x)  # fmt: skip


def pool_of_a_vector(w: Writer, x: str) -> None:
    """Pooling what is no image."""
    w.add("mean", w.pick(AvgPool2d, MaxPool2d)((1, 1), (1, 1)), w.add("flat", Flatten(), x))


def pool_beyond_the_map(w: Writer, x: str) -> None:
    """A window larger than its padded input."""
    _, height, width = w.shape(x)
    w.add("mean", w.pick(AvgPool2d, MaxPool2d)((height + 1, width), (1, 1)), x)


def maximum_of_padding(w: Writer, x: str) -> None:
    """Windows of nothing but padding, of values below zero."""
    op = MaxPool2d((1, 1), (1, 1), (1, 1))
    w.add("max", op, w.factor(x, -1.0))


def norm_of_other_channels(w: Writer, x: str) -> None:
    """A batch norm for another number of channels."""
    ones = np.ones(w.shape(x)[0] + 1)
    w.add("norm", BatchNorm(ones, ones, ones, ones, EPS), x)


def sum_of_unlike_shapes(w: Writer, x: str) -> None:
    """A sum or a gate of unlike shapes, or of one edge."""
    flat = w.add("flat", Flatten(), x)
    op = w.pick(Add(), Gate("or"))
    w.add("sum", op, *w.pick((x, flat), (x,)) if w.shape(flat) != w.shape(x) else (x,))


def unknown_gate(w: Writer, x: str) -> None:
    """A gate that nobody knows."""
    w.add("gate", Gate(w.pick("nand", "nor", "")), x, x)


def gate_of_currents(w: Writer, x: str) -> None:
    """A gate of something that is not spikes."""
    w.add("gate", Gate("and"), x, w.factor(x, 3.0))


def iand_of_three(w: Writer, x: str) -> None:
    """IAND takes two."""
    w.add("gate", Gate("iand"), x, x, x)


def delay_of_no_time(w: Writer, x: str) -> None:
    """A delay of zero steps, below, or of half a step."""
    w.add("late", Delay(w.pick(0, -1, 0.5, np.array([1, 0]))), x)


def neuron_that_grows(w: Writer, x: str) -> None:
    """A decay above 1 or below 0, of the membrane or of the current."""
    name = w.pick("decay", "current_decay")
    w.add("spikes", Neuron(np.array(1.0), **{name: w.pick(1.5, -0.25)}), x)


def levels_that_grow(w: Writer, x: str) -> None:
    """The same of an activation with levels."""
    w.add("counts", Levels(np.array([1.0]), w.pick(2.0, -0.5)), x)


def no_level(w: Writer, x: str) -> None:
    """An activation without levels."""
    w.add("counts", Levels(w.pick(np.array(1.0), np.zeros(0))), x)


def levels_that_descend(w: Writer, x: str) -> None:
    """Thresholds that do not ascend."""
    w.add("counts", Levels(np.array([w.pick(2.0, 3.0), 1.0])), x)


def unknown_reset(w: Writer, x: str) -> None:
    """A reset that nobody knows."""
    w.add("spikes", Neuron(np.array(1.0), reset=w.pick("half", "")), x)


def decay_off_the_grid(w: Writer, x: str) -> None:
    """In fixed point: a decay between two numbers of the chip."""
    name = w.pick("decay", "current_decay")
    w.add("spikes", Neuron(np.array(1.0), fixed=FixedPoint(), **{name: w.pick(0.3, 0.9)}), x)


def current_for_ever(w: Writer, x: str) -> None:
    """In fixed point: a current that does not fade."""
    w.add("spikes", Neuron(np.array(1.0), fixed=FixedPoint(), current_decay=1.0), x)


def rectified_in_integers(w: Writer, x: str) -> None:
    """A rectificator in fixed point."""
    w.add("spikes", RectifiedNeuron(np.array(0.5), fixed=FixedPoint()), x)


def not_a_number(w: Writer, x: str) -> None:
    """Weights of a training that diverged."""
    weight = w.weigh(2, w.shape(x)[0], 1, 1)
    weight.flat[0] = w.pick(np.nan, np.inf, -np.inf)
    w.add("conv", Conv2d(weight), x)


def scores_of_unlike_heads(w: Writer, x: str) -> None:
    """Attention with other heads than its scores have, or of something that is no image."""
    q, k = (w.fire(w.conv(x, out=4, same=True), plain=True) for _ in range(2))
    w.add("mix", AttentionMix(2), w.add("scores", AttentionScores(1), q, k), q)


def attention_of_odd_channels(w: Writer, x: str) -> None:
    """Heads that do not share the channels."""
    q = w.fire(w.conv(x, out=4, same=True), plain=True)
    w.add("scores", AttentionScores(3), q, q)


def attention_of_currents(w: Writer, x: str) -> None:
    """Attention of what no neuron fired."""
    q = w.conv(x, out=4, same=True)
    w.add("scores", AttentionScores(2), q, q)


# Graphs that claim what does not hold: `verify` says so.


def _claimed(w: Writer, **claim: object) -> None:
    last = w.graph.nodes[-1]
    output = replace(last.output, **claim)  # type: ignore[arg-type]
    w.graph = replace(w.graph, nodes=(*w.graph.nodes[:-1], replace(last, output=output)))


def another_shape(w: Writer, x: str) -> None:
    """An edge that claims another shape."""
    w.fire(w.conv(x))
    _claimed(w, shape=(1, 1, 7))


def another_domain(w: Writer, x: str) -> None:
    """An edge that claims spikes and carries counts."""
    w.factor(x, 3.0)
    _claimed(w, domain=SPIKE)


def input_twice(w: Writer, x: str) -> None:
    """Two inputs of one name."""
    w.fire(w.conv(x))
    w.graph = replace(w.graph, inputs=(*w.graph.inputs, Edge("x", (1,), Domain(0, 1, 1))))


def written_twice(w: Writer, x: str) -> None:
    """Two nodes that write one edge."""
    w.fire(w.conv(x))
    w.graph = replace(w.graph, nodes=(*w.graph.nodes, w.graph.nodes[-1]))


def no_steps(w: Writer, x: str) -> None:
    """A graph of no time."""
    w.fire(w.conv(x))
    w.graph = replace(w.graph, **w.pick({"steps": 0}, {"steps": -1}, {"dt": 0.0}))


def read_before_written(w: Writer, x: str) -> None:
    """A loop that takes no time."""
    last = w.fire(w.conv(x, out=4, same=True), plain=True)
    nodes = list(w.graph.nodes)
    loop = Node(Add(), (nodes[-2].name, last), Edge("loop", w.shape(last), Domain(-99, 99, 0)))
    nodes[-1] = replace(nodes[-1], inputs=("loop",))
    w.graph = replace(w.graph, nodes=(*nodes[:-1], loop, nodes[-1]))


def written_by_nobody(w: Writer, x: str) -> None:
    """A node that reads an edge that nobody writes."""
    w.fire(w.conv(x))
    last = w.graph.nodes[-1]
    w.graph = replace(w.graph, nodes=(*w.graph.nodes[:-1], replace(last, inputs=("nobody",))))


def rebuilt_without(w: Writer, x: str) -> None:
    """The same, where a pass takes nodes away."""
    w.fire(w.conv(x))
    w.graph = w.graph.rebuilt(w.graph.nodes[-1:])


def output_of_nobody(w: Writer, x: str) -> None:
    """An output that no node writes."""
    w.fire(w.conv(x))
    w.kept.append("nobody")


def mean_over_other_steps(w: Writer, x: str) -> None:
    """A mean over fewer steps than a sample has."""
    flat = w.add("flat", Flatten(), x)
    w.graph = replace(w.graph, steps=w.steps + 2)
    w.graph = w.graph.rebuilt((*w.graph.nodes, Node(TimeMean(w.steps - 2), (flat,),
                              Edge("out", (), SPIKE))), ("out",))  # fmt: skip
    w.values["x"] = np.concatenate([w.values["x"], w.values["x"][:1], w.values["x"][:1]])


MISFITS = (
    layer_of_other_channels, kernel_beyond_the_map, matrix_of_other_inputs,
    parameter_of_another_shape, pool_of_a_vector, pool_beyond_the_map, maximum_of_padding,
    norm_of_other_channels, sum_of_unlike_shapes, unknown_gate, gate_of_currents, iand_of_three,
    delay_of_no_time, neuron_that_grows, levels_that_grow, no_level, levels_that_descend,
    unknown_reset, decay_off_the_grid, current_for_ever, rectified_in_integers, not_a_number,
    scores_of_unlike_heads, attention_of_odd_channels, attention_of_currents, another_shape,
    another_domain, input_twice, written_twice, no_steps, read_before_written, written_by_nobody,
    rebuilt_without, output_of_nobody, mean_over_other_steps,
)  # fmt: skip
