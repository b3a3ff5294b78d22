"""A neuron that a paper writes by hand: a forward that goes through the steps and keeps a membrane.

``mem_update`` of MS-ResNet and SpikeYOLO is such a module. Its forward is run on symbols: what it
compares or rounds in step t is a polynomial in the input of that step, in what it compared a step
before, and in the spikes of that. Where this is ``decay * (m - amount * s) + x``, or ``decay * m *
(1 - s) + x``, in every step, it is a neuron of the graph, or levels with memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.forms import (
    Form,
    Monomial,
    Real,
    Spike,
    atom,
    constant,
    minus,
    plus,
    scaled,
    times,
)
from purespike.compiler.ir.graph import Op
from purespike.compiler.ir.ops.levels import next_value
from purespike.trainer.capture.stepped import (
    CLAMPS,
    ROUNDINGS,
    Clamp,
    Rounded,
    bounds_of,
    clamped,
    rounded,
)

_SAME = ("detach", "clone", "float", "double", "contiguous", "to", "cuda", "cpu", "type", "type_as")
_TESTS = {"gt": True, "ge": False, "greater": True, "greater_equal": False}


class _Other(Exception):
    """The forward does something else."""


@dataclass
class _Step:
    """What one step fires from, and what it sends."""

    source: Form
    op: Op
    sent: Real | Spike
    membrane: Real


class _Run:
    """One run of a forward on symbols."""

    def __init__(self, steps: int) -> None:
        self.atoms = Atoms(states=False)
        self.inputs = [self.atoms.real(f"x{t}", ()) for t in range(steps)]
        self.fired: list[_Step] = []

    def fires(self, value: _Symbol, source: Form, op: Op, sent: Real | Spike) -> _Symbol:
        """Note a comparison; from here on its membrane has a name."""
        if value.form.of().any():  # a bias in it would be kept from step to step
            raise _Other
        membrane = self.atoms.real(f"m{len(self.fired)}", ())
        self.fired.append(_Step(source, op, sent, membrane))
        value.form = atom(membrane, ())
        return _Symbol(self, atom(sent, ()))


class _Symbol:
    """A tensor of one step."""

    def __init__(self, run: _Run, form: Form, step: Clamp | None = None, of: Any = None) -> None:
        self.run, self.form, self.step, self.of = run, form, step, of
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def _other(self, other: Any) -> Form:
        if isinstance(other, _Symbol) and other.step is None:
            return other.form
        if isinstance(other, torch.Tensor) and other.numel() == 1:
            other = float(other)
        if self.step is not None or not isinstance(other, int | float):
            raise _Other
        return constant((), float(other))

    def _made(self, form: Form) -> _Symbol:
        return _Symbol(self.run, form)

    def __add__(self, other: Any) -> _Symbol:
        if self.step is not None and isinstance(other, int | float):  # floor(clamp(x) + 0.5)
            return _Symbol(
                self.run, plus(self.form, constant((), float(other))), self.step, self.of
            )
        return self._made(plus(self.form, self._other(other)))

    def __sub__(self, other: Any) -> _Symbol:
        return self._made(minus(self.form, self._other(other)))

    def __rsub__(self, other: Any) -> _Symbol:
        return self._made(minus(self._other(other), self.form))

    def __mul__(self, other: Any) -> _Symbol:
        return self._made(times(self.form, self._other(other)))

    def __truediv__(self, other: Any) -> _Symbol:
        by = self._other(other)
        if not by.constant() or not by.of().any():
            raise _Other
        return self._made(scaled(self.form, 1.0 / float(by.of())))

    def __neg__(self) -> _Symbol:
        return self._made(scaled(self.form, -1.0))

    __radd__, __rmul__ = __add__, __mul__

    def __gt__(self, other: Any) -> _Symbol:
        return self._compared(other, True)

    def __ge__(self, other: Any) -> _Symbol:
        return self._compared(other, False)

    def _compared(self, other: Any, strict: bool) -> _Symbol:
        gap = minus(self.form, self._other(other))
        level = -float(gap.of())
        source = plus(gap, constant((), level))
        at = next_value(Fraction(level), strict=strict)
        spike = self.run.atoms.spike(gap, strict, "s", "").spikes()[0]
        return self.run.fires(self, source, ops.Neuron(np.asarray(at)), spike)

    def clamp(self, low: Any = None, high: Any = None, name: str = "clamp") -> _Symbol:
        """As torch."""
        ends = bounds_of(name, *(None if b is None else self._other(b) for b in (low, high)))
        if ends is None:
            raise _Other
        step = clamped(self.form, self.step, *ends)
        if not isinstance(step, Clamp):
            raise _Other
        own = self.run.atoms.real("clamp", ())
        made = _Symbol(self.run, atom(own, ()), step, self.of or self)
        made.own = own  # type: ignore[attr-defined]
        return made

    def rounding(self, name: str) -> _Symbol:
        """``round`` or ``floor`` of a clamp."""
        clamp = None if self.step is None else (next(iter(self.form.reals())), self.step)
        made = rounded(self.form, clamp, ROUNDINGS[name])
        if not isinstance(made, Rounded):
            raise _Other
        source = scaled(made.source, float(made.factor))
        unit = Rounded(source, Fraction(1), made.shift, made.mode, made.low, made.high)
        return self.run.fires(self.of or self, source, unit.levels(), self.run.atoms.real("s", ()))

    def __getattr__(self, name: str) -> Any:
        if name in _SAME:
            return lambda *a, **k: self
        if name in _TESTS:
            return lambda other: self._compared(other, _TESTS[name])
        if name in ROUNDINGS:
            return lambda: self.rounding(name)
        if name in CLAMPS:
            return lambda *a, **k: _clamp(name, self, *a, **k)
        raise AttributeError(name)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})


class _Sequence:
    """A tensor of all steps: the input, or what the forward fills step by step."""

    def __init__(self, run: _Run, rows: list[Any]) -> None:
        self.run, self.rows = run, rows
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int):
            raise _Other
        return self.rows[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(index, int) or not isinstance(value, _Symbol):
            raise _Other
        self.rows[index] = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Time first; nothing may hang on the rest."""
        return (len(self.rows), *(_Unknown(1) for _ in range(4)))

    def size(self, axis: int | None = None) -> Any:
        """As ``shape``."""
        return self.shape if axis is None else self.shape[axis]

    def unbind(self, axis: int = 0) -> list[Any]:
        """The steps."""
        if axis:
            raise _Other
        return list(self.rows)

    def __getattr__(self, name: str) -> Any:
        if name in _SAME:
            return lambda *a, **k: self
        raise AttributeError(name)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
        return _called(function, args, kwargs or {})


