"""The atoms of one network: made, told apart, and joined to gates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations

from purespike.compiler.ir.forms import (
    MAX_VALUES,
    Form,
    Real,
    Spike,
    atom,
    constant,
    minus,
    scaled,
)
from purespike.compiler.ir.graph import IRError, Op, Shape
from purespike.compiler.ir.logic import as_logic


@dataclass
class Atoms:
    """Makes the atoms of one network; equal spikes are one.

    Attributes:
        states: Whether tensors may be states, so that two spikes may be one neuron's of two steps.
    """

    states: bool = True
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
            IRError: If it is too large for any network that is meant.
        """
        if math.prod(shape) > MAX_VALUES:
            raise IRError(
                "a tensor is too large",
                found=f"{math.prod(shape):,} values per sample",
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
        """Logic of several neurons' spikes as one spike, so that no later value names them all."""
        logic = as_logic(value)
        if logic is None:
            return value
        inner = logic.spikes()
        if len(inner) < 2:
            return logic  # all but one of them made no difference
        if self.states and any(
            self._inputs(a) & self._inputs(b) for a, b in combinations(inner, 2)
        ):
            return value  # one neuron's spikes of two steps: its reset may take both
        return self.spike(minus(logic, constant(value.shape, 0.5)), True, name, where)

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
