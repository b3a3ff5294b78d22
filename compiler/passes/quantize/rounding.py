"""Round biases and thresholds together, so that the fewest decisions flip.

Rounding a weight moves a current by up to half a unit a synapse. What remains on average, the same
at every step, a bias can take back (bias correction: Nagel et al. 2019, section 4.2); what remains
of a bias adds up over the steps since the last reset, and the threshold can take some of it back.
So neither is rounded by itself: for each channel the bias, and for each layer the threshold, are
the pair at which neurons make the decisions of the real-valued network most often, on calibration
samples, behind layers that are rounded already.

Cases:
1. A layer of neurons with a bias: biases from three units below to three above the corrected one,
   and the nearest one; thresholds one unit lower, nearest, one higher. What is nearest to plain
   rounding wins among all within one standard error of the least flips: less would be chance in
   the samples (the rule of Breiman et al. 1984 for choosing among models). Of several layers that
   read one and the same current (the levels of a count) the flips of all, and thresholds move
   together.
2. Beside a one-to-one synapse the threshold stays: a spike that fires its neuron alone (SN
   residual) shall still do so.
3. No bias: the threshold alone. Rounding adds no bias where the network has none.
4. An integrator (the readout): the corrected bias; it has no threshold.
5. Groups that lose nothing (gates), whose neurons read several currents (membrane shortcuts), and
   recurrent graphs: as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.interpret import Execute, lean
from purespike.compiler.ir.ops import Conv2d, Linear, Neuron, Scale
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import beside, group_members, weights_of
from purespike.compiler.passes.quantize.quantize import quantized
from purespike.compiler.passes.quantize.replay_layers import Fire, Layers, fire
from purespike.compiler.passes.quantize.scales import (
    Scaling,
    channels_of,
    exact_scale,
    rows_of,
)

_AROUND = (0, -1, 1, -2, 2, -3, 3)  # units of a weight around the corrected bias
_THRESHOLDS = (0.0, -1.0, 1.0)


def choose_rounding(
    graph: Graph,
    x: NDArray[Any],
    grid: Grid,
    scales: Mapping[str, Scaling],
    execute: Execute = lean,
    fire: Fire = fire,
) -> dict[str, Op]:
    """Integer operations for `quantize`, by node: those that round better than to the nearest.

    Args:
        graph: What `quantize` will get.
        x: Calibration input (T, B, *shape), from the training data.
        grid: The integers of the chip.
        scales: As `calibrate` chose them.
        execute: Runs the network in real numbers.
        fire: Runs neurons on a current.
    """
    layers = Layers.start(graph, x, execute, fire)
    if layers is None:
        return {}
    members = {n.name: nodes for nodes in group_members(graph).values() for n in nodes}
    chosen: dict[str, Op] = {}
    for node in layers.neurons():
        nodes = members[node.name]
        ops = {n.name: quantized(n.op, scales[n.name], grid) for n in nodes}
        fired = beside(nodes)
        if fired and fired[0].name == node.name and exact_scale(graph, nodes, grid) is None:
            chosen |= _Layer(layers, fired, nodes, ops, scales[node.name], grid).rounded()
        ops |= {name: chosen[name] for name in ops if name in chosen}
        layers.settle(node, ops)
    return chosen


class _Layer:
    """Neurons on one current, which is computed once for all ways to round."""

    def __init__(
        self,
        layers: Layers,
        fired: list[Node],
        nodes: list[Node],
        ops: Mapping[str, Op],
        scale: Scaling,
        grid: Grid,
    ) -> None:
        node = fired[0]
        self.fired, self.nodes, self.ops, self.grid = fired, nodes, ops, grid
        self.real = [layers.real[n.name] for n in fired]
        self.channels, self.size = node.output.shape[0], self.real[0].size * len(fired)
        self.by_channel = (1, 1, -1, *(1,) * (len(node.output.shape) - 1))
        self.fire = layers.fire
        self.thresholds_differ = channels_of(nodes, grid) is not None
        source = node.inputs[0]
        self.current = layers.current(source, ops)
        exact = layers.current(source, {}) * scale
        # What rounding takes from the current on average, by channel.
        self.missing = self._mean(exact - self.current)
        biased = [n for n in nodes if isinstance(n.op, Conv2d | Linear) and n.op.bias is not None]
        self.biased = biased[0] if biased else None

    def _mean(self, values: Array) -> Array:
        mean: Array = np.moveaxis(values, 2, 0).reshape(self.channels, -1).mean(axis=1)
        return mean

    def rounded(self) -> dict[str, Op]:
        """The operations that differ from plain rounding."""
        if not all(n.fires for n in self._neurons()):  # case 4
            found = self._with_bias(np.rint(self.missing))
            return found if self._stays_below(found) else {}
        shifts = self._shifts()
        fixed = any(isinstance(n.op, Scale) for n in self.nodes)  # case 2
        moves = [m for m in ((0.0,) if fixed else _THRESHOLDS) if self._legal(m)] or [0.0]
        # Flips by (threshold, bias, channel).
        flips = np.array([[self._flips(m, b) for b in shifts] for m in moves])
        size = self.size // self.channels
        best = _nearest(flips, size, axis=1)
        least = np.take_along_axis(flips, best[:, None], axis=1)[:, 0]
        if self.thresholds_differ:
            which = _nearest(least, size, axis=0)
        else:
            which = np.full(self.channels, _nearest(least.mean(axis=1), self.size, axis=0))
        channel = np.arange(self.channels)
        found = self._with_bias(np.array(shifts)[best[which, channel], channel])
        move = np.array(moves)[which]
        if np.any(move):
            same = bool((move == move[0]).all())
            by = move[0] if same else move.reshape(self.by_channel[2:])
            for node, neuron in zip(self.fired, self._neurons(), strict=True):
                found[node.name] = _moved(neuron, by)
        return found

    def _neurons(self) -> list[Neuron]:
        made = [self.ops[n.name] for n in self.fired]
        return [op for op in made if isinstance(op, Neuron)]

    def _shifts(self) -> list[Array]:
        """Ways to move the bias of each channel, the nearest to plain rounding first."""
        nothing = np.zeros(self.channels)
        if self.biased is None:  # case 3
            return [nothing]
        return [nothing, *(np.rint(self.missing) + k for k in _AROUND)]

    def _legal(self, move: float) -> bool:
        low = min(float(n.threshold.min()) for n in self._neurons())
        high = max(float(n.threshold.max()) for n in self._neurons())
        return low + move >= 1 and high + move <= self.grid.threshold_limit

    def _stays_below(self, found: Mapping[str, Op]) -> bool:
        """Whether an integrator cannot reach the chip's highest threshold, ever."""
        reach = np.zeros(self.channels)
        for node in self.nodes:
            op = found.get(node.name, self.ops[node.name])
            for weight in weights_of(op):
                reach += np.abs(rows_of(node, weight)).sum(axis=1)
            bias = getattr(op, "bias", None)
            reach += 0.0 if bias is None else np.abs(bias)
        steps, neuron = self.real[0].shape[0], self._neurons()[0]
        lasting = sum(neuron.current_decay**k for k in range(steps))
        return float(lasting * steps * reach.max()) <= self.grid.threshold_limit

    def _flips(self, move: float, shift: Array) -> Array:
        """The share of decisions of each channel that differ from the real network's."""
        count = np.zeros(self.channels)
        for neuron, real in zip(self._neurons(), self.real, strict=True):
            wrong = self.fire(_moved(neuron, move), self.current, shift) != real
            count += np.sum(wrong, axis=(0, 1, *range(3, wrong.ndim)), dtype=np.float64)
        share: Array = count / (self.size // self.channels)
        return share

    def _with_bias(self, shift: Array) -> dict[str, Op]:
        if self.biased is None or not np.any(shift):
            return {}
        op = self.ops[self.biased.name]
        assert isinstance(op, Conv2d | Linear) and op.bias is not None
        biases = [getattr(self.ops[n.name], "bias", None) for n in self.nodes]
        others = sum((b for b in biases if b is not None), start=-op.bias)  # the chip adds them up
        room = self.grid.bias_limit
        bias = np.clip(op.bias + shift, -room - others, room - others)
        return {self.biased.name: replace(op, bias=bias)}


def _nearest(flips: Array, size: int, axis: int) -> NDArray[np.intp]:
    """The first way to round (the nearest) within one standard error of the least flips."""
    least = flips.min(axis=axis, keepdims=True)
    first: NDArray[np.intp] = (flips <= least + np.sqrt(least * (1 - least) / size)).argmax(axis)
    return first


def _moved(neuron: Neuron, by: Any) -> Neuron:
    """The neuron with another threshold; what a reset takes off stays."""
    return replace(neuron, threshold=neuron.threshold + by, amount=neuron.amount)
