"""Integer graphs that look suspicious and are spike-only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from adversarial.case import Corpus
from adversarial.graphs import (
    FIXED,
    IMAGE,
    VECTOR,
    chain,
    edited,
    integrator,
    linear,
    neuron,
    vector,
)

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Neuron, Scale

corpus = Corpus()
holds = corpus.holds


@holds
def largest_legal_numbers() -> Graph:
    """Weight 127, bias -4095, threshold 131072: every register full."""
    return chain(weight=127, bias=-4095, op=neuron(131072))


@holds
def largest_mantissas() -> Graph:
    """Weights of both signs at both ends of 8 bits, in steps of 2."""
    layer = linear(np.array([[-256.0, 254.0, 0, 2]] * 4))
    nodes = [("layer", layer, ("x",)), ("n1", neuron(3), ("layer",))]
    return vector(nodes)


@holds
def soft_reset_by_zero() -> Graph:
    """Fires once, then at every step for ever: never reset, which every target can hold."""
    return chain(op=neuron(3, reset="subtract", amount=np.asarray(0.0)))


@holds
def current_that_just_fits() -> Graph:
    """1032 weights of 127 and one of 7: 131071."""
    row = np.append(np.full(1032, 127.0), 7.0)
    return vector([("l", linear(row[None]), ("x",)), ("n1", neuron(5), ("l",))], size=1033)


@holds
def readout_that_just_fits() -> Graph:
    """32 steps of 32 weights of 127."""
    nodes = [
        ("l", linear(np.ones((32, 4))), ("x",)),
        ("n1", neuron(1), ("l",)),
        ("l2", linear(np.full((2, 32), 127.0)), ("n1",)),
        ("read", integrator(), ("l2",)),
    ]
    return vector(nodes, steps=32)


@holds
def firing_neuron_that_saturates() -> Graph:
    """Inhibited for 64 steps down to the membrane's limit, where every executor clips alike."""
    nodes = [("l", linear(np.full((2, 64), -127.0)), ("x",)), ("n1", neuron(5), ("l",))]
    return vector(nodes, size=64, steps=64)


@holds
def memoryless_neuron() -> Graph:
    """A decay of 0: a product by zero that is not a product."""
    return chain(op=neuron(3, decay=0.0))


@holds
def thresholds_by_neuron() -> Graph:
    """Four different thresholds, one of them never reached."""
    return chain(op=Neuron(np.array([1.0, 2, 4, 131072]), fixed=FIXED))


@holds
def soft_reset_by_more_than_the_threshold() -> Graph:
    """InfLoR: subtracts twice what it takes to fire."""
    return chain(op=neuron(3, reset="subtract", amount=np.asarray(6.0)))


@holds
def zero_weights() -> Graph:
    """A layer that adds nothing."""
    return chain(weight=0)


@holds
def subtraction_by_synapse() -> Graph:
    """IAND by hand: +1 and -1 from the same spikes."""
    nodes = [
        ("plus", Scale(np.asarray(1.0)), ("x",)),
        ("minus", Scale(np.asarray(-1.0)), ("x",)),
        ("sum", Add(), ("plus", "minus")),
        ("n1", neuron(1, decay=0.0), ("sum",)),
    ]
    return vector(nodes)


@holds
def synapse_with_two_neurons() -> Graph:
    """One layer drives two neurons of different thresholds."""
    nodes = [
        ("l", linear(1), ("x",)),
        ("n1", neuron(2), ("l",)),
        ("n2", neuron(3), ("l",)),
        ("a", linear(1), ("n1",)),
        ("b", linear(-1), ("n2",)),
        ("sum", Add(), ("a", "b")),
        ("read", integrator(), ("sum",)),
    ]
    return vector(nodes)


@holds
def sum_of_sums_of_currents() -> Graph:
    """A tree of additions in front of one neuron, one synapse in it twice."""
    nodes = [
        ("a", linear(1), ("x",)),
        ("b", linear(2), ("x",)),
        ("ab", Add(), ("a", "b")),
        ("all", Add(), ("ab", "a")),
        ("n1", neuron(3), ("all",)),
    ]
    return vector(nodes)


@holds
def biases_that_cancel() -> Graph:
    """+4000 and -4000 meet in one register: each fits, and so does their sum."""
    nodes = [
        ("a", linear(1, bias=4000), ("x",)),
        ("b", linear(1, bias=-4000), ("x",)),
        ("sum", Add(), ("a", "b")),
        ("n1", neuron(3), ("sum",)),
    ]
    return vector(nodes)


@holds
def spikes_as_output_and_input() -> Graph:
    """An output that a layer reads too."""
    graph = chain()
    return replace(graph, outputs=("read", "n1"))


@holds
def flattened_spikes() -> Graph:
    """A reshape of spikes is free."""
    nodes = [
        ("flat", Flatten(), ("x",)),
        ("l", linear(np.ones((2, 16))), ("flat",)),
        ("n1", neuron(3), ("l",)),
    ]
    return build((IMAGE,), nodes, ("n1",), 3)


@holds
def kernel_larger_than_the_image() -> Graph:
    """5 x 5 on 4 x 4: most taps meet the padding."""
    op = Conv2d(np.ones((2, 1, 5, 5)), padding=(2, 2))
    return build((IMAGE,), [("c", op, ("x",)), ("n1", neuron(3), ("c",))], ("n1",), 3)


@holds
def names_of_other_operations() -> Graph:
    """Nodes called relu, mul and aap."""
    nodes = [
        ("mul", linear(1), ("x",)),
        ("relu", neuron(3), ("mul",)),
        ("aap", linear(1), ("relu",)),
    ]
    return vector([*nodes, ("softmax", integrator(), ("aap",))])


@holds
def declared_encoder_that_ends_in_spikes() -> Graph:
    """Real weights, real inputs, a real threshold: on the host, by name, up to a neuron."""
    graph = vector(
        [
            ("encoder", linear(0.37, bias=0.1), ("x",)),
            ("fires", Neuron(np.asarray(0.61)), ("encoder",)),
            ("layer", linear(1), ("fires",)),
            ("n1", neuron(3), ("layer",)),
        ],
        x=Edge("x", (4,), ANALOG),
    )
    nodes = {n.name: replace(n, role="host") for n in graph.nodes[:2]}
    return edited(graph, **nodes)


@holds
def loop_with_a_delay() -> Graph:
    """A loop of one step: as long as the synapse that closes it takes on Lava."""
    nodes = [
        ("late", Delay(1), ("n1",)),
        ("in", linear(1), ("x",)),
        ("back", linear(1), ("late",)),
        ("sum", Add(), ("in", "back")),
        ("n1", neuron(3), ("sum",)),
    ]
    declared = Edge("n1", (4,), SPIKE)
    graph = build((VECTOR, declared), nodes[:-1], ("sum",), 3)
    last = build((VECTOR, *(n.output for n in graph.nodes)), nodes[-1:], ("n1",), 3)
    return replace(graph, inputs=(VECTOR,), outputs=("n1",)).rebuilt((*graph.nodes, *last.nodes))
