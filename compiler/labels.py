"""Labels: whole numbers that name one of the classes, one per sample."""

from __future__ import annotations

import reprlib
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.arrays import plain_array, reason
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph

_HIGHEST = (1 << 62) - 1  # that any network could have


def output_classes(graph: Graph) -> tuple[int, str]:
    """How many classes a network tells apart, and what says so."""
    name = graph.outputs[0]
    return prod(graph.edge(name).shape), f"the size of its output, of module {graph.origin(name)}"


class LabelError(UsageError):
    """Labels that no verdict can rest on."""


ORDER = (
    "give one label per sample; inputs are (T, B, ...): steps come first, then samples "
    "(where samples come first: np.moveaxis(inputs, 0, 1))"
)


def checked_labels(
    labels: Any, samples: int, where: str, classes: int | None = None, source: str = ""
) -> NDArray[np.int64]:
    """The labels (B,) as int64, if each of them can be one.

    Args:
        labels: A sequence, an array or a tensor. Floats have to be whole.
        samples: B.
        where: They come from; for the error.
        classes: How many there are; None checks only that no label is negative.
        source: What says how many classes there are.

    Raises:
        LabelError: If they are of another type, shape or count, or one is none of the classes; it
            names the first.
    """
    try:
        found = plain_array(labels)
    except Exception as e:  # whatever a foreign tensor or a ragged list makes of it
        raise _wrong("the labels are not an array", where, reason(e)) from None
    numbers = f"{samples} whole numbers, one per sample: shape ({samples},)"
    if found.shape != (samples,):
        remedy = "write the index of the class instead of one column per class (argmax)"
        if found.shape == (samples, 1):  # arg max would call every one of them 0
            remedy = "leave out the second axis: labels[:, 0]"
        raise _wrong(
            "there is not one label per sample",
            where,
            f"shape {found.shape}",
            numbers,
            remedy if found.ndim == 2 and len(found) == samples else ORDER,
        )
    if found.dtype.kind not in "iuf":
        items = found.tolist()
        index = next((i for i, x in enumerate(items) if type(x) is not int), 0)
        first = f"labels[{index}] = {reprlib.repr(items[index])}, " if items else ""
        raise _wrong("the labels are not numbers", where, f"{first}type {found.dtype}", numbers)
    high = classes if classes is not None else _HIGHEST + 1
    with np.errstate(invalid="ignore", over="ignore"):  # a bound beyond float16 is infinite there
        right = (found >= 0) & (found < high) & (np.trunc(found) == found)
    if not right.all():
        index = int(np.argmin(right))
        allowed = "whole numbers from 0"
        if classes is None and float(found[index]) > _HIGHEST:
            allowed += f" to {_HIGHEST}"
        elif classes is not None:
            allowed += f" to {classes - 1}: {classes} classes" + (f", {source}" if source else "")
        raise _wrong(
            "a label is none of the classes",
            where,
            f"labels[{index}] = {found[index]}"
            + (f", and {int((~right).sum()) - 1} more" if int((~right).sum()) > 1 else "")
            + f"; labels run from {found.min():g} to {found.max():g}",
            allowed,
            "number the classes from 0"
            + (" (labels - 1)" if (found.min(), found.max()) == (1, classes) else "")
            + ", or use the network that these labels are for",
        )
    return found.astype(np.int64)


def _wrong(
    message: str, where: str, found: str, allowed: str = "whole numbers", remedy: str = ""
) -> LabelError:
    remedy = remedy or "write each label as the whole number of its class, from 0"
    return LabelError(message, where=where, found=found, allowed=allowed, remedy=remedy)
