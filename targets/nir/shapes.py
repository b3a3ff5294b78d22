"""The shape that each node of a NIR document sends, from the inputs on."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Shape
from purespike.targets.nir.document import Document, Fields
from purespike.targets.nir.errors import NirFileError

LARGEST = 2**24  # values that one edge may carry
WINDOWS = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")


def shapes(document: Document) -> dict[str, Shape]:
    """The shape that each node sends; raises NirFileError where two joined nodes disagree."""
    sends: dict[str, Shape] = {}
    follow: dict[str, list[str]] = {}
    for a, b in document.edges:
        follow.setdefault(a, []).append(b)
    ready = list(document.of_type("Input"))
    for name in ready:
        sends[name] = sizes(document.nodes[name], "shape")
    while ready:  # every node is reached from an Input (check_edges)
        source = ready.pop()
        for name in follow.get(source, []):
            takes, makes = signature(name, document.nodes[name], sends[source])
            if takes != sends[source]:
                raise NirFileError(
                    "two joined nodes differ in shape",
                    where=f"edge {source!r} -> {name!r}",
                    found=f"{source!r} sends {sends[source]}, {name!r} takes {takes}",
                    remedy="correct whichever of the two is wrong. Axes of samples and steps in "
                    "front of an Input or Output, and single numbers for all neurons, may stay",
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
        shape = sizes(fields, "shape")
        return shape, shape
    if kind in ("Affine", "Linear"):
        out, into = array(fields, "weight").shape
        return (into,), (out,)
    if kind in WINDOWS:
        return _window(where, fields, x)
    if kind == "Flatten":
        return _flatten(where, fields, x)
    field = {"Scale": "scale", "Delay": "delay", "Threshold": "threshold"}.get(kind, "r")
    shape = array(fields, field).shape
    return shape, shape


def _window(where: str, fields: Fields, x: Shape) -> tuple[Shape, Shape]:
    """Convolutions and pools; a Conv1d takes signals (C, L), and so do pools of one number."""
    allowed = {"Conv1d": (2,), "Conv2d": (3,)}.get(str(fields["type"]), (2, 3))
    if len(x) not in allowed:
        raise NirFileError(
            "expected an input of shape "
            + " or ".join({2: "(C, L)", 3: "(C, H, W)"}[n] for n in allowed),
            where=where,
            found=str(x),
        )
    conv = "weight" in fields
    axes = len(x) - 1
    kernel = (
        array(fields, "weight").shape[2:] if conv else along(where, fields, "kernel_size", axes)
    )
    dilation = along(where, fields, "dilation", axes) if conv else (1,) * axes
    stride, padding = along(where, fields, "stride", axes), conv_padding(where, fields, axes)
    channels = array(fields, "weight").shape[1] * int(array(fields, "groups")) if conv else x[0]
    area = x[1:]
    if "input_shape" in fields:
        area = along(where, fields, "input_shape", axes)
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
    takes = sizes(fields, "input_type") if "input_type" in fields else x
    first, last = (int(array(fields, k)) for k in ("start_dim", "end_dim"))
    axes = len(takes)
    if not (-axes <= first < axes and -axes <= last < axes and first % axes <= last % axes):
        raise NirFileError(
            "the axes to flatten do not exist",
            where=where,
            found=f"start_dim {first}, end_dim {last}",
            allowed=f"axes of {takes}",
        )
    if (first % axes, last % axes) != (0, axes - 1):
        raise NirFileError(
            "only flattening of all axes has a counterpart",
            where=where,
            found=f"start_dim {first}, end_dim {last} on {takes}",
            allowed="start_dim 0, end_dim -1",
            remedy="NIR shapes have no batch axis: write start_dim = 0",
        )
    return takes, (prod(takes),)


def conv_padding(where: str, fields: Fields, axes: int) -> tuple[int, ...]:
    """The padding in numbers; ``same`` only where it is the same on both sides."""
    padding = fields["padding"]
    if not isinstance(padding, str):
        return along(where, fields, "padding", axes)
    if padding == "valid":
        return (0,) * axes
    kernel = array(fields, "weight").shape[2:]
    dilation = along(where, fields, "dilation", axes)
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if set(along(where, fields, "stride", axes)) != {1} or any(n % 2 for n in total):
        raise NirFileError(
            "padding 'same' is not defined here: NIR does not say which side gets more",
            where=where,
            found=f"kernel {kernel}",
            allowed="stride 1 and an even dilation * (kernel - 1)",
            remedy="state the padding in numbers",
        )
    return tuple(n // 2 for n in total)


def array(fields: Fields, name: str) -> NDArray[Any]:
    """A field that is an array; raises NirFileError if it is a text."""
    value = fields[name]
    if isinstance(value, str):
        raise NirFileError("expected numbers, found a text", found=f"{name} = {value[:40]!r}")
    return value


def along(where: str, fields: Fields, name: str, axes: int) -> tuple[int, ...]:
    """A geometry: one number for all axes, or one for each."""
    value = array(fields, name)
    if value.shape not in ((), (axes,)):
        raise NirFileError(
            f"{name} does not fit the axes of the input",
            where=where,
            found=f"{few(value)} on {axes} axes",
            allowed=f"{axes} numbers" if axes > 1 else "one number",
        )
    return tuple(int(n) for n in np.broadcast_to(value, (axes,)))


def sizes(fields: Fields, name: str) -> Shape:
    """A shape that a node says."""
    return tuple(int(n) for n in np.atleast_1d(array(fields, name)))


def few(x: NDArray[Any]) -> str:
    """The first values, for a message."""
    text = ", ".join(str(v) for v in x.ravel()[:4])
    return text + (", ..." if x.size > 4 else "")
