"""Round the weights of a layer together, so that the sums of its input spikes keep closest.

Rounding each weight to the nearest forgets that inputs fire together: errors of weights that meet
add up. Here the error of each weight is passed on to those that are not rounded yet, in proportion
to how their inputs correlate (Optimal Brain Quantization, Frantar and Alistarh 2022; GPTQ, Frantar
et al. 2023, equations 2 and 3); then single weights move by whole units for as long as that lowers
the squared error of the sum. The inputs are what the quantized layers in front deliver on
calibration samples; their second moments are all that is kept of them. The grid stays as it is.

Cases:
1. Neurons: the sums of single steps. What a bias can take back does not count while weights are
   rounded; the bias is then rounded, and weights move together with it.
2. An integrator (the readout): its membrane is the sum over the steps, so inputs add up first. If
   it could then reach the chip's highest threshold, it stays as it was.
3. Several synapses that meet in a neuron are one row of weights; channels of a grouped convolution
   that see the same inputs are rounded together. One-to-one synapses stay: one of exactly the
   threshold must fire its neuron alone.
4. More than `LARGEST` inputs of a neuron stay as they are: the work grows with the cube.
5. `Grid.fit_membranes`: all stay, since the proof is made for weights rounded to the nearest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from purespike.compiler.domain import Array
from purespike.compiler.ir import Node, Op
from purespike.compiler.ops import Conv2d, Linear, Neuron
from purespike.compiler.ops.synapse import reweighted, unfold
from purespike.compiler.passes.replay_layers import Layers
from purespike.compiler.passes.scales import Grid, Scaling

LARGEST = 2304
WINDOWS = 1 << 17  # sums that are looked at: as many samples as fit, one at least
DAMPING = 0.01  # of the mean second moment (GPTQ, section 3.3)
SWEEPS = 8  # over all weights; few move after the third


class _Part(NamedTuple):
    """The weights of one synapse in a block of rows that see the same inputs."""

    node: Node
    group: int
    columns: slice


def compensated(
    layers: Layers,
    node: Node,
    nodes: Sequence[Node],
    ops: Mapping[str, Op],
    scale: Scaling,
    grid: Grid,
) -> dict[str, Op]:
    """The synapses of a layer with weights, and a bias where there is one, rounded together.

    Args:
        layers: Settled up to this layer.
        node: Its neurons.
        nodes: All synapses and neurons that share its scale; one of them is ``node``.
        ops: Their integer operations, rounded to the nearest.
        scale: Integer = scale * real number.
        grid: The integers of the chip.

    Returns:
        Those that differ. On the samples looked at the mean squared error of no channel's sum is
        larger than with ``ops``.
    """
    synapses = [n for n in nodes if isinstance(n.op, Conv2d | Linear)]
    widths = [_rows(n.op).shape[1] for n in synapses]
    if not synapses or sum(widths) > LARGEST or grid.fit_membranes:
        return {}
    ends = np.cumsum([0, *widths])
    real = np.hstack([_rows(n.op) for n in synapses]) * np.reshape(scale, (-1, 1))
    near = np.hstack([_rows(ops[n.name]) for n in synapses])
    room = np.full_like(near, grid.weight_limit)
    low, high = -room, room
    biases = [(n.name, b, r) for n in synapses for b, r in _biases(n.op, ops[n.name])]
    if biases:
        first = biases[0][2]
        others = sum((r for _, _, r in biases[1:]), start=np.zeros(len(near)))
        wanted = sum((b for _, b, _ in biases), start=np.zeros(len(near))) * np.ravel(scale)
        real, near = np.column_stack((real, wanted - others)), np.column_stack((near, first))
        # The chip adds them up.
        low = np.column_stack((low, np.minimum(-grid.bias_limit - others, first)))
        high = np.column_stack((high, np.maximum(grid.bias_limit - others, first)))
    found = near.copy()
    blocks = math.lcm(*(getattr(n.op, "groups", 1) for n in synapses))
    for block, rows in enumerate(np.split(np.arange(len(near)), blocks)):
        parts = [
            _Part(n, block * getattr(n.op, "groups", 1) // blocks, slice(*ends[k : k + 2]))
            for k, n in enumerate(synapses)
        ]
        moment = _second_moment(layers, node, parts, bool(biases))
        bounds = low[rows], high[rows]
        found[rows] = round_rows(real[rows], near[rows], moment, bounds, biased=bool(biases))
    if np.array_equal(found, near):
        return {}
    chosen: dict[str, Op] = {}
    for k, n in enumerate(synapses):
        op = ops[n.name]
        assert isinstance(op, Conv2d | Linear)
        weight = op.kept if isinstance(op, Linear) else op.weight
        whole = found[:, ends[k] : ends[k + 1]].reshape(weight.shape)
        bias = found[:, -1] if biases and n.name == biases[0][0] else op.bias
        chosen[n.name] = reweighted(op, lambda _, whole=whole: whole, bias)  # type: ignore[misc]
    return chosen


def round_rows(
    real: Array, near: Array, moment: Array, bounds: tuple[Array, Array], *, biased: bool = False
) -> Array:
    """Whole numbers for each row of weights, for the least squared error of its sum.

    Args:
        real: (rows, inputs), in units of the grid.
        near: The same to the nearest.
        moment: (inputs, inputs), the mean product of each two inputs.
        bounds: The least and the largest value of each weight.
        biased: Whether the last input is a bias's, which is always there.

    Returns:
        Rows of which none has a larger ``(row - real) @ moment @ (row - real)`` than in ``near``.
    """
    low, high = bounds
    if biased:
        free, last = moment[:-1, :-1], moment[:-1, -1] / moment[-1, -1]
        rest = free - np.outer(last, moment[-1, :-1])
        weights = _passed_on(real[:, :-1], rest, low[:, :-1], high[:, :-1])
        bias = real[:, -1] - (weights - real[:, :-1]) @ last
        found = np.column_stack((weights, np.clip(np.rint(bias), low[:, -1], high[:, -1])))
    else:
        found = _passed_on(real, moment, low, high)
    better = squared_error(found, real, moment) < squared_error(near, real, moment)
    return _settled(np.where(better[:, None], found, near), real, moment, low, high)


def squared_error(whole: Array, real: Array, moment: Array) -> Array:
    """The mean squared error of each row's sum, in squared units of the grid."""
    error = whole - real
    total: Array = ((error @ moment) * error).sum(axis=1)
    return total


