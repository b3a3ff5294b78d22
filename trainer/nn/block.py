"""A residual block of spikes as one step of autograd, on a CPU.

In small layers half of the time is not sums but what stands around them: steps of autograd, calls,
and spikes that are written as numbers to be read as bits. ``kernels/block.cpp`` goes through a
whole block in one call each way: the units of the residual path, each a convolution, a
normalization and neurons, a unit beside them where the block changes the shape, and the gate. What
it computes is what :func:`~purespike.trainer.nn.unit.hear_and_fire` and
:func:`~purespike.trainer.nn.synapses.gate` compute one after the other, bit for bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from purespike.compiler.native import library, mode
from purespike.trainer.nn import filtering, native, synapses
from purespike.trainer.nn.block_plan import UNITS, Plan
from purespike.trainer.nn.carrying import Packed, carry
from purespike.trainer.nn.memory import Memory
from purespike.trainer.nn.once import once

__all__ = ["Room", "available", "through"]

_SOURCE = Path(__file__).with_name("kernels") / "block.cpp"
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fopenmp", "-fPIC", "-shared", "-Wno-psabi")
_DTYPES = {torch.float32: "float32", torch.float64: "float64"}
_EACH, _RUNNING = 3, 2  # parameters and running statistics of a unit
_CALLED = [
    *((synapses, name) for name in ("forward", "gradient", "join", "ungate")),
    *((native, name) for name in ("normed", "unnormed")),
    *((filtering, name) for name in ("filtered", "scattered")),
]  # as `Calls` in block.cpp has them


def available() -> str:
    """Say why blocks cannot be computed so; the empty string where they can."""
    found = _library(mode())
    missing = synapses.available() or filtering.available()
    return missing or (found if isinstance(found, str) else "")


class Room:
    """Where the tensors of one block lie.

    Args:
        spare: for what nobody keeps; all blocks may share it.

    Attributes:
        kept: for the backward pass.
        out: what comes out.
        back: the gradient by what goes in.
    """

    def __init__(self, spare: Memory) -> None:
        self.kept, self.out, self.back, self.spare = Memory(), Memory(), Memory(), spare


def through(
    x: Tensor,
    spikes: Packed,
    plan: Plan,
    parameters: Sequence[Tensor],
    running: Sequence[Tensor],
    memory: Room,
    *,
    closing: bool,
) -> tuple[Tensor, Tensor | None, list[Tensor]] | None:
    """Go through a block.

    Args:
        x: spikes (T, B, C, H, W), which the gradient goes to; their values are not read.
        spikes: the same in bits.
        plan: for inputs of this shape.
        parameters: of each unit the weights of the convolution, and weight and bias of the
            normalization.
        running: of each unit the running mean and variance, which change.
        memory: for what is computed.
        closing: whether the spikes of the residual path are asked for.

    Returns:
        Spikes (T, B, C', H', W') of the gate, those of the residual path, and the mean of each
        unit's spikes; None, and nothing has changed, where a weight is not finite.
    """
    units = len(plan.outs)
    kept = memory.kept.take((plan.memory,), (1,))
    out = memory.out.take(plan.size, plan.stride, x.dtype)
    path = memory.out.take(plan.size, plan.stride, x.dtype) if closing else None
    bits = torch.empty(plan.bits, dtype=torch.uint8)
    counts = (ctypes.c_int64 * (UNITS + 1))()
    done = _function("forward", x.dtype)(
        *(_calls(x.dtype), ctypes.byref(plan.native), _addresses(parameters, running)),
        *(spikes.bits.data_ptr(), kept.data_ptr(), bits.data_ptr(), out.data_ptr()),
        *(_address(path), counts),
    )
    if not done:
        return None
    made = plan, (out, bits, counts[units]), path, spikes.bits, kept, memory
    found = _Through.apply(x, made, *parameters)  # type: ignore[no-untyped-call]
    out, path = found if closing else (found, None)
    rates = [count / places for count, places in zip(counts, plan.places, strict=False)]
    return out, path, list(torch.tensor(rates, dtype=x.dtype).unbind())


class _Through(torch.autograd.Function):
    """A block whose output is known: `made` is what :func:`through` computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, made: tuple[Any, ...], *parameters: Tensor) -> Any:
        plan, (out, bits, fired), path, heard, kept, ctx.memory = made
        ctx.save_for_backward(heard, kept, *parameters)
        ctx.set_materialize_grads(False)
        ctx.plan, ctx.shape = plan, x.shape
        carry(ctx, bits, out, fired)
        return out if path is None else (out, path)

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        heard, kept, *parameters = ctx.saved_tensors
        plan: Plan = ctx.plan
        dtype = parameters[0].dtype
        grads = [_laid(grad, plan, dtype) for grad in grad_outputs]
        beside = len(parameters)
        if grads[0] is None:  # only the residual path was read
            beside = _EACH * plan.native.residual
            grads[0] = torch.zeros(plan.size, dtype=dtype).as_strided(plan.size, plan.stride)
        by = [torch.empty_like(each) for each in parameters]
        by_x = None
        if ctx.needs_input_grad[0]:
            b, c, h, w = ctx.shape[1:]
            stride = (b * c * h * w, c * h * w, 1, w * c, c)
            by_x = ctx.memory.back.take(ctx.shape, stride, dtype)
        spare = ctx.memory.spare.take((plan.spare + 2 * plan.room,), (1,), dtype)
        at = spare.data_ptr() + plan.spare * dtype.itemsize
        _function("backward", dtype)(
            *(_calls(dtype), ctypes.byref(plan.native), _addresses(parameters), _addresses(by)),
            *(heard.data_ptr(), kept.data_ptr(), *(_address(grad) for grad in (*grads, None)[:2])),
            *(_address(by_x), spare.data_ptr(), at, at + plan.room * dtype.itemsize),
        )
        return by_x, None, *by[:beside], *[None] * len(by[beside:])


def _laid(grad: Tensor | None, plan: Plan, dtype: torch.dtype) -> Tensor | None:
    """A gradient as the kernels read it."""
    if grad is None or (grad.stride() == plan.stride and grad.dtype == dtype):
        return grad
    return torch.empty_strided(plan.size, plan.stride, dtype=dtype).copy_(grad)


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _addresses(parameters: Sequence[Tensor], running: Sequence[Tensor] = ()) -> Any:
    """`Parameters` of each unit."""
    addresses: list[int] = []
    given = iter(running)
    for k in range(0, len(parameters), _EACH):
        addresses += [each.data_ptr() for each in parameters[k : k + _EACH]]
        addresses += [next(given).data_ptr() if running else 0 for _ in range(_RUNNING)]
    return (ctypes.c_void_p * len(addresses))(*addresses)


@cache
def _calls(dtype: torch.dtype) -> Any:
    """`Calls` of block.cpp."""
    addresses = [
        ctypes.cast(module.function(name, dtype), ctypes.c_void_p).value for module, name in _CALLED
    ]
    return (ctypes.c_void_p * len(addresses))(*addresses)


@cache
def _function(name: str, dtype: torch.dtype) -> Any:
    held: Any = _library(mode())
    found = held[f"{name}_{_DTYPES[dtype]}"]
    found.argtypes = [ctypes.c_void_p] * (9 if name == "forward" else 12)
    found.restype = ctypes.c_int if name == "forward" else None
    return found


@cache
def _library(said: str) -> ctypes.CDLL | str:
    return library(_SOURCE, _FLAGS, "the kernel of residual blocks")
