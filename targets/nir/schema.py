"""What a NIR document may contain: fields, shapes, edges.

nir 1.0.8's own check refuses grouped and non-square convolutions, lets NaN and misfit biases pass,
and turns loose ends into new inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir import Shape
from purespike.targets.nir.document import Document, Field, Fields
from purespike.targets.nir.errors import NirFileError

_NEURON = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
_CONV = ("input_shape", "weight", "stride", "padding", "dilation", "groups", "bias")
_POOL = ("kernel_size", "stride", "padding")
REQUIRED: dict[str, tuple[str, ...]] = {
    "Input": ("shape",),
    "Output": ("shape",),
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Scale": ("scale",),
    "Conv1d": _CONV,
    "Conv2d": _CONV[1:],
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": ("start_dim", "end_dim"),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "I": ("r",),
    "IF": ("r", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak", "w_in"),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "w_in"),
    "NIRGraph": ("nodes", "edges"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "Conv2d": ("input_shape",),
    "Flatten": ("input_type",),
    "IF": ("v_reset",),
    "LIF": ("v_reset",),
    "CubaLIF": ("v_reset",),
}
COUNTS = ("stride", "dilation", "groups", "kernel_size", "shape", "input_shape", "input_type")
SCALARS = ("groups", "start_dim", "end_dim")
PAIRS = ("stride", "dilation", "kernel_size", "padding", "input_shape")
LARGEST = 2**24  # values that one edge may carry
WEIGHT_AXES = {"Affine": 2, "Linear": 2, "Conv1d": 3, "Conv2d": 4}


def check(document: Document) -> dict[str, Shape]:
    """Raise NirFileError at the first thing that is wrong; give the shape that each node sends."""
    if not document.nodes:
        raise NirFileError("the NIR graph has no nodes")
    for name, fields in document.nodes.items():
        check_fields(name, fields)
    check_edges(document)
    return shapes(document)


def check_fields(name: str, fields: Fields) -> None:
    """Are these the fields of a node of its type, with values that make sense?"""
    kind = fields.get("type")
    where = f"node {name!r}"
    if not isinstance(kind, str) or kind not in REQUIRED:
        found = "no type" if kind is None else f"type {str(kind)[:40]!r}"
        raise NirFileError(
            "unknown node type", where=where, found=found, allowed=", ".join(REQUIRED)
        )
    where += f" ({kind})"
    required, given = set(REQUIRED[kind]), fields.keys() - {"type"}
    allowed = required | set(OPTIONAL.get(kind, ()))
    for problem, wrong in (("missing", required - given), ("unknown", given - allowed)):
        if wrong:
            raise NirFileError(
                f"{problem} field",
                where=where,
                found=", ".join(sorted(wrong))[:200],
                allowed=", ".join(sorted(allowed)),
            )
    for field in sorted(given):
        _check_value(f"{where}, field {field!r}", kind, field, fields[field])
    if kind in WEIGHT_AXES:
        _check_weight(where, kind, fields)
    sizes = {f: np.shape(fields[f]) for f in _NEURON if f in fields}
    if len(set(sizes.values())) > 1:
        raise NirFileError(
            "the parameters of a neuron differ in shape",
            where=where,
            found=str(sizes),
            allowed="arrays of one shape, one value a neuron",
        )


def _check_value(where: str, kind: str, field: str, value: Field) -> None:
    if isinstance(value, str):
        if not (field == "padding" and kind.startswith("Conv") and value in ("same", "valid")):
            raise NirFileError("expected numbers, found a text", where=where, found=value[:40])
        return
    whole = field in (*COUNTS, *SCALARS, "padding")
    least = {"padding": 0, "delay": 0} | dict.fromkeys(COUNTS, 1)
    if whole and value.dtype.kind not in "iu":
        raise NirFileError(
            "a value is out of range", where=where, found=_few(value), allowed="integers"
        )
    if field in least and bool((value < least[field]).any()):
        raise NirFileError(
            "a value is out of range",
            where=where,
            found=_few(value),
            allowed=f"at least {least[field]}",
        )
    if field.startswith("tau") and bool((value <= 0).any()):
        raise NirFileError(
            "a value is out of range", where=where, found=_few(value), allowed="greater than 0"
        )
    if field in SCALARS and value.shape != ():
        raise NirFileError("expected one number", where=where, found=f"shape {value.shape}")
    sizes = field in ("shape", "input_type")
    if sizes and (value.ndim > 1 or value.size < 1 or prod(value.ravel().tolist()) > LARGEST):
        raise NirFileError(
            "no such shape",
            where=where,
            found=_few(value),
            allowed=f"a list of sizes, at most {LARGEST} values",
        )
    two_axes = kind in ("Conv2d", "SumPool2d", "AvgPool2d")
    if two_axes and field in PAIRS and value.shape not in ((), (2,)):
        raise NirFileError(
            "the geometry is no number and no pair", where=where, found=f"shape {value.shape}"
        )


def _check_weight(where: str, kind: str, fields: Fields) -> None:
    weight, axes = array(fields, "weight"), WEIGHT_AXES[kind]
    if weight.ndim != axes or weight.size == 0:
        raise NirFileError(
            "the weight has the wrong shape",
            where=where,
            found=str(weight.shape),
            allowed=f"{axes} axes, none of them empty",
        )
    if "bias" in fields and np.shape(fields["bias"]) != weight.shape[:1]:
        raise NirFileError(
            "the bias does not fit the weight",
            where=where,
            found=f"bias {np.shape(fields['bias'])}, weight {weight.shape}",
            allowed=f"bias {weight.shape[:1]}",
        )
    if "groups" in fields and weight.shape[0] % int(array(fields, "groups")):
        raise NirFileError(
            "the groups do not divide the output channels",
            where=where,
            found=f"{int(array(fields, 'groups'))} groups, weight {weight.shape}",
        )


def check_edges(document: Document) -> None:
    """Do the edges join existing nodes, once each, from an Input, to an Output?"""
    seen: set[tuple[str, str]] = set()
    for edge in document.edges:
        for name in edge:
            if name not in document.nodes:
                raise NirFileError(
                    "an edge names a missing node", found=f"{edge[0][:40]!r} -> {edge[1][:40]!r}"
                )
        if edge in seen:
            raise NirFileError(
                "an edge is listed twice",
                found=f"{edge[0]!r} -> {edge[1]!r}",
                remedy="say 2 * x with a Scale node",
            )
        seen.add(edge)
        source, reader = (document.nodes[name]["type"] for name in edge)
        if source == "Output" or reader == "Input":
            raise NirFileError(
                "an edge enters an Input or leaves an Output", found=f"{edge[0]!r} -> {edge[1]!r}"
            )
    forward = _reached(document.of_type("Input"), document.edges)
    backward = _reached(document.of_type("Output"), [(b, a) for a, b in document.edges])
    for reached, text in ((forward, "reached from no Input"), (backward, "leads to no Output")):
        for name in document.nodes:
            if name not in reached:
                raise NirFileError(
                    f"a node {text}",
                    where=f"node {name!r}",
                    remedy="remove the node, or connect it: NIR readers add inputs and outputs "
                    "of their own to loose ends",
                )


def _reached(start: Iterable[str], edges: Iterable[tuple[str, str]]) -> set[str]:
    follow: dict[str, list[str]] = {}
    for a, b in edges:
        follow.setdefault(a, []).append(b)
    stack = list(start)
    seen = set(stack)
    while stack:
        for name in follow.get(stack.pop(), []):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen


def shapes(document: Document) -> dict[str, Shape]:
    """The shape that each node sends; raises NirFileError where two joined nodes disagree."""
    sends: dict[str, Shape] = {}
    follow: dict[str, list[str]] = {}
    for a, b in document.edges:
        follow.setdefault(a, []).append(b)
    ready = list(document.of_type("Input"))
    for name in ready:
        sends[name] = _sizes(document.nodes[name], "shape")
    while ready:  # every node is reached from an Input (check_edges)
        source = ready.pop()
        for name in follow.get(source, []):
            takes, makes = signature(name, document.nodes[name], sends[source])
            if takes != sends[source]:
                raise NirFileError(
                    "two joined nodes differ in shape",
                    where=f"edge {source!r} -> {name!r}",
                    found=f"{source!r} sends {sends[source]}, {name!r} takes {takes}",
                )
            if prod(makes) > LARGEST:
                raise NirFileError(
                    "a node sends too many values",
                    where=f"node {name!r}",
                    found=str(makes),
                    allowed=f"at most {LARGEST}",
                )
            if name not in sends:
                sends[name] = makes
                ready.append(name)
    return sends


def signature(name: str, fields: Fields, x: Shape) -> tuple[Shape, Shape]:
    """(shape it takes, shape it sends) of a node that receives shape ``x``."""
    kind = str(fields["type"])
    where = f"node {name!r} ({kind})"
    if kind in ("Input", "Output"):
        shape = _sizes(fields, "shape")
        return shape, shape
    if kind in ("Affine", "Linear"):
        out, into = array(fields, "weight").shape
        return (into,), (out,)
    if kind in ("Conv2d", "SumPool2d", "AvgPool2d"):
        return _window(where, fields, x)
    if kind == "Flatten":
        return _flatten(where, fields, x)
    if kind in ("Conv1d", "NIRGraph"):
        raise NirFileError(
            f"purespike does not read {kind}",
            where=where,
            remedy="write the graph flat, with Conv2d for convolutions",
        )
    field = {"Scale": "scale", "Delay": "delay", "Threshold": "threshold"}.get(kind, "r")
    shape = array(fields, field).shape
    return shape, shape


def _window(where: str, fields: Fields, x: Shape) -> tuple[Shape, Shape]:
    if len(x) != 3:
        raise NirFileError("expected an input of shape (C, H, W)", where=where, found=str(x))
    conv = fields["type"] == "Conv2d"
    kernel = array(fields, "weight").shape[2:] if conv else pair(array(fields, "kernel_size"))
    dilation = pair(array(fields, "dilation")) if conv else (1, 1)
    stride, padding = pair(array(fields, "stride")), conv_padding(where, fields)
    channels = array(fields, "weight").shape[1] * int(array(fields, "groups")) if conv else x[0]
    area = x[1:]
    if "input_shape" in fields:
        area = pair(array(fields, "input_shape"))
    room = [
        n + 2 * p - d * (k - 1) - 1
        for n, p, d, k in zip(area, padding, dilation, kernel, strict=True)
    ]
    if min(room) < 0:
        raise NirFileError(
            "the kernel is larger than its padded input", where=where, found=f"{kernel} on {x}"
        )
    makes = tuple(r // s + 1 for r, s in zip(room, stride, strict=True))
    return (channels, *area), (array(fields, "weight").shape[0] if conv else x[0], *makes)


def _flatten(where: str, fields: Fields, x: Shape) -> tuple[Shape, Shape]:
    takes = _sizes(fields, "input_type") if "input_type" in fields else x
    first, last = (int(array(fields, k)) for k in ("start_dim", "end_dim"))
    axes = len(takes)
    if not (-axes <= first < axes and -axes <= last < axes and first % axes <= last % axes):
        raise NirFileError(
            "the axes to flatten do not exist",
            where=where,
            found=f"start_dim {first}, end_dim {last}",
            allowed=f"axes of {takes}",
        )
    first, last = first % axes, last % axes
    middle = prod(takes[first : last + 1])
    return takes, (*takes[:first], middle, *takes[last + 1 :])


def conv_padding(where: str, fields: Fields) -> tuple[int, int]:
    """The padding in numbers; ``same`` only where it is the same on both sides."""
    padding = fields["padding"]
    if not isinstance(padding, str):
        return pair(padding)
    if padding == "valid":
        return (0, 0)
    kernel, dilation = array(fields, "weight").shape[2:], pair(array(fields, "dilation"))
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if pair(array(fields, "stride")) != (1, 1) or any(n % 2 for n in total):
        raise NirFileError(
            "padding 'same' is not defined here",
            where=where,
            found=f"kernel {kernel}",
            allowed="stride 1 and an even dilation * (kernel - 1)",
            remedy="state the padding in numbers",
        )
    return total[0] // 2, total[1] // 2


def array(fields: Fields, name: str) -> NDArray[Any]:
    """A field that is an array; raises NirFileError if it is a text."""
    value = fields[name]
    if isinstance(value, str):
        raise NirFileError("expected numbers, found a text", found=f"{name} = {value[:40]!r}")
    return value


def pair(x: NDArray[Any]) -> tuple[int, int]:
    """One number for both axes, or two."""
    return (int(x), int(x)) if x.shape == () else (int(x[0]), int(x[1]))


def _sizes(fields: Fields, name: str) -> Shape:
    return tuple(int(n) for n in np.atleast_1d(array(fields, name)))


def _few(x: NDArray[Any]) -> str:
    text = ", ".join(str(v) for v in x.ravel()[:4])
    return text + (", ..." if x.size > 4 else "")
