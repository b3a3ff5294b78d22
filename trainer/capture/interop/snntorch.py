"""snnTorch's neurons in the graph, as its version 1.0 computes them.

They fire on ``mem > threshold``: the graph's ``>=`` meets the next larger float64. A reset acts
in the step after the spike, together with its decay, ``mem <- beta mem + x - threshold s``; that
is the graph's reset in the same step with the amount ``threshold / beta``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from torch import Tensor

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.ops.neuron import Reset
from purespike.trainer.capture.conversions import CaptureError, Converted, require
from purespike.trainer.capture.interop.firing import fires

NEURON: Final = "snntorch._neurons"
_RESETS = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}


def _one(x: Tensor, what: str, m: Any, path: str) -> float:
    """The value that all neurons of a layer share."""
    values = np.unique(x.detach().cpu().double().numpy())
    if values.size != 1:
        raise CaptureError(
            f"this {type(m).__name__} has a {what} for each neuron",
            where=path,
            found=f"{values.size} values, {values.min():g} to {values.max():g}",
            allowed=f"one {what} for the layer: a Loihi neuron process has one du and one dv",
            remedy=f"make it with one number (a learned {what} too), or split the layer into one "
            "for each value",
        )
    return float(values[0])


def _threshold(m: Any, shape: tuple[int, ...], path: str) -> Array:
    value: Array = m.threshold.detach().cpu().double().numpy()
    value = value.reshape(()) if value.size == 1 else value
    require(value.ndim <= len(shape), path, m, f"thresholds for {shape}, without a batch axis")
    require(bool((np.isfinite(value) & (value >= 0)).all()), path, m, "thresholds of 0 and more")
    return value


def _spiking(
    m: Any,
    shape: tuple[int, ...],
    path: str,
    *,
    decay: float,
    scale: float = 1.0,
    current_decay: float = 0.0,
    drops_input: bool = False,
) -> Converted:
    """The neuron of a layer; ``drops_input``: its late reset to zero takes an input too."""
    require(not m.inhibition and not m.state_quant, path, m, "no inhibition, no state_quant")
    require(_one(m.graded_spikes_factor, "factor", m, path) == 1, path, m, "spikes of 0 and 1")
    require(fires(m.spike_grad, at_zero=False), path, m, "a spike_grad that fires above 0")
    require(hasattr(m, "mem") and 0 <= decay <= 1, path, m, "a membrane that decays by 0 to 1")
    threshold = _threshold(m, shape, path)
    mechanism = _RESETS[m.state_function.__name__]
    late = bool(getattr(m, "reset_delay", True))
    require(m.reset_mechanism == mechanism, path, m, "the reset_mechanism that it was made with")
    reset: Reset = "zero" if mechanism == "zero" else "subtract"
    amount = np.zeros(())  # what nothing resets has nothing subtracted
    if mechanism == "subtract":
        # At once, what is left above the threshold would reset again without a spike.
        require(late, path, m, "reset_delay=True where the reset subtracts")
        require(decay > 0, path, m, "a reset that outlives its step: beta above 0")
        amount = threshold / decay
    elif mechanism == "zero":
        require(not (late and drops_input), path, m, "reset_mechanism 'subtract' or 'none'")
        amount = threshold
    above = np.nextafter(threshold, np.inf)
    op = ops.Neuron(above, decay, reset, amount, current_decay=current_decay)
    return [*([] if scale == 1.0 else [(".input", ops.Scale(np.asarray(scale)))]), ("", op)]


def _leaky(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    return _spiking(m, shape, path, decay=_one(m.beta.clamp(0, 1), "beta", m, path))


def _lapicque(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    step, r, c = (_one(x, "circuit", m, path) for x in (m.time_step, m.R, m.C))
    scale = r * (1 / (r * c)) * step
    decay = 1 - step / (r * c)
    return _spiking(m, shape, path, decay=decay, scale=scale, drops_input=True)


def _synaptic(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    alpha = _one(m.alpha.clamp(0, 1), "alpha", m, path)
    beta = _one(m.beta.clamp(0, 1), "beta", m, path)
    return _spiking(m, shape, path, decay=beta, current_decay=alpha, drops_input=True)


NEURONS: dict[str, Callable[..., Converted]] = {
    "Leaky": _leaky,
    "Lapicque": _lapicque,
    "Synaptic": _synaptic,
}


def gives_state(m: Any) -> bool:
    """Does a neuron return its state beside its spikes?"""
    return bool(m.output or not m.init_hidden)
