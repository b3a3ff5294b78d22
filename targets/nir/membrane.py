"""How a neuron of the graph becomes a NIR node: units, comparison, exact inverses.

NIR fires on strict ``v > threshold``, the graph on ``v >= threshold``. Both say the same when the
threshold goes down by the smallest step that the membrane can take.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import INTEGER, Array, Domain, on_grid
from purespike.compiler.ir.graph import Shape
from purespike.compiler.ir.ops import Neuron
from purespike.targets.nir.document import Fields


def narrow(x: Array, *, first: int = 32) -> NDArray[Any]:
    """``x`` in the smallest type that holds it exactly: int8 (from ``first`` bits) to float64.

    Whole numbers become integers, so that a quantized network is one in the file, too.
    """
    if on_grid(x, 1.0):
        ends = (float(x.min(initial=0.0)), float(x.max(initial=0.0)))
        for bits in (b for b in (8, 16, 32, 64) if b >= first):
            # 2**63 is a float, 2**63 - 1 is not: keep clear of it.
            if all(abs(end + 0.5) < 2.0 ** (bits - 1) for end in ends):
                return x.astype(f"<i{bits // 8}")
    single = x.astype("<f4") if bool((np.abs(x) < 3e38).all()) else None
    if single is not None and bool((single == x).all()):
        return single
    return x.astype("<f8")


def grid(op: Neuron, x: Domain) -> float:
    """The step by which ``op``'s membrane and thresholds move for inputs in ``x``; 0 if none.

    A fixed-point membrane that saturates leaves the integers, but saturation is beyond NIR anyway.
    """
    unit = 2.0**op.fixed.fraction_bits if op.fixed else 1.0
    values = [np.array(op.initial), op.threshold]
    if op.reset == "subtract":
        values.append(op.amount)
    if not op.leaks and x <= INTEGER and _whole(values, 1.0):
        return 1.0
    if op.fixed and x <= Domain(-math.inf, math.inf, 1 / unit) and _whole(values, unit):
        return 1 / unit
    return 0.0


def _whole(values: list[Array], unit: float) -> bool:
    return all(bool((np.rint(v * unit) == v * unit).all()) for v in values)


def strict_threshold(threshold: Array, step: float) -> Array:
    """The threshold for ``>`` that says the same as ``threshold`` for ``>=``.

    Args:
        threshold: The graph's threshold, on the grid of ``step`` if there is one.
        step: Grid of the membrane; 0 for real numbers, where it is the next float64 below.
    """
    return threshold - step if step else np.nextafter(threshold, -np.inf)


def loose_threshold(threshold: Array, step: float) -> Array:
    """The exact inverse of `strict_threshold`."""
    return threshold + step if step else np.nextafter(threshold, np.inf)


def inert(op: Neuron, x: Domain, steps: int) -> bool:
    """Is fixed-point arithmetic the same as real numbers for every input, over ``steps`` steps?

    True when nothing is rounded (decay 0 or 1 on the grid) and ``|initial| + steps * (max |x| +
    max |amount|)`` stays within the width: NIR has no word for rounding and saturation.
    """
    if op.fixed is None:
        return True
    unit = 2.0**op.fixed.fraction_bits
    amount = op.amount if op.reset == "subtract" else np.zeros(1)
    fits = x <= Domain(-math.inf, math.inf, 1 / unit)
    if op.leaks or not fits or not _whole([amount], unit):
        return False
    gain = max(abs(x.lo), abs(x.hi)) + float(np.abs(amount).max())
    peak = abs(op.initial) + (steps if op.decay else 1) * gain
    return peak * unit <= op.fixed.limit and float(op.initial * unit).is_integer()


def neuron_fields(op: Neuron, shape: Shape, dt: float, step: float) -> Fields:
    """The NIR node of a neuron, with full parameter arrays.

    I, LI, Threshold, IF or LIF; with a synaptic current CubaLI or CubaLIF.
    ``tau = dt / (1 - decay)`` and ``r = tau / dt`` make forward Euler, ``v += dt / tau * ((v_leak
    - v) + r * x)``, equal to ``decay * v + x``. IF and I have ``r = 1``: one step adds the input
    once. The current likewise: ``tau_syn = dt / (1 - current_decay)``, ``w_in = tau_syn / dt``.
    """
    ones = np.ones(shape)
    if op.current_decay:
        current, leak = _leak(op.current_decay, dt, shape), _leak(op.decay, dt, shape)
        fields: Fields = {
            "type": "CubaLIF" if op.fires else "CubaLI",
            "tau_syn": current["tau"],
            "w_in": current["r"],
            "tau_mem": leak["tau"],
            "r": leak["r"],
            "v_leak": np.zeros(shape, "<f8"),
        }
        return fields | (_fires(op, shape, step) if op.fires else {})
    if not op.fires:
        if op.decay == 1:
            return {"type": "I", "r": narrow(ones)}
        return {"type": "LI", **_leak(op.decay, dt, shape), "v_leak": narrow(0 * ones)}
    fires = _fires(op, shape, step)
    if op.decay == 0:
        return {"type": "Threshold", "threshold": fires["v_threshold"]}
    if op.decay == 1:
        return {"type": "IF", "r": narrow(ones), **fires}
    return {"type": "LIF", **_leak(op.decay, dt, shape), "v_leak": fires["v_reset"], **fires}


def _fires(op: Neuron, shape: Shape, step: float) -> dict[str, NDArray[Any]]:
    threshold = narrow(np.broadcast_to(strict_threshold(op.threshold, step), shape))
    return {"v_threshold": threshold, "v_reset": np.zeros(shape, threshold.dtype)}


def _leak(decay: float, dt: float, shape: Shape) -> dict[str, NDArray[Any]]:
    # What never fades gets a time constant so long that ``1 - dt / tau`` is 1 in float64.
    tau = dt / (1 - decay) if decay < 1 else dt * 2.0**60
    return {"tau": np.full(shape, tau, "<f8"), "r": np.full(shape, tau / dt, "<f8")}
