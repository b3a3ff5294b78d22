"""Proof that no current and no membrane leaves its width, for any input, over T steps.

For every neuron the current lies in [N, P]: the sums of its negative and positive weights (times
what their inputs can carry), bias included; both are reached. From them the membrane is bounded
by a recursion over the steps, in exact integers:

    before the reset:  v+ <= trunc(decay * m+) + P      v- >= trunc(decay * m-) + N
    after the reset:   m+ <= threshold (zero), or what subtracting leaves;   m- = min(v-, 0)

since a reset can only lift a membrane below zero, never lower it further (subtracting happens
above the threshold, and ``amount`` may exceed it, which the recursion accounts for).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from purespike.compiler.domain import Array, Domain, times, with_zero
from purespike.compiler.ir import Graph, Node
from purespike.compiler.ops import Add, Conv2d, Linear, Neuron, Scale

Verdict = Literal["proved", "saturates", "may wrap", "unknown"]


@dataclass(frozen=True)
class Bounds:
    """The worst case of one neuron layer over all inputs, in units of a weight.

    Attributes:
        current: (lowest, highest) sum that the layer's synapses deliver in one step.
        membrane: (lowest, highest) membrane before the reset within a sample.
        verdict: ``proved``: both stay inside. ``saturates``: the membrane may reach its limit,
            where it clips as every executor and the chip do. ``may wrap``: a current may exceed
            what the chip can hold, which then wraps around. ``unknown``: no bound could be found.
    """

    current: tuple[float, float]
    membrane: tuple[float, float]
    verdict: Verdict


def bound_neurons(graph: Graph, *, current_limit: float) -> dict[str, Bounds]:
    """Bounds of every neuron in the graph.

    Args:
        graph: A graph in integers (real numbers are bounded too, up to rounding).
        current_limit: The largest magnitude of a summed current, in units of a weight.
    """
    bounds = {}
    for node in graph.nodes:
        if isinstance(node.op, Neuron):
            interval = current_interval(graph, node.inputs[0])
            synapses = current_interval(graph, node.inputs[0], biased=False)
            if interval is None or synapses is None:
                nothing = (-np.inf, np.inf)
                bounds[node.name] = Bounds(nothing, nothing, "unknown")
            else:
                wraps = max(_reach(*interval), _reach(*synapses)) > current_limit
                bounds[node.name] = _bound(node, node.op, *interval, graph.steps, wraps)
    return bounds


def current_interval(graph: Graph, name: str, *, biased: bool = True) -> tuple[Array, Array] | None:
    """(lowest, highest) value of an edge for each unit or channel; None where nothing is known.

    Args:
        graph: Any graph.
        name: An edge.
        biased: False leaves the biases out: on Loihi they join behind the register of the current,
            so a negative bias does not keep the synapses from wrapping around in it.
    """
    interval = _interval(graph, name, biased)
    return interval if interval and np.isfinite(_reach(*interval)) else None


def _reach(low: Array, high: Array) -> float:
    """The largest magnitude in an interval."""
    return float(max(-low.min(), high.max()))


def _interval(graph: Graph, name: str, biased: bool) -> tuple[Array, Array] | None:
    node = graph.producer(name)
    if node is None:
        return _box(graph.edge(name).domain)
    op = node.op
    if isinstance(op, Add):
        parts = [_interval(graph, i, biased) for i in node.inputs]
        known = [p for p in parts if p is not None]
        if len(known) < len(parts):
            return None
        return (
            sum((p[0] for p in known), start=np.zeros(())),
            sum((p[1] for p in known), start=np.zeros(())),
        )
    if isinstance(op, Conv2d | Linear):
        x = graph.edge(node.inputs[0]).domain
        x = with_zero(x) if isinstance(op, Conv2d) and any(op.padding) else x
        flat = op.weight.reshape(len(op.weight), -1)
        lo = np.where(flat > 0, times(flat, x.lo), times(flat, x.hi)).sum(axis=1)
        hi = np.where(flat > 0, times(flat, x.hi), times(flat, x.lo)).sum(axis=1)
        bias = 0.0 if op.bias is None or not biased else op.bias
        shape = (-1, 1, 1) if isinstance(op, Conv2d) else (-1,)
        return (lo + bias).reshape(shape), (hi + bias).reshape(shape)
    if isinstance(op, Scale):
        d = graph.edge(node.inputs[0]).domain
        ends = np.stack([times(op.factor, d.lo), times(op.factor, d.hi)])
        return ends.min(axis=0), ends.max(axis=0)
    return _box(node.output.domain)


def _box(domain: Domain) -> tuple[Array, Array]:
    return np.asarray(domain.lo), np.asarray(domain.hi)


def _bound(node: Node, op: Neuron, low: Array, high: Array, steps: int, wraps: bool) -> Bounds:
    unit = float(2**op.fixed.fraction_bits) if op.fixed else 1.0
    limit = float(op.fixed.limit) if op.fixed else np.inf
    low, high, theta, amount = (
        np.broadcast_to(a, node.output.shape) * unit
        for a in (low, high, _lift(op.threshold, node), _lift(op.amount, node))
    )
    top = np.full(node.output.shape, op.initial * unit)
    bottom = top.copy()
    highest = lowest = deepest = op.initial * unit
    for _ in range(steps):
        before_high = _decayed(top, op) + high
        before_low = _decayed(bottom, op) + low
        highest = max(highest, float(before_high.max()))
        lowest = min(lowest, float(before_low.min()))
        # The clip of the chip comes before the reset; the bounds before it are what is reported.
        above, below = np.clip(before_high, -limit, limit), np.clip(before_low, -limit, limit)
        if op.reset == "none":
            top, bottom = above, below
        else:
            fires = above >= theta
            # Without a spike v stays below the threshold; a spike leaves zero or the remainder.
            left = np.zeros_like(above) if op.reset == "zero" else above - amount
            top = np.where(fires, np.maximum(np.minimum(above, theta), left), above)
            dropped = np.zeros_like(above) if op.reset == "zero" else theta - amount
            bottom = np.where(fires, np.minimum(below, dropped), below)
        deepest = min(deepest, float(bottom.min()))
    current = (float(low.min()) / unit, float(high.max()) / unit)
    verdict: Verdict = "proved" if max(-min(lowest, deepest), highest) <= limit else "saturates"
    verdict = "may wrap" if wraps else verdict
    return Bounds(current, (lowest / unit, highest / unit), verdict)


def _decayed(v: Array, op: Neuron) -> Array:
    if op.fixed is None:
        return v * op.decay
    kept: Array = np.sign(v) * np.floor(np.abs(v) * op.decay)
    return kept


def _lift(parameter: Array, node: Node) -> Array:
    return np.broadcast_to(parameter, node.output.shape)
