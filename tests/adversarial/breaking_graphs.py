"""Integer graphs, as a file could hold them, that look spike-only and are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from adversarial.case import Corpus
from adversarial.graphs import (
    FIXED,
    IMAGE,
    VECTOR,
    chain,
    conv,
    edited,
    integrator,
    linear,
    neuron,
    vector,
)

from purespike.compiler.ir.domain import ANALOG, INTEGER, SPIKE, TERNARY
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)

corpus = Corpus()
breaks = corpus.breaks


# Parameters --------------------------------------------------------------------------------------


@breaks("PS008 layer")
def weight_of_minus_256() -> Graph:
    """A mantissa of mixed signs, and inexact on the chip where all weights are negative."""
    return chain(weight=-256)


@breaks("PS008 layer")
def odd_weight_beyond_a_byte() -> Graph:
    """-198 is held beside even numbers only: of both signs the chip cuts the lowest bit."""
    layer = linear(np.array([[-198.0, 197.0], [2.0, 4.0]]))
    nodes = [("layer", layer, ("x",)), ("n1", neuron(3), ("layer",))]
    return build((Edge("x", (2,), SPIKE),), nodes, ("n1",), 3)


@breaks("PS008 layer")
def half_a_weight() -> Graph:
    """Integers everywhere but in one synapse."""
    return chain(weight=0.5)


@breaks("PS008 layer")
def bias_of_4096() -> Graph:
    """One beyond the 12 bits of a bias mantissa."""
    return chain(bias=4096)


@breaks("PS008 n1")
def biases_that_fit_and_their_sum_does_not() -> Graph:
    """Two synapses of one neuron, each with a legal bias: the chip has one bias per neuron."""
    nodes = [
        ("l1", linear(1, bias=4000), ("x",)),
        ("l2", linear(1, bias=4000), ("x",)),
        ("sum", Add(), ("l1", "l2")),
        ("n1", neuron(5), ("sum",)),
    ]
    return vector(nodes)


@breaks("PS008 n1")
def threshold_of_zero() -> Graph:
    """Rounded to zero, it fires at rest."""
    return chain(op=neuron(0))


@breaks("PS008 n1")
def negative_threshold() -> Graph:
    """Rounded across zero."""
    return chain(op=neuron(-3))


@breaks("PS008 n1")
def fractional_threshold() -> Graph:
    """2.5 fires as 3 does, until a chip truncates it to 2."""
    return chain(op=neuron(2.5))


@breaks("PS008 n1")
def one_threshold_of_many_too_large() -> Graph:
    """Per neuron, and the last is out of the register."""
    return chain(op=Neuron(np.array([3.0, 3, 3, 131073]), fixed=FIXED))


@breaks("PS008 n1")
def soft_reset_that_adds() -> Graph:
    """A negative amount: every spike charges the membrane."""
    return chain(op=Neuron(np.asarray(3.0), reset="subtract", amount=np.asarray(-1.0), fixed=FIXED))


@breaks("PS008 n1")
def initial_membrane() -> Graph:
    """Starts charged, which no reset of the chip restores."""
    return chain(op=Neuron(np.asarray(3.0), initial=2.0, fixed=FIXED))


@breaks("PS008 n1")
def real_numbers_in_the_membrane() -> Graph:
    """Integer weights, and a membrane that computes in floats."""
    return chain(op=Neuron(np.asarray(3.0)))


@breaks("PS008 n1")
def membrane_of_32_bits() -> Graph:
    """Proved on a wider membrane than the chip has."""
    return chain(op=Neuron(np.asarray(3.0), fixed=FixedPoint(width=32)))


@breaks("PS005 n1")
def leak() -> Graph:
    """A decay of 2048/4096: half is a shift by name and a product in the register."""
    return chain(op=Neuron(np.asarray(3 + 1 / 64), decay=0.5, fixed=FIXED))


# Ranges ------------------------------------------------------------------------------------------


@breaks("PS006 n1", "PS007 n1")
def current_one_beyond_the_register() -> Graph:
    """1032 weights of 127 and one of 8: 131072, one more than fits."""
    row = np.append(np.full(1032, 127.0), 8.0)
    return vector([("l", linear(row[None]), ("x",)), ("n1", neuron(5), ("l",))], size=1033)


@breaks("PS006 n1", "PS007 n1")
def wrap_hidden_by_a_negative_bias() -> Graph:
    """The bias pulls the sum back into range, but it joins behind the register that wraps."""
    row = np.append(np.full(1032, 127.0), 127.0)
    nodes = [("l", linear(row[None], bias=-4000), ("x",)), ("n1", neuron(5), ("l",))]
    return vector(nodes, size=1033)


@breaks("PS006 n1", "PS007 n1")
def two_synapses_that_wrap_together() -> Graph:
    """Each current fits; they meet in one register."""
    big = np.full((1, 600), 127.0)
    nodes = [
        ("l1", linear(big), ("x",)),
        ("l2", linear(big), ("x",)),
        ("sum", Add(), ("l1", "l2")),
        ("n1", neuron(5), ("sum",)),
    ]
    return vector(nodes, size=600)


def _readout(weight: float) -> Graph:
    nodes = [
        ("l", linear(np.ones((32, 4))), ("x",)),
        ("n1", neuron(1), ("l",)),
        ("l2", linear(np.full((2, 32), weight)), ("n1",)),
        ("read", integrator(), ("l2",)),
    ]
    return vector(nodes, steps=64)


@breaks("PS007 read")
def readout_that_saturates_late() -> Graph:
    """Holds for 32 steps, clips at the 33rd: the arg max of a clipped readout is a tie."""
    return _readout(127.0)


@breaks("PS007 read")
def readout_that_saturates_downwards() -> Graph:
    """All weights negative: the same below zero."""
    return _readout(-127.0)


# Structure ---------------------------------------------------------------------------------------


@breaks("PS004 out")
def sum_of_spikes_as_output() -> Graph:
    """SEW's ADD at the very end, where no synapse is left to complain."""
    nodes = [
        ("l1", linear(1), ("x",)),
        ("n1", neuron(3), ("l1",)),
        ("l2", linear(1), ("x",)),
        ("n2", neuron(3), ("l2",)),
        ("out", Add(), ("n1", "n2")),
    ]
    return vector(nodes)


