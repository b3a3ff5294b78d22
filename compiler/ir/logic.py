"""Logic of spikes: which gate a value is, whatever arithmetic says it.

A value made of spikes alone is a polynomial in them. It is a gate where its truth table is one:
``a b`` is AND, ``a + b - a b`` and ``min(a + b, 1)`` are OR, ``(1 - a) b`` is IAND.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from purespike.compiler.ir.forms import (
    MAX_SPIKES,
    ONE,
    Form,
    Monomial,
    Spike,
    is_binary,
    plus,
    tabled,
    times,
)
from purespike.compiler.ir.graph import IRError
from purespike.compiler.ir.ops.join import GateKind

_PAIRS: dict[tuple[int, ...], tuple[GateKind, bool]] = {  # by value at 00, a, b, ab; swapped?
    (0, 0, 1, 0): ("iand", False),
    (0, 1, 0, 0): ("iand", True),
}


def gate_of(spike: Spike) -> tuple[GateKind, list[Spike]]:
    """The gate that a spike made of spikes is, and its operands in order.

    Raises:
        IRError: If it is none.
    """
    inner = spike.gap.spikes()
    value = _value(spike)
    values = () if value is None else _table(value, inner)
    found = _gate(values, len(inner))
    if found is None:
        raise IRError(
            "logic of spikes that is not a gate",
            where=spike.where,
            found=f"of {len(inner)} spikes, {''.join(map(str, values)) or 'no one table'}",
            allowed="and, or, xor, (not a) and b, of spikes; one of them for the whole tensor",
            remedy="write it with such gates, one after the other",
        )
    kind, swapped = found
    return kind, inner[::-1] if swapped else inner


def as_logic(value: Form) -> Form | None:
    """The value as one gate of the spikes in it, or as what is left of them; None if it is none.

    Gates in it are looked into where that is needed: ``a + b - g`` is OR if ``g`` is ``a b``.
    """
    if value.reals() or not value.spikes():
        return None
    if is_binary(value) and _is_gate(value):
        return value
    inner = unfolded(value) if any(s.gate for s in value.spikes()) else None
    if inner is None or not is_binary(inner):
        return None
    return inner if len(inner.spikes()) < 2 or _is_gate(inner) else None


def unfolded(value: Form) -> Form | None:
    """The value with its gates written as what they are made of; None if that is too much."""
    total = Form(value.shape, {})
    for monomial, factor in value.terms.items():
        term = Form(value.shape, {ONE: factor})
        for a in monomial:
            image = Form(value.shape, {frozenset((a,)): factor * 0 + 1})
            if isinstance(a, Spike) and a.gate:
                inner = _value(a)
                opened = None if inner is None else unfolded(inner)
                if opened is None:
                    return None
                image = opened
            term = times(term, image)
            if len(term.spikes()) > MAX_SPIKES:
                return None
        total = plus(total, term)
    return total if len(total.spikes()) <= MAX_SPIKES else None


def _value(spike: Spike) -> Form | None:
    """The polynomial that a gate is in the spikes that it is made of."""
    return tabled(lambda v: (v > 0) if spike.strict else (v >= 0), spike.gap)


def _is_gate(value: Form) -> bool:
    spikes = value.spikes()
    return _gate(_table(value, spikes), len(spikes)) is not None


def _gate(values: Sequence[int], spikes: int) -> tuple[GateKind, bool] | None:
    """The gate with these values for each set of spikes, by size; are its operands swapped?"""
    if len(values) != 2**spikes or spikes < 2:
        return None
    sizes = [k for k in range(spikes + 1) for _ in combinations(range(spikes), k)]
    kinds: dict[tuple[int, ...], GateKind] = {
        tuple(int(k == spikes) for k in sizes): "and",
        tuple(int(k > 0) for k in sizes): "or",
        tuple(k % 2 for k in sizes): "xor",
    }
    if tuple(values) in kinds:
        return kinds[tuple(values)], False
    return _PAIRS.get(tuple(values))


def _table(value: Form, spikes: Sequence[Spike]) -> tuple[int, ...]:
    """Its value for each set of spikes that are there, small sets first; () if places differ."""
    if any(c.ndim for c in value.terms.values()) or len(spikes) > MAX_SPIKES:
        return ()
    sets: list[Monomial] = [
        frozenset(s) for k in range(len(spikes) + 1) for s in combinations(spikes, k)
    ]
    return tuple(int(sum(float(c) for m, c in value.terms.items() if m <= s)) for s in sets)
