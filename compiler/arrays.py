"""Numbers that a user gives, in whatever holds them, as NumPy arrays. No torch here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import UsageError


def plain_array(data: Any) -> NDArray[Any]:
    """The array of a tensor (with gradients, on a device, sparse), an array or nested lists.

    Raises:
        Exception: Whatever a foreign tensor or a ragged list makes of it; `reason` words it.
    """
    if hasattr(data, "detach") and hasattr(data, "layout"):  # a tensor of torch
        data = data.detach().cpu()
        data = data if str(data.layout) == "torch.strided" else data.to_dense()
        data = data.float() if str(data.dtype) == "torch.bfloat16" else data
        data = data.numpy()
    return np.asarray(data)


def reason(error: Exception) -> str:
    """An error in one short line."""
    text = str(error).splitlines()[0][:120] if str(error) else ""
    return f"{type(error).__name__}: {text}"


def as_numbers(data: Any, name: str, where: str) -> NDArray[Any]:
    """The array of real numbers that a user gives; of a kind that torch takes without a copy.

    Args:
        data: An array, a tensor on any device, or nested lists.
        name: What they are, for the error.
        where: What they belong to, for the error.

    Raises:
        UsageError: If they are not an array of real numbers, all finite.
    """
    allowed = "numbers (T, B, *shape): a NumPy array, a tensor or nested lists"
    try:
        found = plain_array(data)
    except Exception as e:
        raise UsageError(
            f"the {name} are not an array", where=where, found=reason(e), allowed=allowed
        ) from None
    if found.dtype.kind not in "biuf":
        raise UsageError(
            f"the {name} are not numbers", where=where, found=f"type {found.dtype}", allowed=allowed
        )
    # Torch takes neither another byte order nor more than 64 bits, nor a view that runs backwards.
    kind = found.dtype.newbyteorder("=") if found.dtype.itemsize <= 8 else np.dtype(np.float64)
    backwards = any(stride < 0 for stride in found.strides)
    array = np.ascontiguousarray(found, kind) if backwards else np.asarray(found, kind)
    require_finite(array, name, where)
    return array


def require_finite(x: NDArray[Any], name: str, where: str) -> None:
    """Raise UsageError unless every number is one: no NaN and no infinity.

    Args:
        x: Of any shape.
        name: What they are, for the error.
        where: What they belong to, for the error.
    """
    if x.dtype.kind != "f" or bool((fine := np.isfinite(x)).all()):
        return
    first = tuple(np.argwhere(~fine)[0].tolist())
    count = np.count_nonzero(~fine)
    raise UsageError(
        f"the {name} hold values that are NaN or infinite",
        where=where,
        found=f"{count} of {x.size} values, the first at {list(first)}: {x[first]}",
        allowed="finite numbers",
        remedy="leave those samples out, or repair them",
    )