@breaks("PS004 read")
def current_as_output() -> Graph:
    """Ends in a linear layer: nobody holds its current, and nothing can read it."""
    nodes = [("l", linear(1), ("x",)), ("n1", neuron(3), ("l",)), ("read", linear(1), ("n1",))]
    return vector(nodes)


@breaks("PS004 idle")
def layer_that_nobody_reads() -> Graph:
    """Left over from a slice: it works and its current goes nowhere."""
    nodes = [
        ("l", linear(1), ("x",)),
        ("idle", linear(1), ("x",)),
        ("n1", neuron(3), ("l",)),
    ]
    return vector(nodes, outputs=("n1",))


@breaks("PS001 next", "PS005 next", "PS006 n1", "PS007 n1")
def membrane_feeds_a_synapse() -> Graph:
    """An integrator in the middle: its integer membrane meets a weight."""
    nodes = [
        ("l", linear(1), ("x",)),
        ("read", integrator(), ("l",)),
        ("next", linear(1), ("read",)),
        ("n1", neuron(3), ("next",)),
    ]
    return vector(nodes)


@breaks("PS004 n1", "PS006 n1", "PS007 n1")
def membrane_feeds_a_neuron() -> Graph:
    """No synapse between, so no weight that could multiply; no axon either."""
    nodes = [("l", linear(1), ("x",)), ("read", integrator(), ("l",)), ("n1", neuron(3), ("read",))]
    return vector(nodes)


@breaks("PS004 n1")
def spikes_feed_a_neuron() -> Graph:
    """A bare spike into a neuron needs an axon and a weight."""
    nodes = [("l", linear(1), ("x",)), ("n0", neuron(3), ("l",)), ("n1", neuron(1), ("n0",))]
    return vector(nodes)


