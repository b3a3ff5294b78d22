"""Runs a plan with numpy alone, where no compiler is found: the same integers, slower."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.plan import Arm, Ints, Layer, Plan
from purespike.targets.cpu.weights import delayed
from purespike.targets.cpu.widths import whole_neuron

Bytes = NDArray[np.uint8]
Recorded = dict[str, NDArray[Any]]


def run_portable(
    plan: Plan, inputs: Sequence[Bytes], kept: Collection[str]
) -> tuple[Recorded, Recorded, Recorded]:
    """(spikes, membranes, synaptic currents) by neuron, each (T, B, C, H, W).

    Args:
        plan: What runs.
        inputs: (T, B, *shape) of 0 and 1, for each input of the graph.
        kept: Neurons whose membranes are kept; those of integrators always are.
    """
    samples = inputs[0].shape[1]
    spikes = [np.zeros((plan.steps, samples, *b.place), np.uint8) for b in plan.buffers]
    for held, x in zip(spikes, inputs, strict=False):
        held[...] = x.reshape(held.shape)
    membranes: Recorded = {}
    currents: Recorded = {}
    states: dict[str, tuple[Ints, Ints]] = {}
    for layer in plan.neurons():
        op = layer.neuron
        assert op is not None
        shape = (samples, *layer.place)
        start = np.full(shape, round(op.initial * (1 << layer.shift)), np.int64)
        states[layer.name] = (start, np.zeros(shape, np.int64))
        if layer.name in kept or layer.out < 0:
            membranes[layer.name] = np.zeros((plan.steps, *shape), np.int32)
            if op.current_decay:
                currents[layer.name] = np.zeros((plan.steps, *shape), np.int32)
    # Every step runs through all layers: no order of steps has to be found for loops.
    for t in range(plan.steps):
        for layer in plan.layers:
            if layer.neuron is None:
                spikes[layer.out][t] = _moved(layer, spikes, t)
                continue
            v, u, y = _step(layer, *states[layer.name], _current(layer, spikes, t))
            states[layer.name] = v, u
            if layer.out >= 0:
                spikes[layer.out][t] = y
            if layer.name in membranes:
                membranes[layer.name][t] = v
            if layer.name in currents:
                currents[layer.name][t] = u
    sent = {name: delayed(spikes[k], late) for name, (k, late) in plan.spikes.items()}
    return sent, membranes, currents


def _read(arm: Arm, spikes: Sequence[Bytes], t: int) -> Bytes:
    source = spikes[arm.source]
    return source[t - arm.delay] if t >= arm.delay else np.zeros_like(source[0])


def _moved(layer: Layer, spikes: Sequence[Bytes], t: int) -> NDArray[Any]:
    """What needs no currents: gates, pools, spikes that wait by place, flattened ones."""
    if layer.task == "logic":
        case = np.zeros((spikes[0].shape[1], *layer.place), np.int64)
        for k, a in enumerate(layer.arms):
            case += _read(a, spikes, t).astype(np.int64) << k
        return layer.table >> case & 1
    if layer.task == "pool":
        x = _read(layer.arms[0], spikes, t)
        return _weighed(layer.arms[0], x, layer.place) > 0
    if layer.task == "flatten":
        x = _read(layer.arms[0], spikes, t)
        return x.reshape(len(x), -1, 1, 1)
    total = np.zeros((spikes[0].shape[1], *layer.place), np.int64)
    for a in layer.arms:
        total += _read(a, spikes, t) * a.weight
    return total


def _current(layer: Layer, spikes: Sequence[Bytes], t: int) -> Ints:
    """What all synapses of a layer deliver in a step, bias included: (B, C, H, W)."""
    bias = layer.bias.astype(np.int64)
    total = bias if bias.ndim == 3 else bias[:, None, None]
    for arm in layer.arms:
        total = total + _weighed(arm, _read(arm, spikes, t), layer.place)
    return np.broadcast_to(total, (spikes[0].shape[1], *layer.place))


def _weighed(arm: Arm, x: Bytes, place: tuple[int, int, int]) -> Ints:
    """One product for each tap: (B, C, H, W) -> (B, out, H', W')."""
    (kh, kw), (sy, sx), (py, px), (dy, dx) = arm.kernel, arm.stride, arm.padding, arm.dilation
    if arm.kind == "events":
        x = x[:, arm.first * 8 : arm.first * 8 + arm.weight.shape[1]]
    padded = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px))).astype(np.float64)
    total = np.zeros((len(x), *place))
    for ky in range(kh):
        for kx in range(kw):
            tap = padded[:, :, ky * dy :: sy, kx * dx :: sx][:, :, : place[1], : place[2]]
            if arm.kind == "lanewise":
                w = arm.weight[ky * kw + kx].astype(np.float64)
                total += tap * (w if w.ndim == 3 else w[:, None, None])
            else:  # float64 holds these sums exactly, and its products are fast
                w = arm.weight[:, :, 0 if arm.shared else ky, 0 if arm.shared else kx]
                total += np.tensordot(tap, w.astype(np.float64), ([1], [1])).transpose(0, 3, 1, 2)
    return total.astype(np.int64)


def _step(layer: Layer, v: Ints, u: Ints, x: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    op, unit = layer.neuron, 1 << layer.shift
    assert op is not None
    decay, current_decay = whole_neuron(op)
    u = _faded(u, current_decay) + x * unit
    v = _faded(v, decay) + u
    if op.fixed:
        v = np.clip(v, -op.fixed.limit, op.fixed.limit)
    if op.reset == "none":
        return v, u, np.zeros(v.shape, np.bool_)

    def wide(a: NDArray[np.float64]) -> NDArray[np.float64]:
        return (a if a.ndim == 3 else a[:, None, None]) * unit

    fired = v >= wide(layer.threshold)
    left = 0 if op.reset == "zero" else v - wide(layer.amount).astype(np.int64)
    return np.where(fired, left, v), u, fired


def _faded(x: Ints, decay: int) -> Ints:
    """X * decay / 4096, rounded towards zero."""
    kept: Ints = np.sign(x) * ((np.abs(x) * decay) >> 12)
    return kept
