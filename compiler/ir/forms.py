"""Values of one time step as polynomials: what arithmetic computes, whatever operators say it.

A value is a sum of terms, each a constant array times some *atoms*. An atom is a real-valued
tensor that is not looked into (an input, a state, what a layer makes) or a spike, ``[gap > 0]``. A
spike is 0 or 1, so ``s * s = s``, and a term names each atom once. Two values that operators make
in different order have equal terms; that is how an update of a membrane is recognised.

A gate is a spike, too: one whose gap is made of spikes alone.

Coefficients are float64, made of the constants in the file or module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import IRError, Op, Shape

MAX_TERMS = 64
MAX_SPIKES = 4  # whose truth table is written down
MAX_VALUES = 2**26  # of a tensor: 40 times the largest of a residual network on 224 x 224
_CLOSE = 1e-12  # relative: what float64 loses when two constants are multiplied in another order


@dataclass(frozen=True, eq=False)
class Real:
    """A tensor (N, *shape) of real numbers: an input of the graph, or what a layer makes."""

    index: int
    name: str
    shape: Shape
    where: str = ""
    op: Op | None = None
    source: Form | None = None


@dataclass(frozen=True, eq=False)
class Spike:
    """1 where ``gap > 0`` (strict) or ``gap >= 0``, else 0."""

    index: int
    gap: Form
    strict: bool
    name: str
    where: str

    @property
    def gate(self) -> bool:
        """Is it made of spikes alone?"""
        return not self.gap.reals()


Atom = Real | Spike
Monomial = frozenset[Atom]
ONE: Monomial = frozenset()


@dataclass(frozen=True, eq=False)
class Form:
    """A sum of terms, for a tensor (N, *shape); coefficients broadcast to ``shape``."""

    shape: Shape
    terms: Mapping[Monomial, Array]

    def atoms(self) -> Iterator[Atom]:
        """Every atom, each once, in order of their making."""
        yield from sorted({a for m in self.terms for a in m}, key=lambda a: a.index)

    def reals(self) -> list[Real]:
        """The real-valued atoms."""
        return [a for a in self.atoms() if isinstance(a, Real)]

    def spikes(self) -> list[Spike]:
        """The spikes."""
        return [a for a in self.atoms() if isinstance(a, Spike)]

    def of(self, *atoms: Atom) -> Array:
        """The coefficient of the product of these atoms; without any, the constant."""
        return self.terms.get(frozenset(atoms), np.zeros(()))

    def split(self, atom: Atom) -> tuple[Form, Form]:
        """(a, b) such that the value is ``a + b * atom``, and neither has the atom."""
        without = {m: c for m, c in self.terms.items() if atom not in m}
        factor = {m - {atom}: c for m, c in self.terms.items() if atom in m}
        return Form(self.shape, without), Form(self.shape, factor)

    def constant(self) -> bool:
        """Is there nothing but a constant?"""
        return self.terms.keys() <= {ONE}

    def key(self) -> tuple[object, ...]:
        """Equal for equal values."""
        terms = [
            (tuple(sorted(a.index for a in m)), c.shape, c.tobytes()) for m, c in self.terms.items()
        ]
        return (self.shape, *sorted(terms))


def form(shape: Shape, terms: Mapping[Monomial, Array]) -> Form:
    """A form with its coefficients made canonical; raises IRError if it is none."""
    kept = {}
    for monomial, array in terms.items():
        if not bool(np.isfinite(array).all()):
            raise IRError("a constant is infinite or not a number")
        if not _spreads(array.shape, shape):
            raise IRError(
                "a constant does not fit the value that it meets",
                found=f"constant of shape {array.shape}, value of shape (N, *{shape})",
            )
        if bool(array.any()):
            kept[monomial] = least(array)
    if len(kept) > MAX_TERMS:
        raise IRError("a value has too many terms", found=f"{len(kept)}", allowed=f"{MAX_TERMS}")
    return Form(shape, kept)


def _spreads(small: Shape, shape: Shape) -> bool:
    """Does an array of the first shape broadcast to the second?"""
    return len(small) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(small), reversed(shape), strict=False)
    )


def least(array: Array) -> Array:
    """The smallest array that broadcasts to the same values."""
    for axis in range(array.ndim):
        first = array.take([0], axis=axis)
        if array.shape[axis] > 1 and bool((array == first).all()):
            array = first
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return array + 0.0  # no zero has a sign


def constant(shape: Shape, value: NDArray[np.generic] | float) -> Form:
    """A constant; it may have an axis of samples in front, along which it does not change."""
    array = np.asarray(value, np.float64)
    while array.ndim > len(shape) and len(array) and bool((array == array[:1]).all()):
        array = array[0]
    if array.ndim > len(shape):
        raise IRError(
            "a constant differs between the samples of a batch, or has more axes than its value",
            found=f"constant of shape {np.shape(value)}, value of shape (N, *{shape})",
        )
    return form(shape, {ONE: array})


def atom(a: Atom, shape: Shape) -> Form:
    """The value of one atom."""
    return Form(shape, {frozenset((a,)): np.ones(())})


def plus(a: Form, b: Form) -> Form:
    """The sum."""
    terms = dict(a.terms)
    for monomial, c in b.terms.items():
        terms[monomial] = terms[monomial] + c if monomial in terms else c
    return form(a.shape, terms)


def times(a: Form, b: Form) -> Form:
    """The product; raises IRError if it is not a value of ours: a product of two real tensors."""
    terms: dict[Monomial, Array] = {}
    if len(a.terms) * len(b.terms) > MAX_TERMS**2:
        raise IRError("a product has too many terms")
    for (m, c), (n, d) in product(a.terms.items(), b.terms.items()):
        reals = [x for x in (*m, *n) if isinstance(x, Real)]
        # An input may turn out to be the spikes of the step before, which `history` looks into.
        if len(reals) > 1 and (len(set(reals)) != 2 or all(r.op for r in reals)):
            raise IRError(
                "two tensors are multiplied that both carry real numbers",
                found=", ".join(r.name for r in reals),
                allowed="products with constants, and with spikes of 0 and 1",
            )
        terms[m | n] = terms[m | n] + c * d if m | n in terms else c * d
    return form(a.shape, terms)


def scaled(a: Form, factor: Array | float) -> Form:
    """The value times a constant."""
    return times(a, constant(a.shape, factor))


def minus(a: Form, b: Form) -> Form:
    """The difference."""
    return plus(a, scaled(b, -1.0))


def ratio(a: Form, b: Form) -> tuple[Array, Array] | None:
    """(k, c) such that ``a = k * b + c`` with constants k and c; None if there are none."""
    if b.constant() or a.terms.keys() - {ONE} != b.terms.keys() - {ONE}:
        return None
    k: Array | None = None
    for monomial in a.terms:
        if monomial == ONE:
            continue
        if not bool(b.terms[monomial].all()):
            return None
        found = np.asarray(a.terms[monomial] / b.terms[monomial])
        if k is None:
            k = least(found)
        elif not bool(np.isclose(found, k, rtol=_CLOSE, atol=0.0).all()):
            return None
    if k is None or not bool(np.isfinite(k).all()):
        return None
    return k, np.asarray(a.of() - k * b.of())


def same(a: Form, b: Form) -> bool:
    """Are they equal, up to the rounding of their constants?"""
    if a.terms.keys() != b.terms.keys():
        return False
    return all(
        bool(np.isclose(c, b.terms[m], rtol=_CLOSE, atol=0.0).all()) for m, c in a.terms.items()
    )


def tabled(function: Callable[..., NDArray[np.generic]], *forms: Form) -> Form | None:
    """Any function of values that are made of few spikes alone, by its truth table.

    None if they are not. A function of zeros and ones is a polynomial in them (Moebius inversion).
    """
    if any(f.reals() for f in forms):
        return None
    spikes = sorted({s for f in forms for s in f.spikes()}, key=lambda s: s.index)
    if len(spikes) > MAX_SPIKES:
        return None
    terms: dict[Monomial, Array] = {}
    for bits in product((False, True), repeat=len(spikes)):
        on: Monomial = frozenset(s for s, bit in zip(spikes, bits, strict=True) if bit)
        values = [sum((c for m, c in f.terms.items() if m <= on), np.zeros(())) for f in forms]
        here = np.asarray(function(*values), np.float64)
        terms[on] = here - sum((c for m, c in terms.items() if m < on), np.zeros(()))
    return form(forms[0].shape, terms)


def is_binary(a: Form) -> bool:
    """Is the value 0 or 1 whatever its spikes are?"""
    other = tabled(lambda v: (v != 0) & (v != 1), a)
    return other is not None and not other.terms
