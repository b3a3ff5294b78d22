"""Fold averages and constant factors into weights and thresholds; max pooling becomes OR.

What is left are synapses on spikes, sums, and neurons.

Cases:
1. A constant factor after a convolution or linear layer: into its weights and bias.
2. A positive constant factor in front of a neuron (1 / tau, a resistance): into threshold, reset
   amount and initial membrane, since dividing all of them leaves every comparison as it was.
3. A constant factor after a sum of layers and spikes: into each of them.
4. A constant factor on spikes in front of layers: into their input columns. Two factors: one.
5. Average pooling (global, strided, padded), then flatten, then a linear layer: one linear layer.
6. Average pooling, then a convolution: one convolution, the composition of both kernels, where
   zero padding means the same to both: no window of it that is read lies on the map. Rows that
   the windows leave out do no harm where the convolution does not come as far.
7. A convolution, then average pooling without padding: one convolution; a sum: each part.
8. Average pooling of spikes that feeds neurons only: it is a synapse of constant weight.
9. The mean over time before or after a layer: weights / T into an integrator that never fires,
   whose last value is the mean's. The mean of spikes, or of a sum, as the output: 1 / T.
10. Max pooling of spikes: one-to-many synapses of weight 1 and a memoryless neuron (OR).
11. A convolution to a single place, then flatten: flatten, then a linear layer.
12. Sum pooling (a depthwise convolution of equal weights, without bias): as 5 to 7.
13. A delay behind a layer or a sum of layers: in front of it. See `move_delays`. Two linear layers
    in a row become one first: what a delay makes of the bias would stand between them.
14. A 1x1 convolution of a current: into each layer of the current's sum. See `on_currents`.
15. Other layers of currents: of the spikes behind them. Max pooling of currents in front of neurons
    without memory: behind them. See `composing`.
Where something else reads the current of case 7, 14 or 15, the layers stay for it, and the pool or
convolution gets copies: a chip has no current that two layers of neurons could read.
Whatever fits no case stays; `unfolded` says why, and the compliance check names it. A reset to
another value than zero has no place in the graph: capture and the NIR reader refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import (
    Match,
    Rule,
    absorb,
    counts,
    draft,
    is_current,
    one_to_one,
    only_reader,
    per_channel,
    rewritten,
    scaled,
    source_of,
)
from purespike.compiler.passes.fold_constants import in_a_row
from purespike.compiler.passes.fold_scales import composing, move_delays, on_currents, pooling


def fold_scales(graph: Graph, *, compose: bool = True) -> Graph:
    """The graph with every case above applied until none applies.

    Args:
        graph: The graph.
        compose: Whether two layers in a row become one (cases 14 and 15).
    """
    rules: tuple[Rule, ...] = (
        _scale_after,
        _scale_before,
        _scale_of_sum,
        _scale_of_spikes,
        _mean,
        *((on_currents.pointwise_on_current,) if compose else ()),
        pooling.pool_into_linear,
        pooling.pool_into_conv,
        pooling.conv_into_pool,
        pooling.sum_into_pool,
        pooling.pool_into_neurons,
        pooling.max_pool,
        pooling.conv_into_flatten,
        _in_a_row_before_delay,
        move_delays.delay_before_layer,
        move_delays.delay_before_sum,
        composing.maximum_of_neurons,
        composing.layer_of_sum,
        *((composing.layer_of_layer,) if compose else ()),
    )
    return rewritten(graph, rules)


def unfolded(before: Graph, after: Graph) -> tuple[str, ...]:
    """What stayed and why, by module path; and which biases begin late."""
    left = (
        f"left {type(node.op).__name__} {after.origin(node.name)}: {reason}"
        for node in after.nodes
        for reason in _why(after, node)
    )
    return (*left, *move_delays.delay_notes(before, after))


def _why(graph: Graph, node: Node) -> Iterator[str]:
    if isinstance(node.op, AvgPool2d | MaxPool2d) and counts(graph, node.inputs[0]):
        return  # `unroll_levels` makes spikes of what it pools
    if isinstance(node.op, AvgPool2d | MaxPool2d):
        yield pooling.why_pooled(graph, node)
    elif isinstance(node.op, TimeMean):
        readers = [type(r.op).__name__ for r in graph.consumers(node.name)]
        if readers:
            yield f"{', '.join(readers)} reads the mean over time: end in it, or in a linear layer"
        else:
            yield "it averages the layer or sum of something that is read elsewhere too"
    elif isinstance(node.op, Scale) and is_current(graph, node.inputs[0]):
        if per_channel(node.op.factor, node.output.shape) is None:
            yield "its factor varies within a channel: use one per channel"
        else:
            yield "what it multiplies is read by something else too: give each reader its own layer"


def _scale_after(graph: Graph, node: Node) -> Match | None:  # case 1
    if not isinstance(node.op, Scale):
        return None
    layer = source_of(graph, node)
    if layer is None or not isinstance(layer.op, Conv2d | Linear):
        return None
    channels = per_channel(node.op.factor, layer.output.shape)
    if channels is None:
        return None
    merged = replace(layer, op=scaled(layer.op, channels))
    return {layer.name: [merged], node.name: []}, {node.name: layer.name}


def _scale_before(graph: Graph, node: Node) -> Match | None:  # case 2
    scale = source_of(graph, node) if isinstance(node.op, Neuron) else None
    if scale is None or not _divides(graph, scale, node):
        return None
    assert isinstance(node.op, Neuron) and isinstance(scale.op, Scale)
    factor = float(scale.op.factor)
    op = replace(
        node.op,
        threshold=node.op.threshold / factor,
        amount=node.op.amount / factor,
        initial=node.op.initial / factor,
    )
    return {scale.name: [], node.name: [replace(node, op=op, inputs=scale.inputs)]}, {}


def _divides(graph: Graph, scale: Node, reader: Node | None) -> bool:
    """Whether the threshold of the neuron that reads a factor can take it."""
    if not isinstance(scale.op, Scale) or scale.op.factor.ndim or float(scale.op.factor) <= 0:
        return False
    fires = reader is not None and isinstance(reader.op, Neuron) and reader.op.fires
    # On spikes it is a synapse already.
    return fires and not graph.edge(scale.inputs[0]).domain <= SPIKE


def _scale_of_sum(graph: Graph, node: Node) -> Match | None:  # case 3
    add = source_of(graph, node)
    if not isinstance(node.op, Scale) or add is None or not isinstance(add.op, Add):
        return None
    channels = per_channel(node.op.factor, node.output.shape)
    if channels is None or _divides(graph, node, only_reader(graph, node.name)):
        return None
    swaps: dict[str, list[Node]] = {node.name: []}
    synapses: list[Node] = []
    inputs = []
    for k, name in enumerate(add.inputs):
        part = graph.producer(name)
        if part is not None and isinstance(part.op, Conv2d | Linear):
            if only_reader(graph, name) is not add:
                return None
            swaps[name] = [replace(part, op=scaled(part.op, channels))]
        elif graph.edge(name).domain <= SPIKE and not is_current(graph, name):
            weight = one_to_one(channels, node.output.shape)
            synapses.append(draft(node, f"{node.name}.in{k}", weight, (name,)))
            name = synapses[-1].name
        else:
            return None
        inputs.append(name)
    swaps[add.name] = [*synapses, replace(add, inputs=tuple(inputs))]
    return swaps, {node.name: add.name}


def _scale_of_spikes(graph: Graph, node: Node) -> Match | None:  # case 4
    if not isinstance(node.op, Scale):
        return None
    inner = source_of(graph, node)
    if inner is not None and isinstance(inner.op, Scale):
        both = replace(node, op=Scale(node.op.factor * inner.op.factor), inputs=inner.inputs)
        return {inner.name: [], node.name: [both]}, {}
    reader = only_reader(graph, node.name)
    channels = per_channel(node.op.factor, node.output.shape)
    if reader is not None and isinstance(reader.op, AvgPool2d) and channels is not None:
        first = draft(reader, f"{reader.name}.first", reader.op, node.inputs)
        weight = one_to_one(channels, node.output.shape)
        return {
            node.name: [],
            reader.name: [first, draft(node, reader.name, weight, (first.name,))],
        }, {}
    found = absorb(graph, node, node.op.factor, np.zeros(()))
    return None if isinstance(found, str) else found


def _mean(graph: Graph, node: Node) -> Match | None:  # case 9
    if not isinstance(node.op, TimeMean):
        return None
    steps = node.op.steps
    share = np.asarray(1 / steps)
    reader, layer = only_reader(graph, node.name), source_of(graph, node)
    if reader is not None and isinstance(reader.op, Linear):
        current = draft(reader, f"{reader.name}.current", _divided(reader.op, steps), node.inputs)
        return {node.name: [], reader.name: [current, _integrator(reader, current.name)]}, {}
    if layer is not None and isinstance(layer.op, Linear | Conv2d):
        current = replace(layer, op=_divided(layer.op, steps))
        return {layer.name: [current], node.name: [_integrator(node, current.name)]}, {}
    if reader is not None and isinstance(reader.op, Flatten | AvgPool2d | Scale):
        # The mean commutes with what follows: let the reader go first.
        first = draft(reader, f"{reader.name}.step", reader.op, node.inputs)
        mean = draft(reader, reader.name, node.op, (first.name,))
        return {node.name: [], reader.name: [first, mean]}, {}
    spikes = graph.edge(node.inputs[0]).domain <= SPIKE or counts(graph, node.inputs[0])
    spikes = spikes and not is_current(graph, node.inputs[0])
    summed = layer is not None and isinstance(layer.op, Add)
    if graph.consumers(node.name) or not (spikes or summed):
        return None
    current = draft(node, f"{node.name}.current", Scale(share), node.inputs)
    return {node.name: [current, _integrator(node, current.name)]}, {}


def _divided(op: Linear | Conv2d, steps: int) -> Linear | Conv2d:
    return reweighted(op, lambda w: w / steps, None if op.bias is None else op.bias / steps)


def _in_a_row_before_delay(graph: Graph, node: Node) -> Match | None:  # case 13
    layer = graph.producer(node.inputs[0]) if isinstance(node.op, Delay) else None
    return None if layer is None else in_a_row(graph, layer)


def _integrator(node: Node, source: str) -> Node:
    return replace(node, op=Neuron(np.asarray(np.inf), reset="none"), inputs=(source,))
