"""Gates among spikes, and layers with constants taken into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.compiler.ir.ops import BatchNorm, Conv2d, Linear
from purespike.compiler.ir.ops.join import GateKind
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.forms import ONE, Form, Monomial, Spike, tabled

_GATES: dict[tuple[int, ...], tuple[GateKind, bool]] = {  # by value at 00, a, b, ab; swapped?
    (0, 0, 0, 1): ("and", False),
    (0, 1, 1, 1): ("or", False),
    (0, 1, 1, 0): ("xor", False),
    (0, 0, 1, 0): ("iand", False),
    (0, 1, 0, 0): ("iand", True),
}


def gate_of(spike: Spike) -> tuple[GateKind, list[Spike]]:
    """The gate that a spike made of two spikes is, and its operands in order.

    Raises:
        OnnxError: If it is none.
    """
    pair = spike.gap.spikes()
    value = tabled(lambda v: (v > 0) if spike.strict else (v >= 0), spike.gap)
    values = () if value is None else _table(value, pair)
    if len(pair) != 2 or values not in _GATES:
        raise OnnxError(
            "logic of spikes that is no gate",
            where=spike.where,
            found=f"of {len(pair)} spikes, {''.join(map(str, values)) or 'too many to tell'}",
            allowed="and, or, xor, (not a) and b, of two spikes",
            remedy="write it with such gates, one after the other",
        )
    kind, swapped = _GATES[values]
    return kind, pair[::-1] if swapped else pair


def _table(value: Form, pair: Sequence[Spike]) -> tuple[int, ...]:
    """Its values where none, one, the other, and both of two spikes are there."""
    a, b = (frozenset((s,)) for s in pair) if len(pair) == 2 else (ONE, ONE)
    sets: tuple[Monomial, ...] = (ONE, a, b, a | b)
    return tuple(int(sum(float(c.flat[0]) for m, c in value.terms.items() if m <= s)) for s in sets)


def shifted(op: Op | None, shape: Shape, factor: Array, shift: Array) -> Op | None:
    """The layer whose output is ``factor`` times that of ``op``, plus ``shift``.

    None if ``op`` has no bias, or one that would have to differ between the places of a channel.

    Args:
        op: A layer, or anything else.
        shape: Of its output.
        factor: Broadcasts to ``shape``, as does ``shift``.
        shift: What becomes of its bias.
    """
    narrow = (shape[0], *(1 for _ in shape[1:]))
    if any(np.broadcast_shapes(x.shape, narrow) != narrow for x in (factor, shift)):
        return None
    k, c = (np.broadcast_to(x, narrow).reshape(-1) for x in (factor, shift))
    if isinstance(op, BatchNorm):
        return replace(op, gamma=op.gamma * k, beta=op.beta * k + c)
    if not isinstance(op, Conv2d | Linear):
        return None
    bias = c if op.bias is None else op.bias * k + c
    if isinstance(op, Linear):
        return Linear(op.weight * k[:, None], bias)
    return replace(op, weight=op.weight * k[:, None, None, None], bias=bias)
