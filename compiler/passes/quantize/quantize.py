"""Integers for everything on the chip: weights, biases, thresholds, decay.

A neuron compares a sum of currents with a threshold, so all synapses that reach it, their biases,
its threshold and its reset amount share one scale; nothing else changes. Synapses that serve two
neurons tie those neurons' scales together. Where the chip holds a threshold for each neuron, each
channel may have a scale of its own (Jacob et al. 2018; Krishnamoorthi 2018, section 3): the chip
compares within a channel only.

Cases:
1. Everything of a group is whole already and in range (gates): scale 1, nothing moves. The same
   with a power of two, where neurons do not leak and weights, biases, reset amounts and
   initial membranes are multiples of its inverse; thresholds then round up, as no sum lies between.
2. Else the scale maps the largest weight to ``2**(bits - 1) - 1``. A bias or threshold that would
   leave its range lowers it, and so does an integrator that could reach the highest threshold, at
   which it would fire.
3. A scale is lowered a little further so that a layer's one threshold is whole: then an identity
   synapse of exactly the threshold (SN residual) still fires its neuron alone. Weights round to
   the nearest; thresholds that differ by neuron round up, since sums are whole numbers and the
   first sum to reach the real threshold is the first to reach the rounded one. One just above an
   identity synapse or its own reset amount ("greater than") gets one unit more than that.
4. A leaky membrane moves on the chip's finer grid and the chip fires strictly above a whole
   threshold k, that is from ``k + 2**-fraction_bits`` on: the nearest such value is taken.
   Where weights are, or add up to, exactly the threshold (an identity synapse; numbers of few
   bits) they become whole parts of it, so that ties stay ties, and a neuron that fires at its
   threshold fires above the whole number below. A membrane that faded to less than one unit below
   the threshold then fires, too; every tie would be lost otherwise.
5. The decays of membrane and current round to the chip's grid; a current cannot be kept for ever.
6. A scale for each channel (``Grid.per_channel``) in groups of one neuron that fires and starts at
   rest. Integrators keep one: their channels are compared with each other. So do gates (case 1).
7. `Grid.fit_membranes`: the scale of a neuron whose membrane might saturate goes down until the
   range proof holds for all T steps (`fit_scales`), unless a threshold or the largest weight would
   then be less than one unit; what it costs in weight bits is noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Op
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.passes.quantize.grid import Grid as Grid
from purespike.compiler.passes.quantize.groups import QuantizeError as QuantizeError
from purespike.compiler.passes.quantize.groups import group_members, require_integer_form
from purespike.compiler.passes.quantize.scales import Scaling as Scaling
from purespike.compiler.passes.quantize.scales import choose_scales as choose_scales
from purespike.compiler.passes.quantize.scales import fires_at, legal_scale, resolves
from purespike.compiler.proofs.ranges import bound_neurons


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
        scales: By synapse and neuron, as `calibrate` chooses them; None takes `choose_scales`, and
            `fit_scales` where the grid asks for it.
        chosen: Integer operations whose rounding `choose_rounding` chose; others round as above.

    Raises:
        QuantizeError: If a layer feeds no neuron, or something else than a synapse, a sum or a
            neuron is left on the chip.
    """
    grid = grid or Grid()
    require_integer_form(graph)
    if scales is None:
        scales = choose_scales(graph, grid)
        scales = fit_scales(graph, scales, grid) if grid.fit_membranes else scales
    chosen = chosen or {}
    nodes = []
    seen: dict[tuple[int, bytes], Array] = {}
    for node in graph.nodes:
        if node.role == "host" or isinstance(node.op, Add | Flatten | Delay):
            nodes.append(node)
        else:
            op = (
                chosen[node.name]
                if node.name in chosen
                else quantized(node.op, scales[node.name], grid)
            )
            nodes.append(replace(node, op=_sharing(node.op, op, scales[node.name], seen)))
    return graph.rebuilt(nodes)


