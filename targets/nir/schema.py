"""What a NIR document may contain: fields, shapes, edges.

nir 1.0.8's own check refuses grouped and non-square convolutions, lets NaN and misfit biases pass,
and turns loose ends into new inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.targets.nir.document import Document, Field, Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.shapes import LARGEST, array, few, shapes

NEURON = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")
_CONV = ("weight", "stride", "padding", "dilation", "groups", "bias")
_POOL = ("kernel_size", "stride", "padding")
REQUIRED: dict[str, tuple[str, ...]] = {
    "Input": ("shape",),
    "Output": ("shape",),
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Scale": ("scale",),
    "Conv1d": _CONV,
    "Conv2d": _CONV,
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": ("start_dim", "end_dim"),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "I": ("r",),
    "IF": ("r", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak"),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "Conv1d": ("input_shape",),
    "Conv2d": ("input_shape",),
    "Flatten": ("input_type",),
    "IF": ("v_reset",),
    "LIF": ("v_reset",),
    "CubaLI": ("w_in",),  # files from before nir had it: 1, as nir reads them
    "CubaLIF": ("v_reset", "w_in"),
}
COUNTS = ("stride", "dilation", "groups", "kernel_size", "shape", "input_shape", "input_type")
SCALARS = ("groups", "start_dim", "end_dim")
GEOMETRY = ("stride", "dilation", "kernel_size", "padding", "input_shape")
# Shapes that a geometry may have: pools have one number on (C, L), which shows later.
GEOMETRIES = {
    "Conv1d": ((), (1,)),
    "Conv2d": ((), (2,)),
    "SumPool2d": ((), (1,), (2,)),
    "AvgPool2d": ((), (1,), (2,)),
}
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
    sizes = {f: np.shape(fields[f]) for f in NEURON if f in fields}
    if len(set(sizes.values())) > 1:
        raise NirFileError(
            "the parameters of a neuron differ in shape",
            where=where,
            found=str(sizes),
            allowed="arrays of one shape, one value per neuron",
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
            "a value is out of range", where=where, found=few(value), allowed="integers"
        )
    if field in least and bool((value < least[field]).any()):
        raise NirFileError(
            "a value is out of range",
            where=where,
            found=few(value),
            allowed=f"at least {least[field]}",
        )
    if field.startswith("tau") and bool((value <= 0).any()):
        raise NirFileError(
            "a value is out of range", where=where, found=few(value), allowed="greater than 0"
        )
    if field in SCALARS and value.shape != ():
        raise NirFileError("expected one number", where=where, found=f"shape {value.shape}")
    sizes = field in ("shape", "input_type")
    if sizes and (value.ndim > 1 or value.size < 1 or prod(value.ravel().tolist()) > LARGEST):
        raise NirFileError(
            "no such shape",
            where=where,
            found=few(value),
            allowed=f"a list of sizes, at most {LARGEST} values",
        )
    fits = GEOMETRIES.get(kind, (value.shape,)) if field in GEOMETRY else (value.shape,)
    if value.shape not in fits:
        raise NirFileError(
            "the geometry is not a number" + " and no pair" * (kind != "Conv1d"),
            where=where,
            found=f"shape {value.shape}",
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
