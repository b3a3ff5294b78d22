"""Choose each layer's scale by what its neurons do: the one that keeps the most spikes.

The scale that just holds the largest weight is safe and coarse: one outlier (batch norm makes them)
leaves few levels for all other weights and for the threshold. A larger scale clips the outlier and
resolves the rest. Layer by layer, each candidate is tried on calibration samples, with what the
already quantized layers in front really deliver, against the spikes of the real-valued network.

Cases:
1. A layer of neurons: the share of equal spikes decides.
2. An integrator (the readout): the mean squared error of its membrane at the last step decides.
3. A group that is whole already (gates), or that holds several neurons: its scale stays.
4. A recurrent graph: all scales stay, since no layer runs alone there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.domain import Array
from purespike.compiler.interpret import run
from purespike.compiler.ir import Graph, Node, Op
from purespike.compiler.ops import Add, Conv2d, Flatten, Linear, Neuron
from purespike.compiler.passes.quantize import (
    Grid,
    choose_scales,
    quantized,
    readout_limit,
    scale_groups,
)

# How far beyond the safe scale to look; at 4 only the smaller quarter of the weights is unclipped.
_FACTORS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 3.0, 4.0)


def calibrate(graph: Graph, x: NDArray[Any], grid: Grid | None = None) -> dict[str, float]:
    """The scale of each synapse and neuron of the chip: integer = scale * real number.

    Args:
        graph: What `quantize` will get: synapses, sums, neurons in real numbers.
        x: Calibration input (T, B, *shape), from the training data.
        grid: The integers of the chip.
    """
    grid = grid or Grid()
    scales = choose_scales(graph, grid)
    if any(n.op.delays for n in graph.nodes):
        return scales  # case 4
    real = run(graph, x).values
    leader = scale_groups(graph)
    members: dict[str, list[str]] = {}
    for name, head in leader.items():
        members.setdefault(head, []).append(name)
    # What every edge carries in the network quantized so far: (T, B, *shape).
    carried: dict[str, Array] = {e.name: real[e.name] for e in graph.inputs}
    for node in graph.nodes:
        if node.role == "host":
            carried[node.name] = real[node.name]
        elif isinstance(node.op, Flatten):
            source = carried[node.inputs[0]]
            carried[node.name] = source.reshape(*source.shape[:2], -1)
        elif isinstance(node.op, Neuron):
            own = members[leader[node.name]]
            free = [_op(graph, n) for n in own]
            alone = sum(isinstance(op, Neuron) for op in free) == 1 and not _whole(free)
            best, score = scales[node.name], -math.inf
            for scale in _candidates(graph, node, node.op, best, grid) if alone else (best,):
                y = _layer(graph, node, carried, scale, grid)
                found = _score(node.op, y, real[node.name], scale)
                if found > score:
                    best, score, carried[node.name] = scale, found, y
            scales |= dict.fromkeys(own, best)
    return scales


def _whole(ops: list[Op | None]) -> bool:  # case 3
    arrays = [a for op in ops if op is not None for a in op.arrays().values()]
    return all(bool((a == np.rint(a)).all()) for a in arrays)


def _op(graph: Graph, name: str) -> Op | None:
    node = graph.producer(name)
    return node.op if node else None


def _candidates(graph: Graph, node: Node, op: Neuron, safe: float, grid: Grid) -> Iterator[float]:
    """The safe scale and larger ones that keep biases and thresholds in range."""
    yield safe
    bias, threshold = _peaks(graph, node.inputs[0]), 0.0
    levels = {float(t) for t in op.threshold.flat} if op.fires else set()
    if op.fires:
        threshold = max(float(np.abs(op.threshold).max()), float(np.abs(op.amount).max()))
    most = readout_limit(graph, node, grid)
    tried = {safe}
    for factor in _FACTORS[1:]:
        scale = safe * factor
        if len(levels) == 1:  # one threshold stays whole (quantize, case 3)
            (level,) = levels
            scale = max(1.0, float(np.round(scale * level))) / level
        fits = (
            bias * scale <= grid.bias_limit - 1
            and threshold * scale <= grid.threshold_limit
            and scale <= most
        )
        if fits and scale not in tried:
            tried.add(scale)
            yield scale


def _peaks(graph: Graph, name: str) -> float:
    """The largest sum of biases that can meet at an edge."""
    op, node = _op(graph, name), graph.producer(name)
    if node is not None and isinstance(op, Add):
        return sum(_peaks(graph, i) for i in node.inputs)
    bias = op.bias if isinstance(op, Conv2d | Linear) else None
    return 0.0 if bias is None else float(np.abs(bias).max())


def _layer(graph: Graph, node: Node, carried: dict[str, Array], scale: float, grid: Grid) -> Array:
    """What the neurons do at this scale (T, B, *shape)."""
    current = _current(graph, node.inputs[0], carried, scale, grid)
    neuron = quantized(node.op, scale, grid)
    state = neuron.start(current.shape[1], node.output.shape)
    steps = []
    for now in current:
        state, y = neuron.step(state, now)
        steps.append(y)
    return np.stack(steps)


def _current(graph: Graph, name: str, carried: dict[str, Array], scale: float, grid: Grid) -> Array:
    node = graph.producer(name)
    assert node is not None
    if isinstance(node.op, Add):
        parts = [_current(graph, i, carried, scale, grid) for i in node.inputs]
        return np.asarray(sum(parts[1:], start=parts[0]))
    x = carried[node.inputs[0]]
    _, y = quantized(node.op, scale, grid).step(None, x.reshape(-1, *x.shape[2:]))
    whole: Array = y.reshape(*x.shape[:2], *y.shape[1:])
    return whole


def _score(op: Neuron, y: Array, real: Array, scale: float) -> float:
    if op.fires:
        return float((y == real).mean())  # case 1
    return -float(np.square(y[-1] / scale - real[-1]).mean())  # case 2
