"""What each NIR node does to values, and what it costs: from NIR's definitions, node by node.

NIR 1.0.8, https://neuroir.org/docs/primitives.html. Discretised by forward Euler:
``v += dt / tau * ((v_leak - v) + r * x)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.checker.statement import Statement
from purespike.compiler.checker.values import ANYTHING, SPIKES, Values, scaled, weighted

Fields = Mapping[str, NDArray[Any] | str]

SYNAPSES = ("Affine", "Linear", "Conv1d", "Conv2d", "Scale", "SumPool2d")
FIRING = ("Threshold", "IF", "LIF", "CubaLIF")
INTEGRATORS = ("I", "LI", "CubaLI")
CARRIERS = ("Flatten", "Delay")
PORTS = ("Input", "Output")
KNOWN = (*SYNAPSES, *FIRING, *INTEGRATORS, *CARRIERS, *PORTS, "AvgPool2d")


def sends(fields: Fields, x: Values) -> Values:
    """The values that a node makes of those that it receives; Input nodes receive nothing."""
    kind = fields.get("type")
    if kind in FIRING:
        return SPIKES
    if kind in CARRIERS or kind == "Output":
        return x
    if kind == "Scale":
        return scaled(array(fields, "scale"), x)
    if kind in ("SumPool2d", "AvgPool2d"):
        area = _area(fields)
        tap = 1.0 if kind == "SumPool2d" else 1.0 / area
        return weighted(np.full((1, area), tap), None, x)
    if kind in SYNAPSES:
        bias = array(fields, "bias") if "bias" in fields else None
        return weighted(array(fields, "weight"), bias, x)
    if kind == "I":  # a sum over time: it keeps the grid and no bound
        gain = _uniform(array(fields, "r"))
        grid = x.grid if gain == 1 else 0.0
        return Values(-math.inf if x.lo < 0 else 0.0, math.inf if x.hi > 0 else 0.0, grid)
    return ANYTHING


def multiplies(fields: Fields, stated: Statement) -> dict[str, str]:
    """What a neuron multiplies in every step: {'leak' or 'gain': the factor in words}."""
    kind = fields.get("type")
    found: dict[str, str] = {}
    gain = array(fields, "r") if "r" in fields else np.ones(1)
    for tau in (f for f in ("tau", "tau_mem", "tau_syn") if f in fields):
        if stated.dt is None:
            return {"leak": f"{tau} without a dt that says how much leaks in a step"}
        part = stated.dt / array(fields, tau).astype(np.float64)
        if not bool(_near(part, 1.0).all()):
            found["leak"] = f"{tau} leaks {_range(part)} of itself a step"
        if tau == "tau_syn":
            gain = gain * part
            if "w_in" in fields:  # not in old files: 1, as nir reads them
                gain = gain * array(fields, "w_in")
        else:
            gain = gain * part
    if kind in ("IF", "I") and stated.r_times_dt:
        if stated.dt is None:
            return {"gain": "r * dt without dt"}
        gain = gain * stated.dt
    if not bool(_near(gain, 1.0).all()):
        found["gain"] = f"multiplies its input by {_range(gain)}"
    return found


def array(fields: Fields, name: str) -> NDArray[Any]:
    """A numeric field; KeyError or TypeError where there is none."""
    value = fields[name]
    if isinstance(value, str) or value.size == 0:
        raise TypeError(f"{name} is not an array of numbers")
    return value


def _area(fields: Fields) -> int:
    kernel = array(fields, "kernel_size")
    # One number without an axis may be a square: more taps than there are, and still a bound.
    return int(kernel.prod()) if kernel.ndim else int(kernel) ** 2


def _uniform(x: NDArray[Any]) -> float:
    return float(x.flat[0]) if bool((x == x.flat[0]).all()) else math.nan


def _near(x: NDArray[Any], value: float) -> NDArray[np.bool_]:
    # tau and r are rounded when they are written: a few units in the last place.
    near: NDArray[np.bool_] = np.abs(x - value) <= 1e-9
    return near


def _range(x: NDArray[Any]) -> str:
    low, high = float(np.min(x)), float(np.max(x))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