@breaks("PS001 l2")
def synapse_on_a_synapse_of_zeros_and_ones() -> Graph:
    """A permutation of spikes is 0 or 1 by value, and a current by what carries it."""
    nodes = [
        ("l1", linear(np.eye(4)[::-1]), ("x",)),
        ("l2", linear(1), ("l1",)),
        ("n1", neuron(3), ("l2",)),
    ]
    return vector(nodes)


@breaks("PS001 l2")
def constant_current_as_spikes() -> Graph:
    """Zero weights and bias 1: a current of exactly 1 for ever."""
    nodes = [
        ("l1", linear(0, bias=1), ("x",)),
        ("l2", linear(1), ("l1",)),
        ("n1", neuron(3), ("l2",)),
    ]
    return vector(nodes)


@breaks("PS001 conv2", "PS005 conv2", "PS004 pool", "PS005 pool")
def average_pool_left() -> Graph:
    """Quarters of spikes."""
    nodes = [
        ("conv", conv(1), ("x",)),
        ("n1", neuron(3), ("conv",)),
        ("pool", AvgPool2d((2, 2), (2, 2)), ("n1",)),
        ("conv2", conv(1), ("pool",)),
        ("n2", neuron(3), ("conv2",)),
    ]
    return build((IMAGE,), nodes, ("n2",), 3)


@breaks("PS004 pool")
def max_pool_left() -> Graph:
    """An OR by value; the chip has no pooling."""
    nodes = [
        ("pool", MaxPool2d((2, 2), (2, 2)), ("x",)),
        ("conv", conv(1), ("pool",)),
        ("n1", neuron(3), ("conv",)),
    ]
    return build((IMAGE,), nodes, ("n1",), 3)


@breaks("PS004 gate")
def gate_left() -> Graph:
    """Logic that nobody lowered."""
    nodes = [
        ("gate", Gate("xor"), ("x", "x")),
        ("l", linear(1), ("gate",)),
        ("n1", neuron(3), ("l",)),
    ]
    return vector(nodes)


@breaks("PS004 norm", "PS005 norm", "PS006 n1", "PS007 n1")
def batch_norm_left() -> Graph:
    """Between layer and neuron, where it would have been fused."""
    norm = BatchNorm(*(np.array([v]) for v in (1.0, 0.0, 0.5, 1.0)), 1e-5)
    nodes = [("conv", conv(1), ("x",)), ("norm", norm, ("conv",)), ("n1", neuron(3), ("norm",))]
    return build((IMAGE,), nodes, ("n1",), 3)


@breaks("PS004 mean", "PS005 mean")
def time_mean_as_output() -> Graph:
    """Rates of spikes at the end: a division by T on the chip."""
    nodes = [
        ("l", linear(1), ("x",)),
        ("n1", neuron(3), ("l",)),
        ("mean", TimeMean(3), ("n1",)),
    ]
    return vector(nodes)


@breaks("PS001 gain", "PS005 gain")
def gain_on_a_current() -> Graph:
    """A one-to-one factor behind a layer: the same node as a one-to-one synapse."""
    nodes = [
        ("l", linear(1), ("x",)),
        ("gain", Scale(np.asarray(3.0)), ("l",)),
        ("n1", neuron(3), ("gain",)),
    ]
    return vector(nodes)


@breaks("PS004 flat", "PS004 n1")
def flattened_currents() -> Graph:
    """A reshape between layer and neuron: free in memory, impossible in a dendrite."""
    nodes = [
        ("conv", conv(1), ("x",)),
        ("flat", Flatten(), ("conv",)),
        ("n1", neuron(3), ("flat",)),
    ]
    return build((IMAGE,), nodes, ("n1",), 3)


