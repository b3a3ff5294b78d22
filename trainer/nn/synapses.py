"""Convolutions and linear layers that hear spikes, by additions alone, on a CPU.

``kernels/synapses.cpp`` adds up rows of weights where there are spikes, and in the backward pass
gradients where there were; spikes are kept as bits. The gradient by the input is dense
(:mod:`purespike.trainer.nn.filtering`). The sums are those of the dense layer in another order: for
each output up to 16 channels in groups of four and then by taps, more channels spike by spike; for
each weight over a band of rows, then over the bands of a sixteenth of the images, then over the
sixteenths.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purespike.compiler.native import library, mode
from purespike.trainer.nn import native
from purespike.trainer.nn.carrying import Packed, carried
from purespike.trainer.nn.filtering import Sizes, by_input, by_weights, shape_of
from purespike.trainer.nn.native import threads, usable
from purespike.trainer.nn.once import once

__all__ = ["GATES", "Packed", "available", "gate", "hear", "listable", "pack", "ready"]

_SOURCE = Path(__file__).with_name("kernels") / "synapses.cpp"
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared", "-Wno-psabi"),
)
_ROW = 256  # bytes of a row of weights, at most
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_POINTER, _WHOLE, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "pack": ([*[_POINTER] * 2, *[_WHOLE] * 2, _FLAG], _WHOLE),
    "forward": ([*[_POINTER] * 5, _FLAG], _FLAG),
    "gradient": ([*[_POINTER] * 4, _FLAG], None),
    "gate": ([*[_POINTER] * 5, _WHOLE, *[_FLAG] * 2], _WHOLE),
    "join": ([*[_POINTER] * 4, *[_WHOLE] * 2, *[_FLAG] * 2], _WHOLE),
    "ungate": ([*[_POINTER] * 5, *[_WHOLE] * 2, *[_FLAG] * 2], None),
}


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


def fits(size: torch.Size, weight: Tensor, sizes: Sizes) -> bool:
    """Whether a kernel of these sizes takes images (N, C, H, W)."""
    shape = shape_of(size, weight.shape, sizes)
    return size[1] == weight.shape[1] and shape.rows > 0 and shape.columns > 0


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
    by_events = possible(spikes.size, weight, sizes, by_events)
    out: Tensor = _Hear.apply(  # type: ignore[no-untyped-call]
        x, spikes, weight, bias, sizes, by_events
    )
    return out


def possible(
    size: torch.Size, weight: Tensor, sizes: Sizes, by_events: tuple[bool, bool]
) -> tuple[bool, bool]:
    """What the kernels compute of what they shall, and have to."""
    kernel = weight.shape
    if kernel[2] * kernel[3] == 1 and sizes[0] != (1, 1):
        # That gradient of torch's writes behind its buffer: purespike.trainer.nn.pointwise.
        by_events = by_events[0], True
    return by_events[0] and listable(size, kernel), by_events[1]


def listable(size: torch.Size, weight: torch.Size) -> bool:
    """Whether lists, which hold places in the weights in 32 bits, reach all of them."""
    return size[3] * weight[2] * size[1] * _ROW < 1 << 32


def heard(
    x: Tensor, spikes: Packed, weight: Tensor, bias: Tensor | None, sizes: Sizes, events: bool
) -> Tensor:
    """The output of :func:`hear` without a step of autograd; torch may lay it out as it likes."""
    if events:
        shape = shape_of(spikes.size, weight.shape, sizes)
        out = torch.empty(
            (shape.images, shape.out, shape.rows, shape.columns),
            dtype=weight.dtype,
            memory_format=torch.channels_last,
        )
        kernel = weight.contiguous()
        if function("forward", weight.dtype)(
            *(spikes.bits.data_ptr(), kernel.data_ptr(), 0 if bias is None else bias.data_ptr()),
            *(out.data_ptr(), ctypes.byref(shape), threads(out)),
        ):
            return out
    return torch.nn.functional.conv2d(x, weight, bias, *sizes)


def unheard(
    grad: Tensor, bits: Tensor, weight: Tensor, x: Tensor | None, size: torch.Size, sizes: Sizes
) -> Tensor:
    """The gradient of :func:`hear` by its weights, by events where no ``x`` (N, C, H, W) is given.

    Args:
        grad: by the output, (N, C', H', W') with channels last.
        bits: of the spikes.
        weight: (C', C, kh, kw).
        x: the spikes.
        size: of the spikes.
        sizes: stride, padding and dilation, by rows and columns.
    """
    if x is not None:
        return by_weights(grad, x, weight, sizes)
    out = torch.empty(weight.shape, dtype=weight.dtype)
    function("gradient", weight.dtype)(
        *(bits.data_ptr(), grad.data_ptr(), out.data_ptr()),
        *(ctypes.byref(shape_of(size, weight.shape, sizes)), threads(grad)),
    )
    # The optimizer walks over weight and gradient together: in one memory format.
    return torch.empty_like(weight).copy_(out)


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
        out = heard(x, spikes, weight, bias, sizes, by_events[0])
        # As torch lays it out: a network may call view.
        return out.contiguous() if x.is_contiguous() and weight.is_contiguous() else out

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        bits, weight, x = ctx.saved_tensors
        grad = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = by_input(grad, weight, ctx.size, ctx.sizes)
        if ctx.needs_input_grad[2]:
            by_weight = unheard(grad, bits, weight, x, ctx.size, ctx.sizes)
        if ctx.biased and ctx.needs_input_grad[3]:
            by_bias = grad.sum((0, 2, 3))
        return by_x, None, by_weight, by_bias, None, None


GATES = {"and": 0, "or": 1, "iand": 2, "xor": 3}  # as in gates.h


def gate(a: Tensor, s: Tensor, kind: str) -> Tensor | None:
    """Join spikes of one shape by a gate; None where they are no spikes or lie differently."""
    if a.shape != s.shape or a.stride() != s.stride() or not _dense(a):
        return None
    n = a.numel()
    out = torch.empty_like(a)
    one, other = carried(a), carried(s)
    if one is not None and other is not None:
        joined = torch.empty_like(one.bits)
        read: tuple[Tensor, ...] = one.bits, other.bits
        fired = function("join", a.dtype)(
            *(
                *(each.data_ptr() for each in read),
                joined.data_ptr(),
                out.data_ptr(),
                n,
                one.size[1],
                GATES[kind],
                threads(a),
            )
        )
        with_bits: Packed | None = Packed(joined, one.size, fired)
        run = one.size[1]
    else:
        read = torch.empty(2, (n + 7) // 8, dtype=torch.uint8).unbind()
        spikes = function("gate", a.dtype)(
            *(each.data_ptr() for each in (a, s, out, *read)),
            *(n, GATES[kind], threads(a)),
        )
        if not spikes:
            return None
        with_bits, run = None, 0
    made = out, *read, (GATES[kind], run), with_bits
    result: Tensor = _Joined.apply(a, s, made)  # type: ignore[no-untyped-call]
    return result


class _Joined(torch.autograd.Function):
    """A gate whose output is known: `made` is what :func:`gate` computed."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, s: Tensor, made: tuple[Any, ...]) -> Tensor:
        out: Tensor
        out, bits_a, bits_s, how, joined = made
        ctx.save_for_backward(bits_a, bits_s)
        ctx.how, ctx.stride = how, out.stride()
        if joined is not None:
            ctx.carried = joined, out._version
        return out

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        bits_a, bits_s = ctx.saved_tensors
        grad, (kind, run) = grad_outputs[0], ctx.how
        if grad.stride() != ctx.stride:
            grad = grad.new_empty_strided(grad.shape, ctx.stride).copy_(grad)
        by_a, by_s = torch.empty_like(grad), torch.empty_like(grad)
        function("ungate", grad.dtype)(
            *(grad.data_ptr(), bits_a.data_ptr(), bits_s.data_ptr()),
            *(by_a.data_ptr(), by_s.data_ptr(), grad.numel(), run, kind, threads(grad)),
        )
        return by_a, by_s, None


def _dense(x: Tensor) -> bool:
    return bool(torch.ops.aten.is_non_overlapping_and_dense(x))


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
