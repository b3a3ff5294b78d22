"""The rules of `fold_scales` for delays: what waits is spikes, which chips can hold, no currents.

``Delay(W x)`` is ``W Delay(x)`` to the last bit where every value of a layer waits equally long:
zeros come out first either way. NIR files delay what a layer delivers where a loop is closed behind
a recurrent layer, or where a neuron takes the synaptic current of the step before.

Cases:
1. A layer without bias, then one delay for all places: the delay, then the layer.
2. A one-to-one synapse, then a delay: likewise, also with a delay of its own for each place.
3. A sum of layers, then a delay: each of them is delayed by itself.
4. A layer with a bias: as 1, and neurons that fire at every step, as late, deliver the bias.
What fits no case stays; `why_delayed` says why, and quantization refuses it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import SYNAPSES, Add, Conv2d, Delay, Linear, Neuron, Scale
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import (
    Match,
    draft,
    is_current,
    only_reader,
    rewritten,
    source_of,
)

_ALWAYS = ".bias.always"
MOST_PARTS = 64  # of a bias: one that is larger by more lowers the scale of the weights


def delay_before_layer(graph: Graph, node: Node) -> Match | None:  # cases 1, 2 and 4
    """A delay behind a layer goes in front of it."""
    layer = graph.producer(node.inputs[0])
    if not isinstance(node.op, Delay) or layer is None or not isinstance(layer.op, SYNAPSES):
        return None
    if not isinstance(node.op.steps, int) and not isinstance(layer.op, Scale):
        return None
    rest: dict[str, list[Node]] = {layer.name: []} if source_of(graph, node) is layer else {}
    # The delay stands before all that it reads in a loop, and the layer comes right behind it.
    spikes = draft(node, f"{node.name}.spikes", node.op, layer.inputs)
    if not _biased(layer):
        late = draft(layer, node.name, layer.op, (spikes.name,))
        return rest | {node.name: [spikes, late]}, {}
    assert isinstance(layer.op, Conv2d | Linear)  # case 4
    bare = reweighted(layer.op, lambda w: w, None)
    weights = draft(layer, f"{node.name}.weights", bare, (spikes.name,))
    bias = _late_bias(node, layer, layer.op, spikes)
    total = draft(node, node.name, Add(), (weights.name, bias[-1].name))
    return rest | {node.name: [spikes, weights, *bias, total]}, {}


def spikes_wait(graph: Graph, named: Collection[str]) -> Graph:
    """The graph with its delays in front of layers, as far as they go, but for those ``named``."""

    def rule(graph: Graph, node: Node) -> Match | None:
        if node.name in named:
            return None
        return delay_before_layer(graph, node) or delay_before_sum(graph, node)

    return rewritten(graph, (rule,))


def delay_notes(before: Graph, after: Graph) -> tuple[str, ...]:
    """Which biases begin late, and what that takes."""
    notes = []
    for node in before.nodes:
        always = after.producer(f"{node.name}{_ALWAYS}")
        layer = before.producer(node.inputs[0])
        if always is None or layer is None or not isinstance(node.op, Delay):
            continue
        count, steps = int(np.prod(always.output.shape)), node.op.longest
        notes.append(
            f"the bias of {before.origin(layer.name)} begins {steps} step{'s' * (steps > 1)} late: "
            f"{count} neuron{'s' * (count > 1)} that fire{'s' * (count == 1)} at every step "
            f"deliver{'s' * (count == 1)} it"
        )
    return tuple(notes)


def _late_bias(node: Node, layer: Node, op: Conv2d | Linear, spikes: Node) -> list[Node]:
    """What delivers the bias of a layer as late as ``spikes``; the last node is its current."""
    assert op.bias is not None
    weight = op.kept if isinstance(op, Linear) else op.weight
    parts = _parts(op.bias, float(np.abs(weight).max()))
    count, name = parts.shape[1], f"{node.name}.bias"
    if isinstance(op, Conv2d):
        # One neuron a place, so that a 1x1 kernel reaches every place, at the borders too.
        silent: Op = replace(
            op,
            weight=np.zeros((count, weight.shape[1] * op.groups, *weight.shape[2:])),
            bias=np.ones(count),
            groups=1,
        )
        carry: Op = Conv2d(parts[:, :, None, None])
    else:
        silent, carry = Linear(np.zeros((count, op.shape[1])), np.ones(count)), Linear(parts)
    one = draft(layer, f"{name}.one", silent, (spikes.name,))
    always = draft(layer, f"{node.name}{_ALWAYS}", Neuron(np.asarray(1.0), decay=0.0), (one.name,))
    late = draft(node, f"{name}.late", node.op, (always.name,))
    return [one, always, late, draft(layer, name, carry, (late.name,))]


def _parts(bias: Array, largest: float) -> Array:
    """(outputs, neurons): each bias in as few equal parts as are not larger than ``largest``."""
    needed = np.ceil(np.abs(bias) / largest) if largest else np.ones(bias.shape)
    needed = np.clip(needed, 1, MOST_PARTS)
    shares = np.arange(int(needed.max())) < needed[:, None]
    return np.where(shares, (bias / needed)[:, None], 0.0)


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
