"""Arithmetic that a forward does on tensors of the network, as the algebra of spikes.

Each function is computed on polynomials in spikes and currents (`compiler.ir.forms`), in which
``a * b``, ``torch.minimum(a, b)`` and ``a & b`` are one value. What no gate, sum or scale of the
graph says is refused where something reads it.

Element types count: torch adds two bools as OR, and ``~`` of an integer is not a NOT.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from purespike.compiler.ir.forms import (
    Form,
    constant,
    is_binary,
    minus,
    plus,
    scaled,
    tabled,
    times,
)
from purespike.compiler.ir.graph import IRError, Shape
from purespike.trainer.capture.nodes import Nodes
from purespike.trainer.capture.stepped import CLAMPS, ROUNDINGS, bounds_of
from purespike.trainer.capture.values import Constant, Kind, Value

__all__ = ["IN_PLACE", "compute", "name_of"]

Operand = tuple[Form, Kind]

_SIGNATURES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "sub"), ("input", "other", "alpha")),
    "rsub": ("input", "other", "alpha"),
    **dict.fromkeys(
        ("mul", "div", "maximum", "minimum", "max", "min", "eq", "ne", "gt", "ge", "lt", "le"),
        ("input", "other"),
    ),
    **dict.fromkeys(
        ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor"),
        ("input", "other"),
    ),
    **dict.fromkeys(
        ("neg", "abs", "sign", "square", "logical_not", "bitwise_not", "pos"), ("input",)
    ),
    **dict.fromkeys(("float", "double", "bool", "int", "long"), ("input",)),
    "to": ("input", "dtype"),
    "type_as": ("input", "dtype"),
    "clamp": ("input", "min", "max"),
    "clamp_min": ("input", "min"),
    "clamp_max": ("input", "max"),
    "hardtanh": ("input", "min_val", "max_val", "inplace"),
    **dict.fromkeys(("relu", "relu6"), ("input", "inplace")),
    **dict.fromkeys(ROUNDINGS, ("input",)),
    "where": ("condition", "input", "other"),
}
_OPERATORS = {
    "add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "neg": "neg", "pos": "pos",
    "and_": "bitwise_and", "or_": "bitwise_or", "xor": "bitwise_xor", "invert": "bitwise_not",
    "eq": "eq", "ne": "ne", "gt": "gt", "ge": "ge", "lt": "lt", "le": "le", "abs": "abs",
}  # fmt: skip
_IN_PLACE = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "iand": "bitwise_and",
    "ior": "bitwise_or", "ixor": "bitwise_xor",
}  # fmt: skip
IN_PLACE = tuple(getattr(operator, name) for name in _IN_PLACE)
"""The operators that change their first operand."""

_ALSO = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "clip": "clamp",
}
_NAMES: dict[Any, str] = {getattr(operator, k): v for k, v in (_OPERATORS | _IN_PLACE).items()}
for _name in (*_SIGNATURES, *_ALSO):
    for _space in (torch, functional):
        if callable(getattr(_space, _name, None)) and _name not in ("float", "double", "bool"):
            _NAMES[getattr(_space, _name)] = _ALSO.get(_name, _name)

_TABLES: dict[str, Callable[..., Any]] = {
    "maximum": np.maximum, "max": np.maximum, "minimum": np.minimum, "min": np.minimum,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
    "logical_not": np.logical_not, "eq": np.equal, "ne": np.not_equal, "gt": np.greater,
    "ge": np.greater_equal, "lt": np.less, "le": np.less_equal, "abs": np.abs, "sign": np.sign,
    "square": np.square, "bool": lambda x: x != 0, "int": np.trunc, "long": np.trunc,
    "round": np.rint, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6),
}  # fmt: skip
_BITS = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor"}
_PAIRS = (  # of two operands
    "add", "sub", "rsub", "mul", "div", "maximum", "minimum", "max", "min", "eq", "ne", "gt", "ge",
    "lt", "le", "logical_and", "logical_or", "logical_xor", *_BITS,
)  # fmt: skip
_TESTS = ("eq", "ne", "gt", "ge", "lt", "le")
_ORDER: tuple[Kind, ...] = ("bool", "int", "float")
_DTYPES: dict[Any, Kind] = {
    torch.float32: "float",
    torch.float64: "float",
    torch.bool: "bool",
    torch.int32: "int",
    torch.int64: "int",
}


def name_of(target: Any) -> tuple[str, bool]:
    """(what a function, operator or method computes, whether in place); ``''`` if not known."""
    if isinstance(target, str):
        plain = _ALSO.get(target.removesuffix("_"), target.removesuffix("_"))
        known = plain in _SIGNATURES and not target.startswith("__")
        return (plain if known else "", known and target.endswith("_"))
    try:
        return _NAMES.get(target, ""), target in IN_PLACE
    except TypeError:  # not hashable
        return "", False


def in_place(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Is a function told to change its first argument: ``relu(x, inplace=True)``?"""
    return bool((dict(zip(_SIGNATURES[name], args, strict=False)) | dict(kwargs)).get("inplace"))


