"""Comparisons: made, told apart, and read as thresholds of a value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.forms import (
    MAX_VALUES,
    Form,
    Real,
    Spike,
    atom,
    constant,
    is_binary,
    least,
    minus,
    ratio,
    scaled,
)


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


@dataclass
class Atoms:
    """Makes the atoms of one file; equal spikes are one."""

    count: int = 0
    spikes: list[Spike] = field(default_factory=list)
    layers: list[Real] = field(default_factory=list)
    _known: dict[tuple[object, ...], Spike] = field(default_factory=dict)
    _reads: dict[Spike, frozenset[Real]] = field(default_factory=dict)

    def real(
        self,
        name: str,
        shape: Shape,
        where: str = "",
        op: Op | None = None,
        source: Form | None = None,
    ) -> Real:
        """A new tensor.

        Raises:
            OnnxError: If it is too large for any network that is meant.
        """
        if math.prod(shape) > MAX_VALUES:
            raise OnnxError(
                "a tensor is too large",
                found=f"{math.prod(shape):,} values a sample",
                allowed=f"{MAX_VALUES:,}",
            )
        self.count += 1
        made = Real(self.count, name, shape, where, op, source)
        self.layers += [made] if op else []
        return made

    def spike(self, gap: Form, strict: bool, name: str, where: str) -> Form:
        """``[gap > 0]``, or ``[gap >= 0]``, as a value."""
        return atom(self._one(gap, strict, name, where), gap.shape)

    def turned(self, gap: Form, s: Spike) -> Form:
        """A spike by its opposite: ``[gap > 0]`` is ``1 - [-gap >= 0]``."""
        other = self.spike(scaled(gap, -1.0), not s.strict, s.name, s.where)
        return minus(constant(gap.shape, 1.0), other)

    def gated(self, value: Form, name: str, where: str) -> Form:
        """Logic of two neurons' spikes as one spike, so that no later value names both."""
        pair = value.spikes()
        if value.reals() or len(pair) != 2 or not is_binary(value):
            return value
        if self._inputs(pair[0]) & self._inputs(pair[1]):
            return value  # one neuron's spikes of two steps: its reset may take both
        return self.spike(minus(value, constant(value.shape, 0.5)), True, name, where)

    def _inputs(self, spike: Spike) -> frozenset[Real]:
        """The inputs and states that a spike compares, those of the gates in it included."""
        if spike not in self._reads:
            inner = (self._inputs(s) for s in spike.gap.spikes())
            own = frozenset(r for r in spike.gap.reals() if r.op is None)
            self._reads[spike] = own.union(*inner)
        return self._reads[spike]

    def _one(self, gap: Form, strict: bool, name: str, where: str) -> Spike:
        key = (gap.key(), strict)
        if key not in self._known:
            self.count += 1
            self._known[key] = Spike(self.count, gap, strict, name, where)
            self.spikes.append(self._known[key])
        return self._known[key]