def _sharing(before: Op, op: Op, scale: Scaling, seen: dict[tuple[int, bytes], Array]) -> Op:
    """The layer in integers; copies of one layer (`unroll_levels`) share an array here, too."""
    if not isinstance(op, Conv2d | Linear) or type(op) is not type(before):
        return op
    stored = "kept" if isinstance(op, Linear) else "weight"
    key = (id(getattr(before, stored)), np.asarray(scale).tobytes())
    first = seen.setdefault(key, getattr(op, stored))
    same = first is not getattr(op, stored) and np.array_equal(first, getattr(op, stored))
    return reweighted(op, lambda w: first, op.bias) if same else op


def fit_scales(graph: Graph, scales: Mapping[str, Scaling], grid: Grid) -> dict[str, Scaling]:
    """The scales, lowered where a membrane might saturate until it provably does not (case 7).

    The bounds are those of `bound_neurons` for the integers that each choice gives, for any input
    over all T steps. A smaller scale makes weights, and so bounds, smaller in proportion, up to
    rounding; hence a few rounds. Where no scale is small enough, the first one stays.
    """
    members = [m for m in group_members(graph).values() if any(isinstance(n.op, Neuron) for n in m)]
    fitted, given_up = dict(scales), set()
    while True:
        bounds = bound_neurons(quantize(graph, grid, fitted), current_limit=np.inf)
        room = grid.fixed.limit / 2**grid.fixed.fraction_bits
        moved = False
        for nodes in members:
            wide = [b.membrane for n in nodes if (b := bounds.get(n.name)) is not None
                    and b.verdict == "saturates"]  # fmt: skip
            leader = nodes[0].name
            if not wide or leader in given_up:
                continue
            reach = max(max(-low, high) for low, high in wide)
            wanted = np.asarray(fitted[leader]) * min(room / reach, 0.99)
            scale = legal_scale(graph, nodes, wanted, grid)
            if resolves(nodes, scale):
                fitted |= dict.fromkeys((n.name for n in nodes), scale)
            else:
                given_up.add(leader)
                fitted |= {n.name: scales[n.name] for n in nodes}
            moved = True
        if not moved:
            return fitted


def fitting_notes(
    graph: Graph, scales: Mapping[str, Scaling], fitted: Mapping[str, Scaling], after: Graph
) -> tuple[str, ...]:
    """What `fit_scales` cost, by neuron, and where it found nothing."""
    bounds = bound_neurons(after, current_limit=np.inf)
    notes = []
    for node in graph.nodes:
        if not isinstance(node.op, Neuron) or node.name not in scales:
            continue
        ratio = float(np.max(np.asarray(scales[node.name]) / np.asarray(fitted[node.name])))
        low, high = bounds[node.name].membrane
        saturates = bounds[node.name].verdict == "saturates"
        if ratio > 1:
            now = "yet it may saturate: it is" if saturates else "for any input its membrane stays"
            notes.append(
                f"lowered the scale of {graph.origin(node.name)} to 1/{ratio:.3g}, which costs "
                f"{np.log2(ratio):.1f} bits of its weights: {now} in [{low:.0f}, {high:.0f}]"
            )
        elif saturates:
            notes.append(
                f"left the scale of {graph.origin(node.name)}, which may saturate: a smaller one "
                "leaves less than one unit of its threshold or of its weights"
            )
    return tuple(notes)


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
        # Case 3; the product is exact with a power of two (case 1), else rounding must not decide.
        slack = 0.0 if np.all(np.frexp(scale)[0] == 0.5) else 1e-9
        threshold = np.ceil(real - slack * np.maximum(1.0, np.abs(real)))
    else:
        unit = 2.0**-grid.fixed.fraction_bits
        below = np.rint(real - unit) - fires_at(real)
        threshold = np.maximum(below, 0.0) + unit  # case 4
    # What a reset subtracts is whole; where the threshold is too, equal ones stay equal.
    whole = not leaks and np.array_equal(op.amount, op.threshold)
    amount = threshold if whole else np.rint(op.amount * scale)
    return replace(
        op, threshold=threshold, amount=amount, decay=decay, initial=initial, fixed=grid.fixed
    )