def compute(
    name: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    values: Mapping[Any, Any],
    nodes: Nodes,
) -> tuple[Form, Kind] | None:
    """What a call makes of its arguments.

    Args:
        name: As `name_of` says.
        target: The function or the method's name.
        args: Its arguments, ``fx.Node`` where they are traced.
        kwargs: Its named arguments.
        values: Of the nodes.
        nodes: Of the graph, which keep what is rounded.

    Returns:
        The value and its element type; None if the arguments are not as this module knows them.

    Raises:
        IRError: If no arithmetic of the graph is equal to it.
    """
    signature = _SIGNATURES[name]
    if name == "where" and target == "where":  # the method: x.where(condition, other)
        signature = ("input", "condition", "other")
    if len(args) > len(signature):
        return None
    given = dict(zip(signature, args, strict=False)) | dict(kwargs)
    required = signature[: 1 + (name in _PAIRS)]
    if set(given) - set(signature) or not set(required) <= set(given):
        return None
    if name in ("max", "min") and not isinstance(given["other"], fx.Node):
        return None  # an axis
    shape = next(values[a].form.shape for a in given.values() if isinstance(_at(values, a), Value))
    if name in ("to", "type_as"):
        return _converted(given, values)
    given.pop("inplace", None)  # `in_place` has asked
    if name == "hardtanh":
        name = "clamp"
        given = {"input": given["input"], "min": given.get("min_val", -1.0),
                 "max": given.get("max_val", 1.0)}  # fmt: skip
    operands = {k: _operand(v, shape, values) for k, v in given.items() if v is not None}
    if any(o is None for o in operands.values()):
        return None
    found = _stepped(name, {k: o[0] for k, o in operands.items() if o is not None}, nodes)
    if found is not None:
        return found, "float"
    return _value(name, {k: o for k, o in operands.items() if o is not None})


def _stepped(name: str, o: dict[str, Form], nodes: Nodes) -> Form | None:
    """A clamp or a rounding of what is not spikes alone; None if it is none."""
    if name not in (*CLAMPS, *ROUNDINGS) or not o["input"].reals():
        return None
    if name in ROUNDINGS:
        return nodes.rounded(o["input"], ROUNDINGS[name])
    bounds = bounds_of(name, o.get("min"), o.get("max"))
    return None if bounds is None else nodes.clamped(o["input"], *bounds)


def _at(values: Mapping[Any, Any], a: Any) -> Any:
    return values.get(a) if isinstance(a, fx.Node) else None


def _operand(a: Any, shape: Shape, values: Mapping[Any, Any]) -> Operand | None:
    value = _at(values, a)
    if isinstance(value, Value):
        if value.form.shape != shape:
            raise IRError(
                "values of different shapes meet",
                found=f"{shape} and {value.form.shape} of one sample",
                allowed="one shape; constants may be spread",
            )
        return value.form, value.kind
    if isinstance(value, Constant):
        array = value.tensor.detach().cpu()
        kind = "bool" if array.dtype == torch.bool else "float"
        kind = kind if array.is_floating_point() or kind == "bool" else "int"
        return constant(shape, array.double().numpy()), kind  # type: ignore[return-value]
    if isinstance(a, bool | int | float):
        kind = "bool" if isinstance(a, bool) else "int" if isinstance(a, int) else "float"
        return constant(shape, float(a)), kind  # type: ignore[return-value]
    return None


def _converted(given: Mapping[str, Any], values: Mapping[Any, Any]) -> Operand | None:
    """``x.to(dtype)``, ``x.to(device)``, ``x.to(y)``, ``x.type_as(y)``."""
    value, wanted = values[given["input"]], given.get("dtype")
    like = _at(values, wanted)
    if isinstance(like, Value):
        return _cast(value.form, value.kind, like.kind)
    if isinstance(wanted, str | torch.device):
        return value.form, value.kind
    if wanted in _DTYPES:
        return _cast(value.form, value.kind, _DTYPES[wanted])
    return None