class _Unknown(int):
    """A size that is not known."""


def _called(function: Any, args: Any, kwargs: Any) -> Any:
    name = getattr(function, "__name__", "")
    first = args[0]
    if name in ("zeros_like", "empty_like"):
        if isinstance(first, _Sequence):
            return _Sequence(first.run, [None] * len(first))
        if name == "zeros_like":
            return _Symbol(first.run, constant((), 0.0))
    if name == "stack" and not kwargs.get("dim", args[1] if len(args) > 1 else 0):
        return _Sequence(first[0].run, list(first))
    if isinstance(first, _Symbol) and name in CLAMPS:
        return _clamp(name, *args, **kwargs)
    if isinstance(first, _Symbol) and name in (*ROUNDINGS, *_TESTS, *_SAME):
        return getattr(first, name)(*args[1:], **kwargs)
    two = {"add": "__add__", "sub": "__sub__", "mul": "__mul__", "div": "__truediv__"}
    if isinstance(first, _Symbol) and name in two and not kwargs:
        return getattr(first, two[name])(*args[1:])
    raise _Other


def _clamp(name: str, x: _Symbol, *args: Any, **kwargs: Any) -> _Symbol:
    if name in ("relu", "relu6"):
        return x.clamp(name=name)
    if name == "clamp_min":
        return x.clamp(*args, **kwargs)
    if name == "clamp_max":
        return x.clamp(None, *args)
    ends = dict(zip(("min", "max"), args, strict=False)) | kwargs
    return x.clamp(ends.get("min"), ends.get("max"))


