"""What may be chosen, each choice once, and the one check of what was chosen.

The command line takes its options from here, a frozen dataclass of options checks itself with
`settle`: so both allow the same, and nothing else is ever run or reported.
"""

from __future__ import annotations

import operator
import os
import reprlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from purespike.compiler.errors import UsageError
from purespike.compiler.near import did_you_mean, nearest
from purespike.compiler.wording import WORDS, Advice

Method = Literal["max", "percentile", "mse", "agreement"]  # how scales are chosen
Form = Literal["step", "sequence", "qonnx"]  # of model.onnx
Convolution = Literal["fast", "stock"]  # the model that Lava runs: ours, or its own
LavaMode = Literal["fast", "stock", "none"]
Reset = Literal["zero", "subtract"]  # what a spike does to the membrane
IfR = Literal["step", "dt"]  # IF and I add r * x, or dt * r * x
Current = Literal["new", "previous"]  # which synaptic current a membrane takes
RecurrentBias = Literal["always", "delayed"]
Feedback = Literal["previous"]  # what an edge carries that closes a loop
Fires = Literal["above", "at"]  # the threshold


@dataclass(frozen=True)
class Range:
    """The lowest and highest of a whole number; None leaves that side open."""

    low: int
    high: int | None = None

    def __str__(self) -> str:
        return f"from {self.low}" + ("" if self.high is None else f" to {self.high}")

    def holds(self, value: int) -> bool:
        """Is it one of them?"""
        return self.low <= value and (self.high is None or value <= self.high)


WEIGHT_BITS = Range(2, 8)
COUNT = Range(1)
LEVELS = Range(1, 255)  # of an activation: each is a copy of its layer and of what reads it


def settle(chosen: Any) -> None:
    """Check each field of a frozen dataclass by its annotation, and make it of the plain type.

    Annotations are a literal, ``Annotated[int, Range(...)]``, int, float, bool, a path, a tuple of
    whole numbers, any class, and each of them or None. NumPy's numbers become Python's, texts
    become paths, lists tuples.

    Raises:
        UsageError: At the first field with a value that it cannot have.
    """
    of: Any = type(chosen)
    for name, kind in _kinds(of).items():
        object.__setattr__(chosen, name, _settled(name, kind, getattr(chosen, name)))


def require_choice(name: str, kind: Any, value: Any) -> None:
    """Raise UsageError unless a value is one of a literal's."""
    if not isinstance(value, str) or value not in get_args(kind):
        _refuse(name, value, ", ".join(map(str, get_args(kind))), get_args(kind))


def require_known(names: Mapping[str, object], known: Mapping[str, object], what: str) -> None:
    """Raise UsageError for the first name that is none of those known."""
    for name in names:
        if name not in known:
            raise UsageError(
                f"{what} has no such option",
                found=name,
                allowed=", ".join(known),
                remedy=did_you_mean(name, known),
            )


def as_path(value: Any, name: str) -> Path:
    """A path of what a user gives as one; raises UsageError for anything but a text or a path."""
    if not isinstance(value, str | os.PathLike):
        _refuse(name, value, "a path, as text or pathlib.Path")
    path = os.fspath(value)
    return Path(path if isinstance(path, str) else os.fsdecode(path))


@cache
def _kinds(of: Any) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)


def _settled(name: str, kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        inner = [a for a in arguments if a is not type(None)]
        if value is None and len(inner) < len(arguments):
            return None
        kind = inner[0]  # `X | None` is all there is
        origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        kind, limits = arguments
        value = _settled(name, kind, value)
        if value is not None and not limits.holds(value):
            _refuse(name, value, f"a whole number {limits}")
        return value
    if origin is Literal:
        require_choice(name, kind, value)
        return str(value)
    if kind is bool:
        if type(value).__name__ not in ("bool", "bool_"):  # numpy's, too, without importing it
            _refuse(name, value, "True or False")
        return bool(value)
    if kind is int:
        return _whole(name, value)
    if kind is float:
        return _number(name, value)
    if kind is Path:
        return as_path(value, name)
    if origin is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            _refuse(name, value, "whole numbers, such as (2, 8, 8)")
        return tuple(_whole(name, item) for item in value)
    if isinstance(kind, type) and not isinstance(value, kind):
        _refuse(name, value, f"a {kind.__name__}")
    return value


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    _refuse(name, value, "a whole number")


def _number(name: str, value: Any) -> float:
    if not isinstance(value, bool | str):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if isfinite(number):
            return number
    _refuse(name, value, "a number")


def _refuse(name: str, value: Any, allowed: str, choices: tuple[Any, ...] = ()) -> NoReturn:
    close = nearest(str(value), choices)
    ways = [f"did you mean {close!r}?"] if close else []
    if name in WORDS:
        ways.append(f"state {{{name}}}")
    raise UsageError(
        f"{name} cannot have this value",
        where=name,
        found=f"{reprlib.repr(value)} ({type(value).__name__})",
        allowed=allowed,
        remedy=Advice(" ".join(ways)) if ways else "",
    )
