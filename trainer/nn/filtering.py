"""Gradients of convolutions that are weights times reals, on a CPU, channels last.

Those by the input are computed here, with fused multiply-adds. A 3 x 3 convolution without stride
or dilation takes a quarter of the multiplications, by Winograd's minimal filtering
(``kernels/winograd.h``). Its rounding is that of sums over a square of 6 x 6 pixels instead of
3 x 3, so a gradient among zeros is zero up to the rounding of its neighbours', and one that is not
finite spoils its square (bounds: ``tests/trainer/test_filtering.py``). Others up to nine taps add
up what each pixel gives back through each tap (``kernels/scatter.h``), tap after tap. Larger
kernels, and a few pixels, are torch's, as are dense gradients by weights.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purespike.compiler.native import library, mode
from purespike.trainer.nn.native import threads

__all__ = [
    "Shape",
    "Sizes",
    "available",
    "by_input",
    "by_weights",
    "function",
    "kernel",
    "shape_of",
    "way",
]

_SOURCE = Path(__file__).with_name("kernels") / "dense.cpp"
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared", "-Wno-psabi"),
)
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_LEAST = 3  # pixels on a side that are worth a square
_TAPS = 9  # at most
_PIXELS = 512  # of the gradient that are worth laying out the weights
_SHAPE = "images height width channels rows columns out kh kw sy sx py px dy dx"
Sizes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # stride, padding, dilation


class Shape(ctypes.Structure):
    """`Shape` of vectors.h."""

    _fields_ = [(name, ctypes.c_int64) for name in _SHAPE.split()]


@lru_cache(1024)
def shape_of(size: torch.Size, weight: torch.Size, sizes: Sizes) -> Shape:
    """A convolution of images (N, C, H, W) by (C', C, kh, kw), which nobody may write to."""
    n, c, *image = size
    stride, padding, dilation = sizes
    out, _, *kernel = weight
    places = [
        (image[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    return Shape(n, *image, c, *places, out, *kernel, *stride, *padding, *dilation)


def available() -> str:
    """Say why there are no kernels here; the empty string where there are."""
    found = _library(mode())
    return found if isinstance(found, str) else ""


def kernel(size: torch.Size, weight: Tensor, sizes: Sizes) -> str:
    """The kernel for the gradient by an input (N, C, H, W), or the empty string: torch's.

    Args:
        size: of the input.
        weight: (C', C, kh, kw).
        sizes: stride, padding and dilation, by rows and columns.
    """
    if weight.dtype not in _DTYPES or available():
        return ""
    return way(size, weight.shape, sizes)


@lru_cache(1024)
def way(size: torch.Size, weight: torch.Size, sizes: Sizes) -> str:
    """The same where there are kernels, for weights of that shape."""
    stride, padding, dilation = sizes
    simple = tuple(weight[2:]) == (3, 3) and stride == dilation == (1, 1)
    if simple and max(padding) <= 2 and min(size[2:]) >= _LEAST:
        return "filtered"
    shape = shape_of(size, weight, sizes)
    pixels = shape.images * shape.rows * shape.columns
    return "scattered" if shape.kh * shape.kw <= _TAPS and pixels >= _PIXELS else ""


def by_input(grad: Tensor, weight: Tensor, size: torch.Size, sizes: Sizes) -> Tensor:
    """The gradient by an input (N, C, H, W), channels last, whose values nobody needs.

    Args:
        grad: by the output, (N, C', H', W'), channels last.
        weight: (C', C, kh, kw).
        size: of the input.
        sizes: stride, padding and dilation, by rows and columns.
    """
    if name := kernel(size, weight, sizes):
        out = torch.empty(size, dtype=grad.dtype, memory_format=torch.channels_last)
        shape, plain = shape_of(size, weight.shape, sizes), weight.contiguous()
        function(name, grad.dtype)(
            *(grad.data_ptr(), plain.data_ptr(), out.data_ptr(), ctypes.byref(shape), threads(out))
        )
        return out
    return _torchs(grad, grad.new_empty(1).expand(size), weight, sizes, 0)


def by_weights(grad: Tensor, x: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
    """The gradient by weights (C', C, kh, kw), of an input x (N, C, H, W)."""
    return _torchs(grad, x, weight, sizes, 1)


def _torchs(grad: Tensor, x: Tensor, weight: Tensor, sizes: Sizes, which: int) -> Tensor:
    wanted = [which == 0, which == 1, False]
    found: Tensor = torch.ops.aten.convolution_backward(
        grad, x, weight, None, *sizes, False, [0, 0], 1, wanted
    )[which]
    return found


@cache
def function(name: str, dtype: torch.dtype) -> Any:
    """One of the functions of ``dense.cpp``."""
    held: Any = _library(mode())
    found = held[f"{name}_{_DTYPES[dtype]}"]
    found.argtypes, found.restype = [*[ctypes.c_void_p] * 4, ctypes.c_int], None
    return found


@cache
def _library(said: str) -> ctypes.CDLL | str:
    return library(_SOURCE, _FLAGS, "the kernel of dense gradients")