def recurrent(module: nn.Module, steps: int) -> list[tuple[str, Op]] | None:
    """The operations of a module whose forward is a neuron's loop over T; None if it is none.

    Args:
        module: One without parameters; its forward takes (T, B, ...).
        steps: T.
    """
    if any(True for _ in (*module.parameters(), *module.buffers())):
        return None
    run = _Run(steps)
    taken = _Sequence(run, [_Symbol(run, atom(x, ())) for x in run.inputs])
    own = copy.copy(module)
    kept = dict(vars(own))
    try:
        made = type(module).forward(own, taken)
    except Exception:  # whatever else a forward does is traced, and refused there if it has to be
        return None
    same = vars(own).keys() == kept.keys() and all(vars(own)[k] is v for k, v in kept.items())
    return _matched(run, made) if same else None


def _matched(run: _Run, made: Any) -> list[tuple[str, Op]] | None:
    """Decay, reset and levels that all steps agree on."""
    rows = made.rows if isinstance(made, _Sequence) else []
    if len(rows) != len(run.inputs) or len(run.fired) != len(rows):
        return None
    worth = [float(r.form.of(s.sent)) for r, s in zip(rows, run.fired, strict=True)]
    alone = [len(r.form.terms) == 1 for r in rows]
    if not all(alone) or len(set(worth)) != 1 or not worth[0]:
        return None
    gain = float(run.fired[0].source.of(run.inputs[0]))
    found = {_law(run, t) for t in range(1, len(rows))} or {(gain, 0.0, 0.0, False)}
    first = run.fired[0].source.terms.keys() == {frozenset((run.inputs[0],))}
    laws = {str(_plain(s.op)) for s in run.fired}
    if not first or len(found) != 1 or len(laws) != 1 or not gain > 0:
        return None
    law = next(iter(found))
    if law is None or law[0] != gain or not 0 <= law[1] <= 1:
        return None
    _, decay, amount, zero = law
    op = _operation(run.fired[0].op, decay, amount, zero)
    if op is None:
        return None
    front: list[tuple[str, Op]] = [] if gain == 1 else [(".input", ops.Scale(np.asarray(gain)))]
    behind: list[tuple[str, Op]] = (
        [] if worth[0] == 1 else [(".worth", ops.Scale(np.asarray(worth[0])))]
    )
    return [*front, ("", op), *behind]


def _law(run: _Run, t: int) -> tuple[float, float, float, bool] | None:
    """(gain, decay, amount, whether it resets to zero) of step t, from the step before."""
    source, before = run.fired[t].source, run.fired[t - 1]
    gain, decay = float(source.of(run.inputs[t])), float(source.of(before.membrane))
    taken, cut = float(source.of(before.sent)), float(source.of(before.membrane, before.sent))
    wanted: set[Monomial] = {frozenset({run.inputs[t]})}
    wanted |= {frozenset({before.membrane})} if decay else set()
    wanted |= {frozenset({before.sent})} if taken else set()
    wanted |= {frozenset({before.membrane, before.sent})} if cut else set()
    if source.terms.keys() != wanted or (cut and (cut != -decay or taken)):
        return None
    return gain, decay, -taken / decay if decay and not cut else 0.0, bool(cut)


def _operation(op: Op, decay: float, amount: float, zero: bool) -> Op | None:
    if isinstance(op, ops.Levels):
        known = None if zero or amount < 0 else amount
        return (
            None if known is None else ops.Levels(op.thresholds, decay, np.asarray(known), op.below)
        )
    assert isinstance(op, ops.Neuron)
    if not decay:
        return ops.Neuron(op.threshold, 0.0)
    reset = "zero" if zero else "subtract" if amount > 0 else None
    if reset is None or not math.isfinite(amount):
        return None
    return ops.Neuron(op.threshold, decay, reset, None if zero else np.asarray(amount))  # type: ignore[arg-type]


def _plain(op: Op) -> dict[str, Any]:
    return {k: v.tolist() for k, v in op.arrays().items()}
