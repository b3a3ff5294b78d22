"""Functions that only look at a tensor in another way, on tensors whose leading axes are known.

Time, samples and both merged are told apart by name; what mixes them with the axes of a sample is
refused. Of the axes of a sample, flattening all of them is an operation of the graph, and an axis
of length 1 may come and go in front of the last one: signals (C, L) are images (C, 1, L).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from purespike.trainer.capture.values import MERGED, SEQUENCE, STEP, Axis, Value

__all__ = ["VIEWS", "Sizes", "name_of_view", "view"]

Sizes = Callable[[Value], list[int]]
"""The sizes of a value's axes, samples included."""

_SIGNATURES: dict[str, tuple[str, ...]] = {
    "flatten": ("input", "start_dim", "end_dim"),
    "unflatten": ("input", "dim", "sizes"),
    "squeeze": ("input", "dim"),
    "unsqueeze": ("input", "dim"),
    "transpose": ("input", "dim0", "dim1"),
    "swapaxes": ("input", "dim0", "dim1"),
    "movedim": ("input", "dim0", "dim1"),
    "unbind": ("input", "dim"),
    **dict.fromkeys(("contiguous", "clone", "detach", "cpu", "requires_grad_"), ("input",)),
}
_SPREAD = ("reshape", "view", "permute", "repeat", "expand")  # sizes as one tuple or one by one
VIEWS = (*_SIGNATURES, *_SPREAD)
_FUNCTIONS = {getattr(torch, n): n for n in VIEWS if callable(getattr(torch, n, None))}
_FUNCTIONS |= {functional.flatten: "flatten"} if hasattr(functional, "flatten") else {}


def name_of_view(target: Any) -> str:
    """The view that a function or method is; ``''`` if it is none."""
    if isinstance(target, str):
        return target if target in VIEWS else ""
    try:
        return _FUNCTIONS.get(target, "")
    except TypeError:
        return ""


def view(
    name: str, value: Value, args: Sequence[Any], kwargs: dict[str, Any], sizes: Sizes, steps: int
) -> tuple[Value, bool] | None:
    """The value seen in another way.

    Args:
        name: Of the function.
        value: What is looked at.
        args: The other arguments.
        kwargs: By name.
        sizes: Gives the sizes of a value's axes.
        steps: T.

    Returns:
        The value, and whether its sample axes are to be flattened; None if it is no such view.
    """
    if name in _SPREAD:
        given = args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else args
        if kwargs or not all(isinstance(n, int) for n in given):
            return None
        return _SIZED[name](value, [int(n) for n in given], sizes, steps)
    signature = _SIGNATURES[name][1:]
    if len(args) > len(signature) or set(kwargs) - set(signature):
        return None
    options = dict(zip(signature, args, strict=False)) | kwargs
    rank = len(value.lead) + len(value.shape)
    for key in ("dim", "dim0", "dim1", "start_dim", "end_dim"):
        if isinstance(options.get(key), int):
            options[key] %= rank + (name == "unsqueeze")
    if name == "flatten":
        return _flatten(value, options.get("start_dim", 0), options.get("end_dim", rank - 1))
    if name == "unflatten":
        fits = value.lead == MERGED and options.get("dim") == 0
        return _merged(value, list(options["sizes"]), sizes) if fits else None
    if name in ("transpose", "swapaxes", "movedim"):
        fits = {options.get("dim0"), options.get("dim1")} == {0, 1} and len(value.lead) == 2
        return (replace(value, lead=value.lead[::-1]), False) if fits else None
    if name == "unbind":
        return (value, False) if options.get("dim", 0) == 0 and value.lead[0] == "T" else None
    if name in ("squeeze", "unsqueeze"):
        return _one(name, value, options.get("dim"))
    return (value, False) if not options else None


def _flatten(value: Value, start: int, end: int) -> tuple[Value, bool] | None:
    leads, rank = len(value.lead), len(value.lead) + len(value.shape)
    if (start, end) == (0, 1) and value.lead == SEQUENCE:
        return replace(value, lead=MERGED), False
    if start == leads and end == rank - 1:
        return value, len(value.shape) > 1
    return (value, False) if start == end else None


