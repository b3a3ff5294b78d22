"""Convolutions and linear layers that hear spikes, by additions alone, on a CPU.

``kernels/synapses.cpp`` adds up rows of weights where there are spikes, and in the backward pass
gradients where there were; spikes are kept as bits. The gradient by the input is dense, and
torch's. The sums are those of the dense layer in another order: for each output up to 16 channels
in groups of four and then by taps, more channels spike by spike; for each weight over a band of
rows, then over the bands of a sixteenth of the images, then over the sixteenths.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from purespike.compiler.native import library, mode
from purespike.trainer.nn import native
from purespike.trainer.nn.native import threads, usable

__all__ = ["Packed", "Sizes", "available", "gate", "hear", "pack", "ready"]

_SOURCE = Path(__file__).with_name("kernels") / "synapses.cpp"
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared", "-Wno-psabi"),
)
_ROW = 256  # bytes of a row of weights, at most
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_SHAPE = "images height width channels rows columns out kh kw sy sx py px dy dx"
_POINTER, _WHOLE, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "pack": ([*[_POINTER] * 2, *[_WHOLE] * 2, _FLAG], _WHOLE),
    "forward": ([*[_POINTER] * 5, _FLAG], None),
    "gradient": ([*[_POINTER] * 4, _FLAG], None),
    "gate": ([*[_POINTER] * 5, _WHOLE, *[_FLAG] * 2], _WHOLE),
    "ungate": ([*[_POINTER] * 5, _WHOLE, *[_FLAG] * 2], None),
}
Sizes = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class _Shape(ctypes.Structure):
    """`Shape` of vectors.h."""

    _fields_ = [(name, _WHOLE) for name in _SHAPE.split()]


class Packed:
    """Spikes as bits, and how many of all there could be.

    Attributes:
        bits: uint8 (N, H, W, ceil(C / 8)), the lowest bit first.
        size: (N, C, H, W).
        rate: spikes a place.
    """

    def __init__(self, bits: Tensor, size: torch.Size, fired: int) -> None:
        self.bits, self.size, self.rate = bits, size, fired / max(size.numel(), 1)


def available() -> str:
    """Say why there are no kernels here; the empty string where there are."""
    found = _library(mode())
    return native.available() or (found if isinstance(found, str) else "")


def ready(x: Tensor) -> bool:
    """Whether the kernels take a tensor; its values may still be no spikes."""
    return x.dtype in _DTYPES and usable(x) and not isinstance(_library(mode()), str)


def pack(x: Tensor) -> Packed | None:
    """The bits of spikes (N, C, H, W); None where a number is neither 0 nor 1."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.contiguous(memory_format=torch.channels_last)
    n, c, h, w = x.shape
    bits = torch.empty((n, h, w, (c + 7) // 8), dtype=torch.uint8)
    fired = function("pack", x.dtype)(x.data_ptr(), bits.data_ptr(), n * h * w, c, threads(x))
    return None if fired < 0 else Packed(bits, x.shape, fired)


def fits(x: Tensor, weight: Tensor, sizes: Sizes) -> bool:
    """Whether a kernel of these sizes takes that image."""
    _, padding, dilation = sizes
    image, kernel = x.shape[2:], weight.shape[2:]
    return x.shape[1] == weight.shape[1] and all(
        image[i] + 2 * padding[i] > dilation[i] * (kernel[i] - 1) for i in (0, 1)
    )


def hear(
    x: Tensor,
    spikes: Packed,
    weight: Tensor,
    bias: Tensor | None,
    sizes: Sizes,
    by_events: tuple[bool, bool],
) -> Tensor:
    """A convolution of spikes, (N, C, H, W) to (N, C', H', W') with channels last.

    Args:
        x: the spikes, which the gradient goes to; their values are not read.
        spikes: the same in bits.
        weight: (C', C, kh, kw).
        bias: (C',).
        sizes: stride, padding and dilation, by rows and columns.
        by_events: whether the kernels here compute the output, and the gradient of the weights;
            torch does what they do not.
    """
    if weight[0, 0].numel() == 1 and sizes[0] != (1, 1):
        # That gradient of torch's writes behind its buffer: purespike.trainer.nn.pointwise.
        by_events = by_events[0], True
    if spikes.size[3] * weight.shape[2] * spikes.size[1] * _ROW >= 1 << 32:
        by_events = False, by_events[1]  # lists hold places in the weights in 32 bits
    out: Tensor = _Hear.apply(  # type: ignore[no-untyped-call]
        x, spikes, weight, bias, sizes, by_events
    )
    return out


class _Hear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        spikes: Packed,
        weight: Tensor,
        bias: Tensor | None,
        sizes: Sizes,
        by_events: tuple[bool, bool],
    ) -> Tensor:
        ctx.save_for_backward(spikes.bits, weight, None if by_events[1] else x)
        ctx.size, ctx.sizes, ctx.biased = spikes.size, sizes, bias is not None
        if not by_events[0]:
            return torch.nn.functional.conv2d(x, weight, bias, *sizes)
        shape = _shape(spikes.size, weight, sizes)
        out = torch.empty(
            (shape.images, shape.out, shape.rows, shape.columns),
            dtype=weight.dtype,
            memory_format=torch.channels_last,
        )
        kernel = weight.contiguous()
        function("forward", weight.dtype)(
            *(spikes.bits.data_ptr(), kernel.data_ptr(), 0 if bias is None else bias.data_ptr()),
            *(out.data_ptr(), ctypes.byref(shape), threads(out)),
        )
        # As torch lays it out: a network may call view.
        return out.contiguous() if x.is_contiguous() and weight.is_contiguous() else out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        bits, weight, x = ctx.saved_tensors
        grad = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        by_x = by_weight = by_bias = None
        dense = [ctx.needs_input_grad[0], x is not None and ctx.needs_input_grad[2], False]
        if any(dense):
            # Nobody reads the input for the gradient by it, only its size.
            of = grad.new_empty(1).expand(ctx.size) if x is None else x
            stride, padding, dilation = ctx.sizes
            by_x, by_weight, _ = torch.ops.aten.convolution_backward(
                grad, of, weight, None, stride, padding, dilation, False, [0, 0], 1, dense
            )
        if x is None and ctx.needs_input_grad[2]:
            by_weight = torch.empty(weight.shape, dtype=weight.dtype)
            shape = _shape(ctx.size, weight, ctx.sizes)
            function("gradient", weight.dtype)(
                *(bits.data_ptr(), grad.data_ptr(), by_weight.data_ptr()),
                *(ctypes.byref(shape), threads(grad)),
            )
            # The optimizer walks over weight and gradient together: in one memory format.
            by_weight = torch.empty_like(weight).copy_(by_weight)
        if ctx.biased and ctx.needs_input_grad[3]:
            by_bias = grad.sum((0, 2, 3))
        return by_x, None, by_weight, by_bias, None, None


_GATES = {"and": 0, "or": 1, "iand": 2, "xor": 3}  # as in gates.h


def gate(a: Tensor, s: Tensor, kind: str) -> Tensor | None:
    """Join spikes of one shape by a gate; None where they are no spikes or lie differently."""
    if a.shape != s.shape or a.stride() != s.stride() or not _dense(a):
        return None
    n = a.numel()
    out = torch.empty_like(a)
    bits = torch.empty((2, (n + 7) // 8), dtype=torch.uint8)
    spikes = function("gate", a.dtype)(
        *(a.data_ptr(), s.data_ptr(), out.data_ptr(), bits[0].data_ptr(), bits[1].data_ptr()),
        *(n, _GATES[kind], threads(a)),
    )
    if not spikes:
        return None
    joined: Tensor = _Joined.apply(a, s, out, bits, kind)  # type: ignore[no-untyped-call]
    return joined


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, s: Tensor, out: Tensor, bits: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(bits)
        ctx.kind, ctx.stride = kind, out.stride()
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        grad = grad_outputs[0]
        if grad.stride() != ctx.stride:
            grad = grad.new_empty_strided(grad.shape, ctx.stride).copy_(grad)
        by_a, by_s = torch.empty_like(grad), torch.empty_like(grad)
        function("ungate", grad.dtype)(
            *(grad.data_ptr(), bits[0].data_ptr(), bits[1].data_ptr()),
            *(by_a.data_ptr(), by_s.data_ptr(), grad.numel(), _GATES[ctx.kind], threads(grad)),
        )
        return by_a, by_s, None, None, None


def _dense(x: Tensor) -> bool:
    return bool(torch.ops.aten.is_non_overlapping_and_dense(x))


def _shape(size: torch.Size, weight: Tensor, sizes: Sizes) -> _Shape:
    n, c, *image = size
    stride, padding, dilation = sizes
    kernel = weight.shape[2:]
    out = [
        (image[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    return _Shape(n, *image, c, *out, len(weight), *kernel, *stride, *padding, *dilation)


@cache
def function(name: str, dtype: torch.dtype) -> Any:
    """One of the functions of ``synapses.cpp``, for tensors that :func:`ready` takes."""
    held: Any = _library(mode())
    found = held[f"{name}_{_DTYPES[dtype]}"]
    found.argtypes, found.restype = _SIGNATURES[name]
    return found


@cache
def _library(said: str) -> ctypes.CDLL | str:
    return library(_SOURCE, _FLAGS, "the kernel of the synapses")
