"""Choose each layer's scale: by its weights alone, or by what its neurons do.

The scale that just holds the largest weight is safe and coarse: one outlier (batch norm makes them)
leaves few levels for all other weights and for the threshold. A larger scale clips the outlier and
resolves the rest.

Methods:
- ``max``: holds the largest weight.
- ``percentile``: holds 99.9 % of the weights of each synapse (Jacob et al. 2018 and TensorRT do so
  for activations); a single weight, such as an identity's, is never clipped.
- ``mse``: the smallest squared error of the weights, clipping included (Banner et al. 2019).
- ``agreement``: keeps the most spikes. Layer by layer, each candidate is tried on calibration
  samples, with what the already quantized layers in front really deliver, against the spikes of
  the real-valued network.

Cases:
1. A layer of neurons: the share of equal spikes decides, for each channel where each has a scale;
   of several layers that read one and the same current (the levels of a count), that of all.
2. An integrator (the readout): the mean squared error of its membrane at the last step decides.
3. A group that is whole already (gates), or whose neurons read several currents (membrane
   shortcuts): its scale stays.
4. A recurrent graph: by agreement all scales stay, since no layer runs alone there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Method as Method
from purespike.compiler.choices import require_choice
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Execute, lean
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import beside, group_members, weights_of
from purespike.compiler.passes.quantize.quantize import fit_scales, quantized
from purespike.compiler.passes.quantize.replay_layers import Fire, Layers, fire
from purespike.compiler.passes.quantize.scales import (
    Scaling,
    channels_of,
    choose_scales,
    exact_scale,
    legal_scale,
    peaks_of,
    rows_of,
)

PERCENTILE = 99.9
# How far beyond the safe scale to look; at 4 only the smaller quarter of the weights is unclipped.
_FACTORS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 3.0, 4.0)
_FINE = tuple(2 ** (k / 8) for k in range(33))  # to 16, where a try costs little


def calibrate(
    graph: Graph,
    x: NDArray[Any] | None = None,
    grid: Grid | None = None,
    method: Method = "agreement",
    execute: Execute = lean,
    fire: Fire = fire,
) -> dict[str, Scaling]:
    """The scale of each synapse and neuron of the chip: integer = scale * real number.

    Args:
        graph: What `quantize` will get: synapses, sums, neurons in real numbers.
        x: Calibration input (T, B, *shape), from the training data; only ``agreement`` needs it.
        grid: The integers of the chip.
        method: How to choose.
        execute: Runs the network in real numbers.
        fire: Runs neurons on a current.

    Raises:
        UsageError: If the method is unknown, or needs data and has none.
    """
    grid = grid or Grid()
    if grid.fit_membranes:
        free = calibrate(graph, x, replace(grid, fit_membranes=False), method, execute, fire)
        return fit_scales(graph, free, grid)
    require_choice("calibration", Method, method)
    if method == "max":
        return choose_scales(graph, grid)
    if method == "agreement":
        if x is None:
            raise UsageError(
                "calibration by spike agreement needs data", remedy="give it training inputs"
            )
        return _by_agreement(graph, grid, Layers.start(graph, x, execute, fire))
    choose = _percentile if method == "percentile" else _least_error
    chosen: dict[str, Scaling] = {}
    for nodes in group_members(graph).values():
        chosen |= dict.fromkeys((n.name for n in nodes), choose(graph, nodes, grid))
    return chosen


def _percentile(graph: Graph, nodes: list[Node], grid: Grid) -> Scaling:
    if (exact := exact_scale(graph, nodes, grid)) is not None:
        return exact
    shape = channels_of(nodes, grid)
    synapses = [(n, a) for n in nodes for a in weights_of(n.op)]
    if shape is None:
        tops = [_held(a) for _, a in synapses]
        held = np.asarray(max(tops, default=0.0))
    else:
        rows = [np.abs(rows_of(n, a)) for n, a in synapses]
        tops = [np.percentile(r, PERCENTILE, axis=1, method="higher") for r in rows]
        held = np.max(tops, axis=0).reshape(shape)
    wanted = np.divide(grid.weight_limit, held, out=np.full(held.shape, np.inf), where=held > 0)
    return legal_scale(graph, nodes, wanted, grid)


def _held(weight: Array) -> float:
    """What `np.percentile` with the method ``higher`` gives of the absolute weights, in place."""
    sizes = np.abs(weight).reshape(-1)
    rank = int(np.ceil((sizes.size - 1) * np.true_divide(PERCENTILE, 100)))
    sizes.partition(rank)
    return float(sizes[rank])


def _least_error(graph: Graph, nodes: list[Node], grid: Grid) -> Scaling:
    def error(scale: Scaling) -> Array:
        shape = channels_of(nodes, grid)
        total = np.zeros(() if shape is None else shape[0])
        for node in nodes:
            for weight in weights_of(node.op):
                rows = rows_of(node, weight)
                unit = np.broadcast_to(np.reshape(scale, (-1, 1)), (len(rows), 1))
                limit = grid.weight_limit
                whole = np.clip(np.rint(rows * unit), -limit, limit)
                missed = np.square(rows - whole / unit).sum(axis=1)
                total = total + (missed.sum() if shape is None else missed)
        return total

    return _best(graph, nodes, grid, error, _FINE)


def _best(
    graph: Graph,
    nodes: list[Node],
    grid: Grid,
    cost: Callable[[Scaling], Array],
    factors: tuple[float, ...] = _FACTORS,
) -> Scaling:
    """The candidate of the least cost, the safe scale where nothing is better; by channel."""
    if (exact := exact_scale(graph, nodes, grid)) is not None:
        return exact
    peaks = peaks_of(nodes, grid)
    safe = np.divide(grid.weight_limit, peaks, out=np.full(peaks.shape, np.inf), where=peaks > 0)
    best, least = legal_scale(graph, nodes, safe, grid), None
    tried: set[bytes] = set()
    for factor in factors:
        scale = legal_scale(graph, nodes, safe * factor, grid)
        key = np.asarray(scale).tobytes()
        if key in tried:
            continue
        tried.add(key)
        found = cost(scale)
        if least is None:
            best, least = scale, found
        elif isinstance(scale, float):
            best, least = (scale, found) if found < least else (best, least)
        else:
            better = found < least
            best = np.where(better.reshape(scale.shape), scale, best)
            least = np.where(better, found, least)
    return best


def _by_agreement(graph: Graph, grid: Grid, layers: Layers | None) -> dict[str, Scaling]:
    scales = choose_scales(graph, grid)
    if layers is None:
        return scales  # case 4
    members = {n.name: nodes for nodes in group_members(graph).values() for n in nodes}
    for node in layers.neurons():
        nodes = members[node.name]
        fired = beside(nodes)
        if fired and fired[0].name == node.name:  # else case 3, or decided already

            def cost(scale: Scaling, fired: list[Node] = fired, nodes: list[Node] = nodes) -> Array:
                ops = {n.name: quantized(n.op, scale, grid) for n in nodes}
                current = layers.current(fired[0].inputs[0], ops)
                total = np.zeros(())
                for n in fired:
                    y, real = layers.fire(ops[n.name], current, None), layers.real[n.name]
                    if not getattr(n.op, "fires", False):  # case 2
                        return np.asarray(np.square(y[-1] / scale - real[-1]).mean())
                    differ = np.moveaxis(y != real, 2, 0).reshape(n.output.shape[0], -1)
                    by = 1 if isinstance(scale, np.ndarray) else None
                    total = total + differ.mean(axis=by)  # case 1
                return np.asarray(total / len(fired))

            scales |= dict.fromkeys((n.name for n in nodes), _best(graph, nodes, grid, cost))
        ops = {n.name: quantized(n.op, scales[n.name], grid) for n in nodes}
        layers.settle(node, ops)
    return scales
