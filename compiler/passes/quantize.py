"""Integers for everything on the chip: weights, biases, thresholds, decay.

A neuron compares a sum of currents with a threshold, so all synapses that reach it, their biases,
its threshold and its reset amount share one scale; nothing else changes. Synapses that serve two
neurons tie those neurons' scales together. Where the chip holds a threshold for each neuron, each
channel may have a scale of its own (Jacob et al. 2018; Krishnamoorthi 2018, section 3): the chip
compares within a channel only.

Cases:
1. Everything of a group is whole already and in range (gates): scale 1, nothing moves.
2. Else the scale maps the largest weight to ``2**(bits - 1) - 1``. A bias or threshold that would
   leave its range lowers it, and so does an integrator that could reach the highest threshold, at
   which it would fire.
3. A scale is lowered a little further so that a layer's one threshold is whole: then an identity
   synapse of exactly the threshold (SN residual) still fires its neuron alone. Weights round to
   the nearest; thresholds that differ by neuron round up, since sums are whole numbers and the
   first sum to reach the real threshold is the first to reach the rounded one.
4. A leaky membrane moves on the chip's finer grid and the chip fires strictly above a whole
   threshold k, that is from ``k + 2**-fraction_bits`` on: the nearest such value is taken.
5. The decays of membrane and current round to the chip's grid; a current cannot be kept for ever.
6. A scale for each channel (``Grid.per_channel``) in groups of one neuron that fires and starts at
   rest. Integrators keep one: their channels are compared with each other. So do gates (case 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from purespike.compiler.domain import Array
from purespike.compiler.ir import Graph, Op
from purespike.compiler.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.ops.synapse import reweighted
from purespike.compiler.passes.scales import Grid as Grid
from purespike.compiler.passes.scales import QuantizeError as QuantizeError
from purespike.compiler.passes.scales import Scaling as Scaling
from purespike.compiler.passes.scales import choose_scales as choose_scales
from purespike.compiler.passes.scales import require_integer_form


def quantize(
    graph: Graph,
    grid: Grid | None = None,
    scales: Mapping[str, Scaling] | None = None,
    chosen: Mapping[str, Op] | None = None,
) -> Graph:
    """The graph in integers: float64 arrays that hold whole numbers.

    Args:
        graph: What the passes before left.
        grid: The integers of the chip.
        scales: By synapse and neuron, as `calibrate` chooses them; None takes `choose_scales`.
        chosen: Integer operations whose rounding `choose_rounding` chose; others round as above.

    Raises:
        QuantizeError: If a layer feeds no neuron, or something else than a synapse, a sum or a
            neuron is left on the chip.
    """
    grid = grid or Grid()
    scales = choose_scales(graph, grid) if scales is None else scales
    require_integer_form(graph)
    chosen = chosen or {}
    nodes = []
    for node in graph.nodes:
        if node.role == "host" or isinstance(node.op, Add | Flatten | Delay):
            nodes.append(node)
        else:
            op = (
                chosen[node.name]
                if node.name in chosen
                else quantized(node.op, scales[node.name], grid)
            )
            nodes.append(replace(node, op=op))
    return graph.rebuilt(nodes)


def quantized(op: Op, scale: Scaling, grid: Grid) -> Op:
    """A synapse or neuron in integers; a weight beyond the grid's range is clipped."""
    return _neuron(op, scale, grid) if isinstance(op, Neuron) else _synapse(op, scale, grid)


def _synapse(op: Op, scale: Scaling, grid: Grid) -> Op:
    limit = grid.weight_limit
    if isinstance(op, Scale):
        return Scale(np.clip(np.rint(op.factor * scale), -limit, limit))
    assert isinstance(op, Conv2d | Linear)

    def whole(weight: Array) -> Array:
        product = weight * by_row(scale, weight.ndim)
        return product.clip(-limit, limit, out=np.rint(product, out=product))

    bias = None if op.bias is None else np.rint(op.bias * by_row(scale, 1))
    return reweighted(op, whole, bias)


def by_row(scale: Scaling, ndim: int) -> Scaling:
    """The scale, shaped to broadcast over an array of ``ndim`` axes whose first is the channel."""
    return scale.reshape(-1, *(1,) * (ndim - 1)) if isinstance(scale, np.ndarray) else scale


def _neuron(op: Neuron, scale: Scaling, grid: Grid) -> Neuron:
    steps = 2**grid.fixed.decay_bits
    decay = round(op.decay * steps) / steps  # case 5
    op = replace(op, current_decay=min(round(op.current_decay * steps), steps - 1) / steps)
    leaks = decay not in (0.0, 1.0) or op.current_decay
    initial = 0.0 if isinstance(scale, np.ndarray) else float(np.rint(op.initial * scale))
    if not op.fires:
        return replace(op, decay=decay, initial=initial, fixed=grid.fixed)
    real = op.threshold * scale
    if not leaks:
        threshold = np.ceil(real - 1e-9 * np.maximum(1.0, np.abs(real)))  # case 3
    else:
        unit = 2.0**-grid.fixed.fraction_bits
        threshold = np.maximum(np.rint(real - unit), 0.0) + unit  # case 4
    # What a reset subtracts is whole; where the threshold is too, equal ones stay equal.
    whole = not leaks and np.array_equal(op.amount, op.threshold)
    amount = threshold if whole else np.rint(op.amount * scale)
    return replace(
        op, threshold=threshold, amount=amount, decay=decay, initial=initial, fixed=grid.fixed
    )
