"""The rules of `fold_scales` for delays: what waits is spikes, which chips can hold, no currents.

``Delay(W x)`` is ``W Delay(x)`` to the last bit where every value of a layer waits equally long:
zeros come out first either way. NIR files delay what a layer delivers where a loop is closed behind
a recurrent layer, or where a neuron takes the synaptic current of the step before.

Cases:
1. A layer without bias, then one delay for all places: the delay, then the layer.
2. A one-to-one synapse, then a delay: likewise, also with a delay of its own for each place.
3. A sum of layers, then a delay: each of them is delayed by itself.
What fits no case stays; `why_delayed` says why, and quantization refuses it.
"""

from __future__ import annotations

import numpy as np

from purespike.compiler.ir import Graph, Node
from purespike.compiler.ops import SYNAPSES, Add, Conv2d, Delay, Linear, Scale
from purespike.compiler.passes.rewrite import Match, draft, is_current, only_reader, source_of


def delay_before_layer(graph: Graph, node: Node) -> Match | None:  # cases 1 and 2
    """A delay behind a layer goes in front of it."""
    layer = source_of(graph, node)
    if not isinstance(node.op, Delay) or layer is None or not isinstance(layer.op, SYNAPSES):
        return None
    by_place = not isinstance(node.op.steps, int)
    if _biased(layer) or (by_place and not isinstance(layer.op, Scale)):
        return None
    # The delay stands before all that it reads in a loop, and the layer comes right behind it.
    spikes = draft(node, f"{node.name}.spikes", node.op, layer.inputs)
    late = draft(layer, node.name, layer.op, (spikes.name,))
    return {layer.name: [], node.name: [spikes, late]}, {}


def delay_before_sum(graph: Graph, node: Node) -> Match | None:  # case 3
    """A delay behind a sum of layers goes in front of the sum."""
    add = source_of(graph, node)
    if not isinstance(node.op, Delay) or add is None or not isinstance(add.op, Add):
        return None
    once = len(set(add.inputs)) == len(add.inputs)
    if not once or not all(is_current(graph, i) and only_reader(graph, i) for i in add.inputs):
        return None
    parts = [draft(node, f"{node.name}.in{k}", node.op, (i,)) for k, i in enumerate(add.inputs)]
    total = draft(add, node.name, add.op, tuple(p.name for p in parts))
    return {add.name: [], node.name: [*parts, total]}, {}


def why_delayed(graph: Graph, node: Node) -> tuple[str, str]:
    """Why a delay stays between a layer and a neuron, and what to do."""
    assert isinstance(node.op, Delay)
    source = graph.producer(node.inputs[0])
    if source is None or not is_current(graph, source.name):
        return (
            "what waits reaches the neuron without a synapse",
            "put a layer or a Scale between the delay and the neuron",
        )
    if only_reader(graph, source.name) is None:
        return (
            "the layer in front of it is read by something else too",
            "give the delay a layer of its own",
        )
    if _biased(source):
        return (
            "a bias waits with the current: it would have to start later than the network",
            "put the delay in front of the layer, where spikes wait, or leave the bias out",
        )
    if isinstance(source.op, Conv2d | Linear):
        return (
            "each place waits its own time for a current, where a chip holds spikes",
            "put the delay in front of the layer, or give each time a layer of its own",
        )
    return (
        "it delays a sum of more than layers that nothing else reads",
        "delay each part by itself, in front of its layer",
    )


def _biased(layer: Node) -> bool:
    bias = layer.op.bias if isinstance(layer.op, Conv2d | Linear) else None
    return bias is not None and bool(np.any(bias))
