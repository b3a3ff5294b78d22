"""How wide the sums of each layer are, proved for every input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.plan import Arm, Ints, Layer

NARROW = 32_000  # what 16 bits hold, with room for a threshold above it
WIDE = 1 << 29  # what 32 bits hold, with room for one more addition and a shift


def fitted(layers: list[Layer], graph: Graph) -> Iterator[Layer]:
    """The layers with the range of their currents, and whether 16 bits hold all that they compute.

    Raises:
        CpuError: If 32 bits do not.
    """
    bounds = bound_neurons(graph, current_limit=np.inf)
    for layer in layers:
        if layer.neuron is None:
            yield layer
            continue
        low, high = np.min(layer.bias), np.max(layer.bias)
        for arm in layer.arms:
            least, most = reach(arm)
            low, high = low + least, high + most
        brief = bool(max(-low, high) <= NARROW)
        layer = replace(layer, current=(float(low), float(high)), brief=brief)
        _require(layer, graph.steps)
        known = bounds.get(layer.name)
        yield replace(layer, narrow=known is not None and _narrow(layer, known.membrane))


def reach(arm: Arm) -> tuple[int, int]:
    """(lowest, highest) sum that a synapse adds to any neuron in a step."""
    w = arm.weight
    axes: tuple[int, ...] = (0,) if arm.kind == "lanewise" else (1, 2, 3)
    taps = arm.kernel[0] * arm.kernel[1] if arm.shared else 1

    def extreme(part: Ints, pick: np.ufunc) -> int:
        sums = part.sum(axis=axes)
        return int(pick.reduce(sums, axis=None)) * taps if sums.size else 0

    return extreme(np.minimum(w, 0), np.minimum), extreme(np.maximum(w, 0), np.maximum)


def _narrow(layer: Layer, membrane: tuple[float, float]) -> bool:
    op = layer.neuron
    assert op is not None
    numbers = (op.initial, *layer.bias.flat, *(layer.amount.flat if op.reset == "subtract" else ()))
    whole = all(float(n).is_integer() for n in numbers)
    if op.leaks or not whole or not np.isfinite(membrane).all():
        return False
    amount = float(np.max(layer.amount)) if op.reset == "subtract" else 0.0
    least = min(membrane[0], membrane[0] - amount, layer.current[0])
    most = max(membrane[1], membrane[1] - float(np.min(layer.amount)) * (op.reset == "subtract"))
    # Where a membrane may reach the end of its range, it saturates there, which 16 bits do not.
    end = op.fixed.limit / (1 << layer.shift) if op.fixed else np.inf
    largest = max(-least, most, layer.current[1], abs(op.initial), abs(amount))
    return largest <= NARROW and largest < end


def _require(layer: Layer, steps: int) -> None:
    """Raise CpuError where 32 bits, or whole numbers, do not hold what a neuron computes."""
    op = layer.neuron
    assert op is not None
    largest = max(-layer.current[0], layer.current[1]) * (1 << layer.shift)
    current = 0.0
    for _ in range(steps if op.current_decay else 1):
        current = current * op.current_decay + largest
    membrane = float(op.fixed.limit) if op.fixed else abs(op.initial) + current * steps
    if op.reset == "subtract":
        membrane += (
            float(np.abs(layer.amount).max()) * (1 << layer.shift) * (1 if op.fixed else steps)
        )
    if max(current, membrane) > WIDE:
        raise CpuError(
            "the cpu executor computes in 32 bits",
            where=layer.name,
            found=f"currents of up to {current:g}, membranes of up to {membrane:g}",
            allowed=f"{WIDE}",
            remedy="run the quantize pass: a chip holds no such numbers either",
        )
    unit = 1 << layer.shift
    off = [
        what
        for what, value in (
            ("decay", np.array(op.decay * 4096)),
            ("decay of the current", np.array(op.current_decay * 4096)),
            ("initial membrane", np.array(op.initial * unit)),
            ("reset amount", layer.amount * unit if op.reset == "subtract" else np.zeros(1)),
        )
        if not bool((np.rint(value) == value).all())
    ]
    if op.fixed is None and op.decay not in (0.0, 1.0):
        off.append("decay in real numbers")
    if op.fixed is None and op.current_decay:
        off.append("decay of the current in real numbers")
    if off:
        raise CpuError(
            "the cpu executor computes in integers",
            where=layer.name,
            found=", ".join(off),
            allowed="whole numbers of the neuron's own units",
            remedy="run the quantize pass",
        )


def whole_neuron(op: Neuron) -> tuple[int, int]:
    """(decay, current decay) in 4096ths."""
    return round(op.decay * 4096), round(op.current_decay * 4096)
