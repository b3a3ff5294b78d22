"""How much an edge can carry: in one step, and in sum over the steps of a sample.

A synapse that receives a spike at every step moves its membrane T times as far as one whose source
can fire only once. So each edge has, per unit or channel, bounds of its value and bounds of its sum
over any run of steps of a sample. They follow the graph from its inputs: a neuron fires at most as
often as under its largest current at every step, and at most once for each threshold's worth of
charge that can reach it at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir.domain import Array, Domain, times
from purespike.compiler.ir.graph import Graph, Node, Op, Shape
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)

_HUGE = 1e300  # stands for an infinite current, so that no infinities meet


@dataclass(frozen=True, eq=False)
class Flow:
    """Bounds for each unit or channel of an edge: arrays that broadcast to its shape.

    Attributes:
        low: Lowest value at one step.
        high: Highest value at one step.
        least: Lowest sum over the steps of any interval of a sample, 0 at most.
        most: Highest such sum, 0 at least.
        bare: (low, high) of the synapses alone, without biases.
    """

    low: Array
    high: Array
    least: Array
    most: Array
    bare: tuple[Array, Array]


def bound_flows(graph: Graph) -> dict[str, Flow]:
    """The flow of every edge; infinite where nothing is known.

    Loops: a delay that closes one starts with what its edge may carry at every step, which is
    true; what then reaches its input is true as well, and taken in a second round.
    """
    flows = {e.name: steady(e.domain, graph.steps) for e in graph.inputs}
    closing = []
    for node in graph.nodes:
        if node.op.delays and node.inputs[0] not in flows:
            flows[node.name] = _late(steady(node.output.domain, graph.steps))
            closing.append(node)
        else:
            flows[node.name] = _flow(graph, node, flows)
    if closing:
        flows.update({n.name: _flow(graph, n, flows) for n in closing})
        closed = {n.name for n in closing}
        for node in graph.nodes:
            if node.name not in closed:
                flows[node.name] = _flow(graph, node, flows)
    return flows


def weigh(op: Op, x: Flow, shape: Shape, steps: int) -> Flow:
    """What a synapse makes of a flow whose edge has ``shape``."""
    if isinstance(op, Scale):
        low, high = _signed(op.factor, x.low, x.high)
        least, most = _signed(op.factor, x.least, x.most)
        return Flow(low, high, least, most, (low, high))
    assert isinstance(op, Conv2d | Linear)
    low, high = x.low, x.high
    if isinstance(op, Conv2d) and any(op.padding):
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    bare = _sums(op, low, high, shape)
    least, most = _sums(op, x.least, x.most, shape)
    bias = np.zeros(bare[0].shape) if op.bias is None else op.bias.reshape(bare[0].shape)
    return Flow(
        bare[0] + bias,
        bare[1] + bias,
        least + steps * np.minimum(bias, 0.0),
        most + steps * np.maximum(bias, 0.0),
        bare,
    )


def steady(domain: Domain, steps: int) -> Flow:
    """A flow of which only the values at one step are known."""
    low, high = np.asarray(domain.lo), np.asarray(domain.hi)
    least, most = steps * np.minimum(low, 0.0), steps * np.maximum(high, 0.0)
    return Flow(low, high, least, most, (low, high))


def _late(x: Flow) -> Flow:
    low, high = np.minimum(x.low, 0.0), np.maximum(x.high, 0.0)
    return Flow(low, high, x.least, x.most, (low, high))


def _flow(graph: Graph, node: Node, flows: dict[str, Flow]) -> Flow:
    op, steps = node.op, graph.steps
    reads = [flows[name] for name in node.inputs]
    shapes = [graph.edge(name).shape for name in node.inputs]
    if isinstance(op, SYNAPSES):
        return weigh(op, reads[0], shapes[0], steps)
    if isinstance(op, Add):
        return add(reads)
    if isinstance(op, Neuron):
        if type(op) is Neuron and op.fires:
            x = faded(op, reads[0], steps)
            return _spikes(can_fire(op, reads[0]), max_spikes(op, x, steps))
        return steady(node.output.domain, steps)
    if isinstance(op, Gate):
        most = _joined(op, [r.most for r in reads], float(steps))
        return _spikes(_joined(op, [r.high for r in reads], 1.0), most)
    if isinstance(op, Delay):
        return _late(reads[0])
    if isinstance(op, Flatten):
        x = reads[0]
        low, high, least, most = (
            np.broadcast_to(a, shapes[0]).reshape(-1) for a in (x.low, x.high, x.least, x.most)
        )
        return Flow(low, high, least, most, (low, high))
    if isinstance(op, MaxPool2d) and bool((reads[0].low >= 0).all()):
        each = [_by_channel(a, shapes[0], np.max) for a in (reads[0].high, reads[0].most)]
        high, most = each[0], np.minimum(each[1] * np.prod(op.kernel), steps * each[0])
        zero = np.zeros_like(high)
        return Flow(zero, high, zero, most, (zero, high))
    return steady(node.output.domain, steps)


def add(flows: list[Flow]) -> Flow:
    """The sum of flows: each may reach its bound at once."""
    zero = np.zeros(())
    low, high, least, most, bare_low, bare_high = (
        sum(parts, start=zero)
        for parts in zip(*((f.low, f.high, f.least, f.most, *f.bare) for f in flows), strict=True)
    )
    return Flow(low, high, least, most, (bare_low, bare_high))


def _spikes(high: Array, most: Array) -> Flow:
    zero = np.zeros_like(high)
    return Flow(zero, high, np.zeros_like(most), most, (zero, high))


def _joined(op: Gate, counts: list[Array], ceiling: float) -> Array:
    """The most spikes of a gate from the most spikes of its inputs."""
    if op.kind == "and":
        least = counts[0]
        for count in counts[1:]:
            least = np.minimum(least, count)
        return least
    if op.kind == "iand":  # (not a) and b
        return counts[1]
    together: Array = np.minimum(sum(counts, start=np.zeros(())), ceiling)
    return together


def can_fire(op: Neuron, x: Flow) -> Array:
    """1 for each unit that may fire at some step, 0 for one that never does, however long it runs.

    Not asked within T steps only: on a chip whose samples follow each other, neurons go on for a
    while after theirs is over.
    """
    settled: Array = np.maximum(x.high, 0.0) if op.current_decay else x.high
    for decay in (op.current_decay, op.decay):
        if decay < 1:
            settled = settled / (1.0 - decay) * (1.0 + 1e-9)  # where leak and current are equal
        else:
            settled = np.where(settled > 0, np.inf, 0.0)
    highest = np.maximum(np.maximum(settled, 0.0), op.initial)
    fires: Array = (highest >= op.threshold).astype(np.float64)
    return fires


def max_spikes(op: Neuron, x: Flow, steps: int) -> Array:
    """The most spikes of each unit within a sample.

    1. Under its largest current at every step a neuron fires most often: let one run get the
       larger currents. After a soft reset its membrane is behind by at most ``amount`` for each
       spike that it is ahead, also through leak and clip; so it is never behind in spikes. After a
       hard reset it starts from zero as the other one will.
    2. Hard reset: the charges between two spikes reach the threshold each. Soft reset with
       ``amount <= threshold``: every spike takes ``amount`` off what has arrived. Negative
       currents and leaks only take more.
    """
    unit = float(2**op.fixed.fraction_bits) if op.fixed else 1.0
    limit = float(op.fixed.limit) if op.fixed else np.inf
    theta, amount = op.threshold * unit, op.amount * unit
    high, most = (np.nan_to_num(a * unit, posinf=_HUGE, neginf=-_HUGE) for a in (x.high, x.most))
    shape = np.broadcast_shapes(theta.shape, high.shape, most.shape, amount.shape)
    if op.reset == "subtract" and bool((amount < 0).any()):
        return np.full(shape, float(steps))
    v, count = np.full(shape, op.initial * unit), np.zeros(shape)
    for _ in range(steps):
        v = np.clip(decayed(v, op) + high, -limit, limit)
        fires = v >= theta
        count += fires
        v = np.where(fires, 0.0 if op.reset == "zero" else v - amount, v)
    charge = most + max(op.initial, 0.0) * unit
    if op.reset == "zero":
        by_charge = _whole_times(charge, theta)
    else:
        after_first = 1.0 + _whole_times(charge - theta, amount)
        by_charge = np.where(amount <= theta, np.where(charge < theta, 0.0, after_first), np.inf)
    fewest: Array = np.minimum(count, np.where(theta > 0, by_charge, np.inf))
    return fewest


def _whole_times(charge: Array, part: Array) -> Array:
    """How often ``part`` fits into ``charge``, up to rounding; endless if it is nothing."""
    charge, part = np.broadcast_arrays(charge, part)
    known = np.isfinite(part) & (part > 0)
    ratio = np.divide(charge, part, out=np.full(known.shape, np.inf), where=known)
    fits: Array = np.floor(np.maximum(ratio * (1.0 + 1e-9) + 1e-9, 0.0))
    return np.where(np.isinf(part), 0.0, fits)


def faded(op: Neuron, x: Flow, steps: int) -> Flow:
    """The flow of a neuron's synaptic current, which remembers what arrived before.

    Under its largest input at every step it is largest at every step, and so is its sum.
    """
    if not op.current_decay:
        return x
    unit = float(2**op.fixed.fraction_bits) if op.fixed else 1.0
    leak = replace(op, decay=op.current_decay)
    ends = []
    for end, extreme in ((x.low, np.minimum), (x.high, np.maximum)):
        end = np.nan_to_num(end * unit, posinf=_HUGE, neginf=-_HUGE)
        u = reached = end
        total = extreme(end, 0.0)
        for _ in range(steps - 1):
            u = decayed(u, leak) + end
            reached, total = extreme(reached, u), total + extreme(u, 0.0)
        for bound in (reached, total):
            known = np.abs(bound) < _HUGE
            ends.append(np.where(known, bound / unit, np.copysign(np.inf, bound)))
    low, least, high, most = ends
    # On the chip the bias joins the current through a synapse, too.
    return Flow(low, high, least, most, (low, high))


def decayed(v: Array, op: Neuron) -> Array:
    """What is left of a membrane after one step's leak."""
    if op.fixed is None:
        return v * op.decay
    kept: Array = np.sign(v) * np.floor(np.abs(v) * op.decay)
    return kept


