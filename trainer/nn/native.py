"""The kernel of the neurons, compiled where it first runs on a CPU (`purespike.compiler.native`).

Without a compiler, OpenMP or a folder to write to there is no fast path, and nothing else changes:
torch operations compute the same, rounding by rounding.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purespike.compiler.native import VARIABLE, KernelError, library, mode

__all__ = ["VARIABLE", "available", "function", "threads", "threads_for", "usable"]

_SOURCE = Path(__file__).with_name("kernel.cpp")
# No contraction and no -ffast-math: the roundings are part of the meaning.
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared"),
)
_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
_WORTH_A_THREAD = 1 << 15  # elements
_POINTER, _WHOLE, _REAL, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "forward": (
        [_POINTER, _WHOLE, *[_POINTER] * 2, *[_WHOLE] * 2, *[_REAL] * 4, *[_FLAG] * 2],
        _WHOLE,
    ),
    "backward": (
        [*[_POINTER] * 4, *[_WHOLE] * 2, *[_REAL] * 4, *[_FLAG] * 4, *[_REAL] * 2, _FLAG],
        None,
    ),
    "normed": (
        [
            *(_POINTER, *[_WHOLE] * 2, *[_POINTER] * 2, *[_WHOLE] * 3, *[_POINTER] * 2, _REAL),
            *(*[_POINTER] * 2, _REAL, *[_POINTER] * 2, *[_REAL] * 4, *[_FLAG] * 2),
        ],
        _WHOLE,
    ),
    "unnormed": (
        [
            *(*[_POINTER] * 2, _WHOLE, _POINTER, *[_WHOLE] * 3, *[_POINTER] * 6),
            *(*[_REAL] * 4, *[_FLAG] * 3, *[_REAL] * 2, _FLAG),
        ],
        None,
    ),
    "halve": ([*[_POINTER] * 2, *[_WHOLE] * 3, _FLAG], None),
    "spread": ([*[_POINTER] * 2, *[_WHOLE] * 3, _FLAG], None),
}


def available() -> str:
    """Say why there is no fast path here; the empty string where there is one."""
    found = _library(mode())
    return found if isinstance(found, str) else ""


def usable(x: Tensor) -> bool:
    """Whether the fast path takes this input: a plain CPU tensor in eager mode.

    Raises:
        KernelError: if ``PURESPIKE_KERNEL`` is not a known value, or is ``require`` in vain.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in _DTYPES
        and type(x) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and not isinstance(_library(mode()), str)
    )


@cache
def function(name: str, dtype: torch.dtype) -> Callable[..., int]:
    """One of the functions of ``kernel.cpp``, for tensors that :func:`usable` takes."""
    held = _library(mode())
    if isinstance(held, str):
        raise KernelError("the fast kernel is switched off", found=held)
    found: Any = held[f"{name}_{_DTYPES[dtype]}"]
    found.argtypes, found.restype = _SIGNATURES[name]
    return found  # type: ignore[no-any-return]


def threads(x: Tensor) -> int:
    """How many threads a tensor is worth."""
    return threads_for(x.numel())


def threads_for(numbers: int) -> int:
    """How many threads so many numbers are worth."""
    return torch.get_num_threads() if numbers >= _WORTH_A_THREAD else 1


@cache
def _library(said: str) -> ctypes.CDLL | str:
    """The compiled kernel, or why there is none; asked at every forward pass, so remembered."""
    return library(_SOURCE, _FLAGS, "the fast kernel of the neurons")