def _one(name: str, value: Value, dim: int | None) -> tuple[Value, bool] | None:
    """An axis of length 1 comes or goes: in front of a frame, or in a signal."""
    leads, shape = len(value.lead), value.shape
    if name == "unsqueeze" and dim == 0 and value.lead == STEP:
        return replace(value, lead=("1", "B")), False
    if name == "squeeze" and dim == 0 and value.lead == ("1", "B"):
        return replace(value, lead=STEP), False
    if dim is None or dim < leads:
        return None
    at = dim - leads
    if name == "squeeze" and at < len(shape) and shape[at] != 1:
        return value, False  # torch leaves it
    if name == "squeeze" and len(value.form.shape) == 3 and len(shape) == 3 and at == 1:
        return replace(value, shape=(shape[0], shape[2])), False
    if name == "squeeze" and shape[1:] == (1,) * (len(shape) - 1) and len(shape) > 1:
        return _less(value, at)
    if name == "unsqueeze" and len(shape) == 2 and at == 1 and len(value.form.shape) == 3:
        return replace(value, shape=(shape[0], 1, shape[1])), False
    return None


def _less(value: Value, at: int) -> tuple[Value, bool]:
    """(C, 1, 1) without one of its ones; when none is left it is flat."""
    shape = value.shape[:at] + value.shape[at + 1 :]
    return replace(value, shape=shape), len(shape) == 1 and len(value.form.shape) > 1


def _reshape(value: Value, new: list[int], sizes: Sizes, steps: int) -> tuple[Value, bool] | None:
    whole = sizes(value)
    count = math.prod(whole)
    if new.count(-1) == 1:
        known = math.prod(n for n in new if n != -1)
        new = [count // known if n == -1 and known else n for n in new]
    if math.prod(new) != count:
        return None
    made: list[tuple[Value, bool]] = []
    leads: list[tuple[Axis, ...]] = [SEQUENCE, MERGED, STEP]
    for lead in leads if value.lead in (SEQUENCE, MERGED) else [value.lead]:
        if (lead == STEP) != (value.lead == STEP):
            continue
        for shape in (value.shape, (math.prod(value.shape),)):
            other = replace(value, lead=lead, shape=shape)
            if sizes(other) == new and not any(m[0].said == other.said for m in made):
                made.append((other, shape != value.shape))
    if len(made) != 1:
        return None
    found, flat = made[0]
    return replace(found, shape=value.shape), flat


def _merged(value: Value, new: list[int], sizes: Sizes) -> tuple[Value, bool] | None:
    other = replace(value, lead=SEQUENCE)
    if -1 in new:
        new = [sizes(value)[0] // -math.prod(new) if n == -1 else n for n in new]
    return (other, False) if sizes(other)[:2] == new else None


def _permute(value: Value, new: list[int], sizes: Sizes, steps: int) -> tuple[Value, bool] | None:
    rank = len(value.lead) + len(value.shape)
    order = [n % rank for n in new]
    if order == list(range(rank)):
        return value, False
    swapped = [1, 0, *range(2, rank)]
    if order == swapped and len(value.lead) == 2:
        return replace(value, lead=value.lead[::-1]), False
    return None


def _repeat(value: Value, new: list[int], sizes: Sizes, steps: int) -> tuple[Value, bool] | None:
    """A frame at every step: (1, B, ...) to (T, B, ...)."""
    rest = set(new[1:])
    if len(new) != len(value.lead) + len(value.shape) or not value.frame:
        return None
    if value.lead == ("1", "B") and new[0] == steps and rest <= {1, -1}:
        return replace(value, lead=SEQUENCE, frame=False), False
    return None


def _expand(value: Value, new: list[int], sizes: Sizes, steps: int) -> tuple[Value, bool] | None:
    whole = sizes(value)
    if len(new) == len(whole) + 1 and value.lead == STEP:
        value, whole = replace(value, lead=("1", "B")), [1, *whole]
    if len(new) != len(whole):
        return None
    kept = [-1 if n == m else n for n, m in zip(new, whole, strict=True)]
    return _repeat(value, [new[0], *kept[1:]], sizes, steps)


_SIZED = {
    "reshape": _reshape,
    "view": _reshape,
    "permute": _permute,
    "repeat": _repeat,
    "expand": _expand,
}
