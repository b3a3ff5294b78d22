"""Proof that no current and no membrane leaves its width, for any input, over T steps.

For every neuron the current lies in [N, P]: the sums of its negative and positive weights (times
what their inputs can carry), bias included; both are reached. From them the membrane is bounded
by a recursion over the steps, in exact integers:

    before the reset:  v+ <= trunc(decay * m+) + P      v- >= trunc(decay * m-) + N
    after the reset:   m+ <= threshold (zero), or what subtracting leaves;   m- = min(v-, 0)

since a reset can only lift a membrane below zero, never lower it further (subtracting happens
above the threshold, and ``amount`` may exceed it, which the recursion accounts for).

The recursion takes N at every step. Where sources cannot fire that often (`firing`), what they
deliver in sum bounds the membrane as well, since leak, clip and reset only bring it nearer to
zero; the tighter of the two counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Op
from purespike.compiler.ir.ops import SYNAPSES, Add, Neuron
from purespike.compiler.proofs.firing import Flow, add, bound_flows, decayed, faded, steady, weigh

Verdict = Literal["proved", "saturates", "may wrap", "unknown"]


@dataclass(frozen=True)
class Bounds:
    """The worst case of one neuron layer over all inputs, in units of a weight.

    Attributes:
        current: (lowest, highest) sum that the layer's synapses deliver in one step, with what
            a synaptic current that fades has left of the steps before.
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
    # Passes, proofs and executors ask for the same graph, which nobody can change: it keeps them.
    known: dict[float, dict[str, Bounds]] = vars(graph).setdefault("_bounds", {})
    if current_limit not in known:
        flows = bound_flows(graph)
        known[current_limit] = {
            node.name: _bound(
                node.op,
                faded(node.op, flows[node.inputs[0]], graph.steps),
                graph.steps,
                current_limit,
            )
            for node in graph.nodes
            if isinstance(node.op, Neuron)
        }
    return dict(known[current_limit])


def current_interval(
    graph: Graph, name: str, *, biased: bool = True, ops: Mapping[str, Op] | None = None
) -> tuple[Array, Array] | None:
    """(lowest, highest) value of an edge for each unit or channel; None where nothing is known.

    From the domains that its synapses read, without the rest of the graph.

    Args:
        graph: Any graph.
        name: An edge.
        biased: False leaves the biases out: on Loihi they join behind the register of the current,
            so a negative bias does not keep the synapses from wrapping around in it.
        ops: Operations that stand in for those of these nodes.
    """
    flow = _near(graph, name, ops or {})
    interval = (flow.low, flow.high) if biased else flow.bare
    return interval if np.isfinite(_reach(*interval)) else None


def tightness(bound: tuple[float, float], observed: tuple[float, float]) -> float:
    """How many times as wide as what was observed a bound is; 1 is exact."""
    width = observed[1] - observed[0]
    return (bound[1] - bound[0]) / width if width > 0 else float("inf")


def _near(graph: Graph, name: str, ops: Mapping[str, Op]) -> Flow:
    node = graph.producer(name)
    if node is not None and isinstance(node.op, Add):
        return add([_near(graph, i, ops) for i in node.inputs])
    if node is not None and isinstance(op := ops.get(node.name, node.op), SYNAPSES):
        edge = graph.edge(node.inputs[0])
        return weigh(op, steady(edge.domain, graph.steps), edge.shape, graph.steps)
    return steady(graph.edge(name).domain, graph.steps)


def _reach(low: Array, high: Array) -> float:
    """The largest magnitude in an interval."""
    return float(max(-low.min(), high.max()))


def _bound(op: Neuron, x: Flow, steps: int, current_limit: float) -> Bounds:
    reach = max(_reach(x.low, x.high), _reach(*x.bare))
    if not np.isfinite(reach) or type(op) is not Neuron:  # a rectified one fires elsewhere
        nothing = (-np.inf, np.inf)
        return Bounds(nothing, nothing, "unknown")
    unit = float(2**op.fixed.fraction_bits) if op.fixed else 1.0
    limit = float(op.fixed.limit) if op.fixed else np.inf
    parts = (x.low, x.high, x.least, x.most, op.threshold, op.amount)
    low, high, least, most, theta, amount = (a * unit for a in np.broadcast_arrays(*parts))
    shape = low.shape
    start = op.initial * unit
    top = np.full(shape, start)
    bottom = top.copy()
    highest = lowest = deepest = top
    for _ in range(steps):
        before_high = decayed(top, op) + high
        before_low = decayed(bottom, op) + low
        highest = np.maximum(highest, before_high)
        lowest = np.minimum(lowest, before_low)
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
        deepest = np.minimum(deepest, bottom)
    # What all steps deliver, from where a sample or the time after a reset begins.
    begins = np.full(shape, min(start, 0.0))
    if op.reset == "subtract":
        drops = np.subtract(theta, amount, out=np.zeros(shape), where=np.isfinite(theta))
        begins = np.minimum(begins, drops)
        most = np.where(amount >= 0, most, np.inf)
    lowest = np.maximum(lowest, begins + least)
    deepest = np.maximum(deepest, begins + least)
    highest = np.minimum(highest, max(start, 0.0) + most)
    extent = float(max(-lowest.min(), -deepest.min(), highest.max()))
    verdict: Verdict = "proved" if extent <= limit else "saturates"
    return Bounds(
        (float(x.low.min()), float(x.high.max())),
        (float(lowest.min()) / unit, float(highest.max()) / unit),
        "may wrap" if reach > current_limit else verdict,
    )
