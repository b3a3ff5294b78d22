"""What a page keeps of the golden samples: spikes in bits, membranes as changes, within a budget.

For the script, as JSON in a data block; no text of a user's is in it, layers go by their numbers.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.interpret import Trace

BUDGET = 600_000  # characters of all layers of a page
_SAMPLES, _NEURONS, _STEPS = 8, 64, 256  # at most
_UNIT = 64  # parts of a weight in which golden membranes are kept


@dataclass(frozen=True)
class Kept:
    """What was kept, and of how much.

    Attributes:
        samples: How many, the first ones.
        of_samples: How many there are.
        steps: How many, the first ones.
        of_steps: How many there are.
        neurons: Of a layer, at most.
        data: By name of the layer: numbers of its neurons ``n``, how many it has ``of``, packed
            spikes ``s`` and membranes ``m``; thresholds ``t`` where those of the layer differ.
    """

    samples: int
    of_samples: int
    steps: int
    of_steps: int
    neurons: int
    data: Mapping[str, Mapping[str, Any]]

    def words(self) -> str:
        """What was kept and what was left out, in a sentence."""
        return (
            f"This page keeps {self.samples} of {self.of_samples} golden samples, "
            f"{self.steps} of {self.of_steps} steps, and of each layer at most {self.neurons} "
            "neurons, evenly spaced; golden.npz has all of them."
        )

    def block(self, numbers: Mapping[str, int]) -> str:
        """The data block; ``numbers`` of the layers by name."""
        layers = {str(numbers[name]): own for name, own in self.data.items()}
        whole = {"samples": self.samples, "steps": self.steps, "unit": _UNIT, "layers": layers}
        return json.dumps(whole, separators=(",", ":"), sort_keys=True)


def keep(trace: Trace, thresholds: Mapping[str, NDArray[np.float64]]) -> Kept | None:
    """As much of a run as fits into the budget; None of a run in which nothing was recorded.

    Args:
        trace: Spikes (T, B, *shape) by layer, and membranes after the reset in 64ths of a weight.
        thresholds: (*shape) in weights, of layers whose neurons do not all have the same.
    """
    arrays = {**trace.membranes, **trace.values}
    names = [n for n in dict.fromkeys((*trace.membranes, *trace.values)) if arrays[n].size]
    if not names:
        return None
    all_steps, all_samples = arrays[names[0]].shape[:2]
    steps = min(all_steps, _STEPS)
    samples, neurons = min(all_samples, _SAMPLES), _NEURONS
    while True:
        data = {n: _layer(trace, thresholds, n, steps, samples, neurons) for n in names}
        size = sum(len(json.dumps(own)) for own in data.values())
        if size <= BUDGET or (samples, neurons, steps) == (1, 1, 1):
            break
        if neurons > 16 or (samples == 1 and neurons > 1):
            neurons //= 2
        elif samples > 1:
            samples //= 2
        else:
            steps //= 2
    return Kept(samples, all_samples, steps, all_steps, neurons, data)


def _layer(
    trace: Trace,
    thresholds: Mapping[str, NDArray[np.float64]],
    name: str,
    steps: int,
    samples: int,
    neurons: int,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, arrays in (("s", trace.values), ("m", trace.membranes)):
        if name not in arrays:
            continue
        flat = arrays[name][:steps, :samples].reshape(steps, samples, -1)
        size = flat.shape[2]
        chosen = np.unique(np.linspace(0, size - 1, min(neurons, size)).round().astype(int))
        rows = flat[:, :, chosen].transpose(1, 2, 0)  # (sample, neuron, step)
        packed = np.packbits(rows != 0).tobytes() if key == "s" else changes(rows)
        found |= {"n": chosen.tolist(), "of": size, key: b64encode(packed).decode()}
    if name in thresholds:
        own = thresholds[name].ravel()[found["n"]]
        found["t"] = [float(x) if np.isfinite(x) else None for x in own]
    return found


def changes(rows: NDArray[Any]) -> bytes:
    """Integers (..., step) as changes from step to step, each in as few bytes as it needs.

    Seven bits a byte, the lowest first, the eighth bit where more follow; a change of x is written
    as 2 x, or -2 x - 1 where it is below zero (zigzag, as in Protocol Buffers).
    """
    steps = np.diff(rows.astype(np.int64), axis=-1, prepend=0).ravel()
    left = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint64)
    columns, present = [], []
    needed = np.ones(left.shape, bool)
    while needed.any():
        rest = left >> np.uint64(7)
        more = rest > 0
        columns.append((left & np.uint64(127)).astype(np.uint8) | (more.astype(np.uint8) << 7))
        present.append(needed)
        left, needed = rest, more
    if not columns:
        return b""
    written: bytes = np.stack(columns, axis=-1)[np.stack(present, axis=-1)].tobytes()
    return written
