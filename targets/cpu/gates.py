"""Which layers are logic on bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.plan import Arm, Layer, Task

INPUTS = 3  # of a gate


def simplified(layer: Layer) -> Layer:
    """A memoryless neuron as logic on bits, where it is that."""
    op, arms = layer.neuron, layer.arms
    assert op is not None
    if op.decay or op.current_decay or op.initial or any(a.kind != "lanewise" for a in arms):
        return layer
    unit = 1 << layer.shift
    limit = op.fixed.limit if op.fixed else np.inf
    if not all(uniform(x) for x in (layer.bias, layer.threshold, *(a.weight for a in arms))):
        return layer
    bias, threshold = float(layer.bias.flat[0]), float(layer.threshold.flat[0])
    weights = [int(a.weight.flat[0]) for a in arms]

    def fires(*bits: int) -> bool:
        current = sum(w for w, b in zip(weights, bits, strict=True) if b) + bias
        return min(max(current * unit, -limit), limit) >= threshold * unit

    if all(_in_place(a) for a in arms) and len(arms) <= INPUTS:
        cases = product((0, 1), repeat=len(arms))  # the last input varies fastest
        table = sum(1 << sum(b << k for k, b in enumerate(bits)) for bits in cases if fires(*bits))
        if not table & 1:  # silence stays silent, also where a byte has no channel
            return _bits(layer, "logic", table)
    # An OR over a window: any one spike is enough, and none is not.
    if len(arms) == 1 and bias == 0 and weights[0] > 0 and fires(1) and not fires(0):
        return _bits(layer, "pool", 0)
    return layer


def _in_place(arm: Arm) -> bool:
    """Does each neuron hear the one spike at its own place?"""
    plain = arm.kernel == arm.stride == (1, 1) and arm.padding == (0, 0)
    return plain and arm.weight.shape[0] == 1


def uniform(a: NDArray[Any]) -> bool:
    """Is it one number everywhere?"""
    return bool((a == a.flat[0]).all())


def truth(kind: str, inputs: tuple[Arm, ...]) -> int:
    """Of a gate: bit k is its output where its inputs are the bits of k."""
    n = len(inputs)
    every = (1 << n) - 1
    rule: dict[str, Callable[[int], bool]] = {
        "and": lambda k: k == every,
        "or": lambda k: k > 0,
        "xor": lambda k: k.bit_count() % 2 == 1,
        "iand": lambda k: k == 2,  # not the first, and the second
    }
    return sum(1 << k for k in range(1 << n) if rule[kind](k))


def _bits(layer: Layer, task: Task, table: int) -> Layer:
    return replace(layer, task=task, table=table)
