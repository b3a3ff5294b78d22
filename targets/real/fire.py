"""A layer of neurons on a current that is known, by itself: how often rounding is tried on it."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.quantize.replay_layers import fire
from purespike.targets.real.run import kernel

_INT, _DOUBLE, _POINTER = ctypes.c_int32, ctypes.c_double, ctypes.c_void_p


class _Fire(ctypes.Structure):
    _fields_ = [
        *((n, _INT) for n in ("steps", "samples", "channels", "places", "reset", "fixed")),
        *((n, _DOUBLE) for n in ("decay", "start", "unit", "limit")),
        *((n, _POINTER) for n in ("current", "shift", "threshold", "amount", "out")),
    ]


def fire_real(op: Op, current: Array, shift: Array | None = None) -> NDArray[np.generic]:
    """As `fire`, bit for bit, spikes in a byte each; what has no kernel, numpy computes.

    Args:
        op: Neurons.
        current: (T, B, channels, *places).
        shift: What is added at every step (channels,).
    """
    found = kernel()
    if isinstance(found, str) or type(op) is not Neuron or not op.fires or op.current_decay:
        return fire(op, current, shift)
    steps, samples, channels, *image = current.shape
    places = int(np.prod(image))
    unit = float(1 << op.fixed.fraction_bits) if op.fixed else 1.0

    def by_neuron(values: Array) -> Array:
        return np.ascontiguousarray(np.broadcast_to(values * unit, (channels, *image)))

    held = [
        np.ascontiguousarray(current, dtype=np.float64),
        np.zeros(channels) if shift is None else np.ascontiguousarray(shift, dtype=np.float64),
        by_neuron(op.threshold),
        by_neuron(op.amount),
    ]
    out = np.empty(current.shape, np.uint8)
    given = _Fire(steps, samples, channels, places, op.reset == "subtract", op.fixed is not None,
                  op.decay, op.initial * unit, unit, op.fixed.limit if op.fixed else 0.0,
                  *(a.ctypes.data for a in held), out.ctypes.data)  # fmt: skip
    found.fire.restype = None
    found.fire(ctypes.byref(given))
    return out
