"""Comparisons, read as thresholds of a value."""

from __future__ import annotations

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.forms import Form, Spike, least, ratio
from purespike.targets.onnx.body import OnnxError


def over(spike: Spike, value: Form) -> tuple[Array, Array] | None:
    """(k, c) such that the spike is ``[k * value + c > 0]`` with k > 0; None if there are none."""
    found = ratio(spike.gap, value)
    return found if found is not None and bool((found[0] > 0).all()) else None


def threshold(spike: Spike, value: Form) -> Array:
    """The least float64 of ``value`` at which the spike fires: `over` has said that there is one.

    Raises:
        OnnxError: If the spike does not compare this value.
    """
    found = over(spike, value)
    if found is None:
        raise OnnxError("a comparison of something else", where=spike.where)
    level = np.asarray(-found[1] / found[0] + 0.0)
    if value.of().any():  # a constant was added to both sides: what that rounded is undone
        level = np.where(np.abs(level) < 1e-12 * np.abs(value.of()), 0.0, level)
        single = level.astype(np.float32).astype(np.float64)
        level = np.where(np.isclose(level, single, rtol=1e-12, atol=0.0), single, level)
        level = least(level)
    return np.nextafter(level, np.inf) if spike.strict else level


def rests(spike: Spike) -> bool:
    """Is it silent where all that it compares is zero, as states are when a sample starts?"""
    level = spike.gap.of()
    return not bool((level > 0).any() if spike.strict else (level >= 0).any())