def _cast(form: Form, kind: Kind, to: Kind) -> Operand:
    if _ORDER.index(kind) <= _ORDER.index(to):
        return form, to
    return _tabled("bool" if to == "bool" else "int", form), to


def _value(name: str, o: dict[str, Operand]) -> Operand:
    forms = [f for f, _ in o.values()]
    kinds = [k for _, k in o.values()]
    kind = max(kinds, key=_ORDER.index)
    if name in ("float", "double"):
        return forms[0], "float"
    if name in ("bool", "int", "long"):
        return _cast(forms[0], kinds[0], "bool" if name == "bool" else "int")
    if name == "pos":
        return forms[0], kind
    if name in ("add", "sub", "rsub"):
        return _sum(name, o, kind)
    if name in _BITS:
        _need(
            kind != "float" and all(map(is_binary, forms)), f"{name} of other values than 0 and 1"
        )
        return _tabled(_BITS[name], *forms), kind
    if name == "bitwise_not":
        _need(kind == "bool", "~ of a number, which is not a NOT: it is -x - 1", "~x.bool()")
        return minus(constant(forms[0].shape, 1.0), forms[0]), kind
    if name == "mul":
        return times(*forms), kind
    if name == "div":
        a, b = forms
        _need(b.constant() and bool(b.of().all()), "a division by a value of the network, or by 0")
        return scaled(a, 1.0 / b.of()), "float"
    if name == "neg":
        return scaled(forms[0], -1.0), kind
    if name.startswith("clamp"):
        return _clamped(o), kind
    if name == "where":
        c, a, b = (o[k][0] for k in ("condition", "input", "other"))
        _need(is_binary(c), "a choice by something else than 0 and 1")
        return plus(b, times(c, minus(a, b))), max(o["input"][1], o["other"][1], key=_ORDER.index)
    return _tabled(name, *forms), "bool" if name in _TESTS or "logical" in name else kind


def _sum(name: str, o: dict[str, Operand], kind: Kind) -> Operand:
    (a, first), (b, second) = o["input"], o["other"]
    b = times(b, o["alpha"][0]) if "alpha" in o else b
    if name == "add":
        if (first, second) == ("bool", "bool"):  # as torch adds them
            return _tabled("logical_or", a, b), "bool"
        return plus(a, b), kind
    _need("bool" not in (first, second), "a difference of bools, which torch has not", "x.float()")
    return (minus(a, b) if name == "sub" else minus(b, a)), kind


def _clamped(o: dict[str, Operand]) -> Form:
    bounds = {k: o[k][0] for k in ("min", "max") if k in o}

    def clamp(x: Any, *limits: Any) -> Any:
        for which, limit in zip(bounds, limits, strict=True):
            x = np.maximum(x, limit) if which == "min" else np.minimum(x, limit)
        return x

    made = tabled(clamp, o["input"][0], *bounds.values())
    if made is None:
        raise _unknown("clamp", [o["input"][0]])
    return made


def _tabled(name: str, *forms: Form) -> Form:
    made = tabled(_TABLES[name], *forms)
    if made is None:
        raise _unknown(name, list(forms))
    return made


def _unknown(name: str, forms: list[Form]) -> IRError:
    reals = [r.name for f in forms for r in f.reals()]
    if not reals:
        return IRError(
            f"{name} of more than four spikes at once",
            found=", ".join(s.name for f in forms for s in f.spikes()),
            remedy="join them two by two",
        )
    if name in _TESTS:
        return IRError(
            "a comparison with a threshold outside of a neuron: which tensor is the membrane, and "
            "what a spike does to it, is not said",
            found=f"{name} of {', '.join(reals)}",
            allowed="comparisons of spikes",
            remedy="use a neuron (purespike.trainer.nn.neuron, snnTorch, SpikingJelly), or export "
            "one time step with its states to ONNX (docs/inputs.md)",
        )
    return IRError(
        f"{name} of numbers that are not spikes: no synapse and no neuron computes it",
        found=", ".join(reals),
        allowed="sums and constant factors of currents; any logic of spikes",
        remedy="put a spiking neuron in front of it",
    )


def _need(holds: bool, what: str, remedy: str = "") -> None:
    if not holds:
        raise IRError(what, remedy=remedy)
