"""Neurons of sinabs 3.1 in the graph: IAF and LIF, which by default send several spikes in a step.

``MultiSpike`` sends ``v_mem / spike_threshold`` rounded down and takes as many thresholds off: a
count, whose levels are neurons. How many there are says ``MaxSpike(n)``, or the input: behind the
reset less than one threshold is left, so that no step reaches more than ``alpha * threshold + x``.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Op
from purespike.trainer.capture.conversions import CaptureError, Converted, require

NEURON: Final = "sinabs.layers.stateful_layer"
FLAT: Final = ("IAFSqueeze", "LIFSqueeze")  # take (B T, ...)
KNOWN: Final = ("IAF", "LIF", *FLAT)
SENDS: Final = ("SingleSpike", "MultiSpike", "MaxSpike")


def converted(m: Any, path: str, domain: Domain) -> Converted:
    """The operations of a neuron, from what its current can be.

    Raises:
        CaptureError: If it is none that the graph has, or nothing bounds what it sends.
    """
    kind, sends = type(m).__name__, _name(getattr(m, "spike_fn", None))
    known = type(m).__module__.startswith("sinabs.layers.")
    if kind not in KNOWN or not known or sends not in SENDS or "forward" in vars(m):
        raise CaptureError(
            f"this {kind} of sinabs computes in its own way",
            where=path,
            found=f"spike_fn={sends}",
            allowed=f"{', '.join(KNOWN)} with {', '.join(SENDS)}",
            remedy="use IAF or LIF with spike_fn=SingleSpike, or with MaxSpike(n)",
        )
    require(m.min_v_mem is None, path, m, "min_v_mem=None: a membrane without a floor")
    threshold = _number(m, "spike_threshold", path)
    require(math.isfinite(threshold) and threshold > 0, path, m, "spike_threshold above 0")
    alpha = _number(m, "alpha_mem_calculated", path)
    gain = float(1 - m.alpha_mem_calculated.detach()) if m.norm_input else 1.0
    current = 0.0 if m.alpha_syn_calculated is None else _number(m, "alpha_syn_calculated", path)
    gain *= current or 1.0
    front: Converted = [] if gain == 1 else [(".input", ops.Scale(np.asarray(gain)))]
    zero = _resets_to_zero(m, path)
    if sends == "SingleSpike":
        reset: Any = "zero" if zero else "subtract"
        amount = np.asarray(_taken(m, threshold))
        op: Op = ops.Neuron(np.asarray(threshold), alpha, reset, amount, current_decay=current)
        return [*front, ("", op)]
    require(not current, path, m, "tau_syn=None, or spike_fn=SingleSpike")
    require(not zero and _taken(m, threshold) == threshold, path, m, "the reset MembraneSubtract()")
    most = getattr(m.spike_fn, "max_num_spikes_per_bin", None)
    bound = alpha * threshold + gain * domain.hi
    reached = [max(1, math.floor(bound / threshold * (1 + 1e-9)))] if math.isfinite(bound) else []
    limits = [*reached, *([] if most is None else [int(most)])]
    if not limits:
        raise _unbounded(kind, path, domain)
    count = min(limits)
    thresholds = [_least(d, threshold) for d in range(1, count + 1)]
    return [*front, ("", ops.Levels(np.asarray(thresholds), alpha, np.asarray(threshold)))]


def _name(sends: Any) -> str:
    return str(getattr(sends, "__name__", type(sends).__name__ if sends else "None"))


def _number(m: Any, name: str, path: str) -> float:
    value = getattr(m, name).detach().double().reshape(-1)
    require(bool((value == value[0]).all()), path, m, f"one {name.split('_calc')[0]} for the layer")
    return float(value[0])


def _resets_to_zero(m: Any, path: str) -> bool:
    kind = type(m.reset_fn).__name__
    zero = kind == "MembraneReset" and m.reset_fn.reset_value == 0
    require(zero or kind == "MembraneSubtract", path, m, "MembraneSubtract() or MembraneReset(0)")
    return bool(zero)


def _taken(m: Any, threshold: float) -> float:
    given = getattr(m.reset_fn, "subtract_value", None)
    return threshold if given is None else float(given)


def _least(level: int, threshold: float) -> float:
    """The least float64 that sinabs' quotient, which is rounded, takes for a level."""
    least = level * threshold
    while np.trunc(least / threshold) < level:
        least = math.nextafter(least, math.inf)
    while np.trunc(math.nextafter(least, 0.0) / threshold) >= level:
        least = math.nextafter(least, 0.0)
    return least


def _unbounded(kind: str, path: str, domain: Domain) -> CaptureError:
    return CaptureError(
        f"nothing bounds how many spikes this {kind} of sinabs sends in a step: each level is a "
        "neuron of its own on a chip",
        where=path,
        found=f"spike_fn=MultiSpike on a current of {domain}",
        allowed="spike_fn=MaxSpike(n) or SingleSpike; MultiSpike behind a layer that reads spikes",
        remedy="make it with spike_fn=MaxSpike(n), n the most that its output has on your data, "
        "which it is exact for",
    )


def is_flat(model: nn.Module) -> bool | None:
    """Do its neurons take (B T, ...) or (B, T, ...)? None if it has none of sinabs."""
    kinds = {
        type(m).__name__ in FLAT
        for m in model.modules()
        if any(c.__module__ == NEURON for c in type(m).__mro__)
    }
    return None if not kinds else True in kinds


def reset(module: Any) -> None:
    """Bring a neuron to rest, whatever the size of its last batch was."""
    for name, buffer in list(module._buffers.items()):
        module._buffers[name] = buffer.new_zeros(0)