def _passed_on(real: Array, moment: Array, low: Array, high: Array) -> Array:
    """GPTQ: column after column, the busiest input first; the rest takes over its error."""
    count = len(moment)
    mean = float(np.trace(moment)) / max(count, 1)
    found = np.clip(np.rint(real), low, high)
    if mean <= 0:
        return found
    order = np.argsort(-np.diag(moment), kind="stable")
    damped = moment[np.ix_(order, order)] + DAMPING * mean * np.eye(count)
    passed = np.linalg.cholesky(np.linalg.inv(damped)).T
    left = real[:, order]
    for k, column in enumerate(order):
        found[:, column] = np.clip(np.rint(left[:, k]), low[:, column], high[:, column])
        error = (left[:, k] - found[:, column]) / passed[k, k]
        left[:, k + 1 :] -= error[:, None] * passed[k, k + 1 :]
    return found


def _settled(whole: Array, real: Array, moment: Array, low: Array, high: Array) -> Array:
    """Move single weights to their best whole number until none gains, or `SWEEPS` times."""
    found, slope, own = whole.copy(), (whole - real) @ moment, np.diag(moment)
    for _ in range(SWEEPS):
        moved = False
        for k in np.flatnonzero(own > 0):
            best = np.clip(np.rint(found[:, k] - slope[:, k] / own[k]), low[:, k], high[:, k])
            step = best - found[:, k]
            gain = -step * (2 * slope[:, k] + step * own[k])
            step = np.where(gain > 1e-9 * own[k], step, 0.0)  # rounding must not decide
            if step.any():
                found[:, k] += step
                slope += step[:, None] * moment[k]
                moved = True
        if not moved:
            break
    return found


def _second_moment(layers: Layers, node: Node, parts: Sequence[_Part], biased: bool) -> Array:
    assert isinstance(node.op, Neuron)
    steps, batch = layers.carried[parts[0].node.inputs[0]].shape[:2]
    places = int(np.prod(node.output.shape[1:]))
    samples = max(1, min(batch, WINDOWS // (steps * places)))
    total = kept = np.zeros(())
    for t in range(steps):
        inputs = [
            _windows(p.node.op, layers.carried[p.node.inputs[0]][t, :samples], p.group)
            for p in parts
        ]
        now = np.hstack([*inputs, np.ones((samples * places, int(biased)))])
        kept = now if node.op.fires else node.op.decay * kept + now  # case 2
        total = total + kept.T @ kept
    mean: Array = total / (steps * samples * places)
    return mean


def _windows(op: Op, x: Array, group: int) -> Array:
    """What each neuron of a group's channels sees: (samples * places, inputs)."""
    if isinstance(op, Linear):
        together: Array = x.reshape(len(x), -1, op.run).sum(axis=2)  # inputs that share a weight
        return together
    assert isinstance(op, Conv2d)
    dh, dw = op.dilation
    depth, kh, kw = op.weight.shape[1:]
    part = x[:, group * depth : (group + 1) * depth]
    span = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    seen = unfold(part, span, op.stride, op.padding)[..., ::dh, ::dw]
    return seen.transpose(0, 2, 3, 1, 4, 5).reshape(-1, depth * kh * kw)


def _rows(op: Op) -> Array:
    """The weights of a synapse, one row a channel of its output, shared ones once."""
    assert isinstance(op, Conv2d | Linear)
    weight = op.kept if isinstance(op, Linear) else op.weight
    return weight.reshape(len(weight), -1)


def _biases(real: Op, whole: Op) -> list[tuple[Array, Array]]:
    """The bias of a synapse in real and whole numbers, if it has one."""
    assert isinstance(real, Conv2d | Linear) and isinstance(whole, Conv2d | Linear)
    return [] if real.bias is None or whole.bias is None else [(real.bias, whole.bias)]
