"""A step without what only repeats its states.

1. A comparison that fires where a membrane is low is one minus its opposite.
2. The spikes of the step before may be handed in beside the membrane that made them. Where they
   are a comparison of that membrane they are written as one: ``[m > threshold]``.
3. A reset at once may also look for spikes of the step before (snnTorch's ``reset_delay=False``
   with ``'zero'``). It leaves no membrane above the threshold, so there are none.

The last two hold for every step of a sample, because states start at zero, below the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.forms import (
    ONE,
    Atom,
    Form,
    Real,
    Spike,
    atom,
    constant,
    plus,
    same,
    scaled,
    times,
)
from purespike.compiler.ir.graph import Shape
from purespike.targets.onnx.foreign.spikes import over, rests, threshold


class Rewriter:
    """Puts values in the place of atoms, inside of comparisons as well."""

    def __init__(self, atoms: Atoms, known: Mapping[Atom, Form]) -> None:
        self.atoms, self.known = atoms, known
        self._images: dict[Atom, Form] = {}

    def __call__(self, value: Form) -> Form:
        """The value with all of them replaced."""
        if not self.known:
            return value
        total = constant(value.shape, 0.0)
        for monomial, factor in value.terms.items():
            term = Form(value.shape, {ONE: factor})
            for a in monomial:
                term = times(term, self._image(a, value.shape))
            total = plus(total, term)
        return total

    def spike(self, s: Spike) -> Spike:
        """What a comparison is then; itself, if it is none any more."""
        (image,) = self._image(s, s.gap.shape).spikes() or (s,)
        return image

    def _image(self, a: Atom, shape: Shape) -> Form:
        if a not in self._images:
            if a in self.known:
                image = self(self.known[a])
            elif isinstance(a, Spike) and (gap := self(a.gap)).key() != a.gap.key():
                image = self.atoms.spike(gap, a.strict, a.name, a.where)
            else:
                image = atom(a, shape)
            self._images[a] = image
        return self._images[a]


def without_echoes(atoms: Atoms, states: Mapping[Real, Form]) -> Rewriter:
    """What writes the values of a step without repetitions.

    Args:
        atoms: Of the file.
        states: The next value of each state.
    """
    membranes = {r for r, value in states.items() if r in value.reals()}
    known: dict[Atom, Form] = {}
    turn = Rewriter(atoms, known)
    for s in tuple(atoms.spikes):  # in order: a comparison holds earlier ones
        gap = turn(s.gap)
        signs = [gap.of(r) for r in gap.reals() if r in membranes]
        if signs and all(bool((c < 0).all()) for c in signs):
            known[s] = atoms.turned(gap, s)
    states = {real: turn(value) for real, value in states.items()}
    for real, value in states.items():
        (spike,) = value.spikes() if len(value.spikes()) == 1 else (None,)
        if spike is None or not same(value, atom(spike, value.shape)):
            continue
        for m, update in states.items():
            found = over(spike, update) if m in update.reals() else None
            if found is None:
                continue
            k, c = found
            gap = plus(scaled(atom(m, m.shape), k), constant(m.shape, c))
            before = atoms.spike(gap, spike.strict, spike.name, spike.where)
            if all(rests(s) and same(before, atom(s, m.shape)) for s in before.spikes()):
                known = {**known, real: before}
    handed = Rewriter(atoms, known)
    for m, update in states.items():
        if (early := _never(atoms, m, handed(update))) is not None:
            known = {**known, early: constant(m.shape, 0.0)}
    return Rewriter(atoms, known)


def _never(atoms: Atoms, m: Real, update: Form) -> Spike | None:
    """The comparison of a membrane in its own update that can never hold."""
    held = atom(m, m.shape)
    own = [s for s in update.spikes() if m in s.gap.reals()]
    early = [s for s in own if over(s, held) is not None]
    prompt = [s for s in own if s not in early]
    if len(early) != 1 or len(prompt) != 1 or not rests(early[0]):
        return None
    without = Rewriter(atoms, {early[0]: constant(m.shape, 0.0)})
    fires = without.spike(prompt[0])
    u, effect = without(update).split(fires)
    if over(fires, u) is None or not same(effect, scaled(u, -1.0)) or effect.constant():
        return None
    above = threshold(fires, u) <= threshold(early[0], held)
    return early[0] if bool(np.all(above)) else None