@breaks("refused %l (module l)")
def loop_without_delay() -> Graph:
    """A neuron that reads its own spikes of the same step."""
    graph = vector([("l", linear(1), ("x",)), ("n1", neuron(3), ("l",))])
    looped = replace(graph.nodes[0], inputs=("n1",))
    return edited(graph, l=looped)


@breaks("PS009")
def loop_shorter_than_its_synapses() -> Graph:
    """Spikes and additions only, but two synapses take two steps on Lava, and the loop has one."""
    nodes = [
        ("late", Delay(1), ("n2",)),
        ("in", linear(1), ("x",)),
        ("back", linear(1), ("late",)),
        ("sum", Add(), ("in", "back")),
        ("n1", neuron(3), ("sum",)),
        ("on", linear(1), ("n1",)),
        ("n2", neuron(3), ("on",)),
    ]
    declared = Edge("n2", (4,), SPIKE)
    graph = build((VECTOR, declared), nodes[:-1], ("on",), 3)
    last = build((VECTOR, *(n.output for n in graph.nodes)), nodes[-1:], ("n2",), 3)
    return replace(graph, inputs=(VECTOR,), outputs=("n2",)).rebuilt((*graph.nodes, *last.nodes))


# Claims ------------------------------------------------------------------------------------------


@breaks("refused %relu (module relu)")
def edge_that_claims_spikes() -> Graph:
    """A file may write 'spike' on any edge; a ReLU does not make them."""
    nodes = [("l", linear(1), ("x",)), ("relu", Relu(), ("l",)), ("l2", linear(1), ("relu",))]
    graph = vector([*nodes, ("n1", neuron(3), ("l2",))])
    relu = graph.producer("relu")
    assert relu is not None
    return edited(graph, relu=replace(relu, output=Edge("relu", (4,), SPIKE)))


@breaks("PS001 layer", "PS005 layer", "PS011 inputs and outputs")
def ternary_input_edge() -> Graph:
    """-1, 0, 1 at the first synapse."""
    return chain(x=Edge("x", (4,), TERNARY))


@breaks("PS001 layer", "PS005 layer", "PS006 n1", "PS007 n1", "PS011 inputs and outputs")
def counted_events() -> Graph:
    """Integers of unknown size at the first synapse."""
    return chain(x=Edge("x", (4,), INTEGER))


@breaks("PS004 n1", "PS006 n1", "PS007 n1")
def host_injects_currents() -> Graph:
    """The encoder is declared, and hands real currents to the first neuron of the chip."""
    graph = vector(
        [("encoder", linear(1), ("x",)), ("n1", neuron(3), ("encoder",))],
        x=Edge("x", (4,), ANALOG),
    )
    encoder = graph.producer("encoder")
    assert encoder is not None
    return edited(graph, encoder=replace(encoder, role="host"))


@breaks("PS001 layer", "PS005 layer", "PS006 n1", "PS007 n1")
def host_sends_real_numbers() -> Graph:
    """A declared encoder without a neuron at its end."""
    graph = vector(
        [("encoder", linear(1), ("x",)), ("layer", linear(1), ("encoder",)),
         ("n1", neuron(3), ("layer",))],
        x=Edge("x", (4,), ANALOG),
    )  # fmt: skip
    encoder = graph.producer("encoder")
    assert encoder is not None
    return edited(graph, encoder=replace(encoder, role="host"))


@breaks("PS003 whole network")
def auxiliary_node_left() -> Graph:
    """Spikes and additions only, and one of the layers is a training-only path."""
    graph = chain()
    layer = graph.producer("layer")
    assert layer is not None
    return edited(graph, layer=replace(layer, role="auxiliary"))


@breaks("PS008 conv")
def one_bad_weight_among_many() -> Graph:
    """3 x 3 x 8 x 8 legal weights and one of 256."""
    weight = np.ones((8, 1, 3, 3))
    weight[7, 0, 2, 2] = 256
    nodes = [("conv", Conv2d(weight), ("x",)), ("n1", neuron(3), ("conv",))]
    return build((IMAGE,), nodes, ("n1",), 3)