def _signed(factor: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds of ``factor * x`` value by value; a zero factor stops even an infinite bound."""
    shape = np.broadcast_shapes(factor.shape, low.shape, high.shape)
    f = np.broadcast_to(factor, shape)
    ends = [_product(f, np.broadcast_to(end, shape)) for end in (low, high)]
    return np.minimum(*ends), np.maximum(*ends)


def _product(weight: Array, x: Array) -> Array:
    product: Array = np.multiply(weight, x, out=np.zeros(weight.shape), where=weight != 0)
    return product


def _sums(op: Conv2d | Linear, low: Array, high: Array, shape: Shape) -> tuple[Array, Array]:
    """Lowest and highest sum of each output (channel) over its inputs."""
    tail = (-1, 1, 1) if isinstance(op, Conv2d) else (-1,)
    if bool((low == low.flat[0]).all() and (high == high.flat[0]).all()):  # as spikes mostly are
        lo, hi, reach = float(low.flat[0]), float(high.flat[0]), op.reach
        least = times(reach.positive, lo) + times(reach.negative, hi)
        most = times(reach.positive, hi) + times(reach.negative, lo)
        return least.reshape(tail), most.reshape(tail)
    positive, negative = np.maximum(op.weight, 0.0), np.minimum(op.weight, 0.0)
    if isinstance(op, Conv2d):
        # All places of a channel share its bounds, so the weights of a kernel add up first.
        positive, negative = positive.sum(axis=(2, 3)), negative.sum(axis=(2, 3))
        low, high = (
            np.repeat(
                _by_channel(end, shape, extreme).reshape(op.groups, -1),
                len(op.weight) // op.groups,
                axis=0,
            )
            for end, extreme in ((low, np.min), (high, np.max))
        )
    low, high = (np.broadcast_to(end, positive.shape) for end in (low, high))
    least = (_product(positive, low) + _product(negative, high)).sum(axis=1)
    most = (_product(positive, high) + _product(negative, low)).sum(axis=1)
    return least.reshape(tail), most.reshape(tail)


def _by_channel(x: Array, shape: Shape, extreme: np.ufunc | object) -> Array:
    """One value a channel of (C, H, W): the extreme one where they differ within it."""
    if x.ndim == 3 and x.shape[1:] == (1, 1):
        return np.broadcast_to(x, (shape[0], 1, 1))
    full = np.broadcast_to(x, shape).reshape(shape[0], -1)
    reduced: Array = extreme(full, axis=1)  # type: ignore[operator]
    return reduced.reshape(-1, 1, 1)
