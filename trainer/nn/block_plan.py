"""How the kernels go through a residual block: sizes, numbers, and places in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from purespike.trainer.nn import filtering, synapses
from purespike.trainer.nn.filtering import Shape, Sizes
from purespike.trainer.nn.native import threads_for

__all__ = ["UNITS", "Described", "Firing", "Plan"]

UNITS = 4  # at most, as in kernels/block.cpp
_WAYS = ("filtered", "scattered")  # as there
_ALIGNED = 64
_WHOLE, _REAL = ctypes.c_int64, ctypes.c_double


_PLACES = ("kernel", "currents", "moments", "bits")
_FLAGS_OF_ALL = ("last", "way", "to_zero", "detached", "surrogate", "threads")
_NUMBERS = ("eps", "momentum", "scale", "decay", "threshold", "amount", "steepness", "peak")


class _Unit(ctypes.Structure):
    _fields_ = [
        ("shape", Shape),
        *((name, _WHOLE) for name in (*_PLACES, *_FLAGS_OF_ALL)),
        *((name, _REAL) for name in _NUMBERS),
    ]


class _Block(ctypes.Structure):
    _fields_ = [
        *((name, _WHOLE) for name in ("steps", "residual", "beside", "gate", "threads")),
        ("units", _Unit * UNITS),
    ]


# to_zero, detached, surrogate; eps, momentum, scale, decay, threshold, amount, steepness, peak.
Firing = tuple[int | float, ...]
_FLAGS = 3
# Shape of the weights, whether they lie channels last, and sizes of the convolution; what follows.
Described = tuple[torch.Size, bool, Sizes, Firing]


@dataclass(frozen=True)
class _Convolved:
    size: torch.Size  # of the input, (N, C, H, W)
    weight: torch.Size
    sizes: Sizes

    @property
    def out(self) -> torch.Size:
        """The shape of the output, (N, C', H', W')."""
        shape = filtering.shape_of(self.size, self.weight, self.sizes)
        return torch.Size((shape.images, shape.out, shape.rows, shape.columns))

    @property
    def possible(self) -> bool:
        """Whether the kernels take it."""
        return (
            self.size[1] == self.weight[1]
            and min(self.out) > 0
            and prod(self.out) > self.out[1]  # a variance takes two pixels
            and synapses.listable(self.size, self.weight)
            and filtering.way(self.size, self.weight, self.sizes) in _WAYS
        )


class Plan:
    """How a block is computed on inputs of one shape.

    Args:
        size: of the input, (T, B, C, H, W).
        dtype: float32 or float64.
        units: along the residual path, then the one beside it, if there is one.
        residual: how many of them are the residual path.
        gate: and, or, iand, xor.

    Attributes:
        possible: whether the kernels take all of it; if not, there is nothing else.
        convolutions: of each unit.
        outs: the shape of each unit's spikes, (T B, C', H', W').
        places: how many numbers each of these has.
        bits: the shape of the output in bits.
        size: of the output, (T, B, C', H', W').
        stride: of the output, channels last.
        native: what the kernels read.
        memory: bytes that are kept for the backward pass.
        room: numbers in the largest array of a unit.
        spare: numbers in the largest weights.
    """

    def __init__(
        self,
        size: torch.Size,
        dtype: torch.dtype,
        units: Sequence[Described],
        residual: int,
        gate: str,
    ) -> None:
        steps, batch, *image = size
        entering = torch.Size((steps * batch, *image))
        self.convolutions: list[_Convolved] = []
        self.outs: list[torch.Size] = []
        self.possible = 1 <= residual <= len(units) <= residual + 1 and residual < UNITS
        if not self.possible:
            return
        for k, (weight, _, sizes, _) in enumerate(units):
            into = entering if k in (0, residual) else self.outs[-1]
            self.convolutions.append(_Convolved(into, weight, sizes))
            self.possible = self.convolutions[-1].possible
            if not self.possible:
                return
            self.outs.append(self.convolutions[-1].out)
        last = self.outs[residual - 1]
        self.possible = last == (entering if len(units) == residual else self.outs[-1])
        self.size = torch.Size((steps, batch, *last[1:]))
        c, h, w = last[1:]
        self.stride = (batch * c * h * w, c * h * w, 1, w * c, c)
        self.bits = (steps * batch, h, w, -(-c // 8))
        self.places = [prod(each) for each in self.outs]
        self.spare = max(prod(each.weight) for each in self.convolutions)
        self.room = max(prod(entering), *map(prod, self.outs))
        self.memory = 0
        self.native = _Block(
            *(steps, residual, len(units) - residual, synapses.GATES[gate]),
            threads_for(prod(last)),
            (_Unit * UNITS)(
                *(self._unit(*each, dtype) for each in zip(self.convolutions, units, strict=True))
            ),
        )

    def _unit(self, convolved: _Convolved, unit: Described, dtype: torch.dtype) -> _Unit:
        shape = filtering.shape_of(convolved.size, convolved.weight, convolved.sizes)
        numbers = prod(convolved.out)
        pixels = numbers // shape.out
        places = (
            self._place(prod(convolved.weight) * dtype.itemsize),
            self._place(numbers * dtype.itemsize),
            self._place(2 * shape.out * torch.float64.itemsize),
            self._place(pixels * ((shape.out + 7) // 8)),
        )
        way = _WAYS.index(filtering.way(convolved.size, convolved.weight, convolved.sizes))
        flags, reals = unit[3][:_FLAGS], unit[3][_FLAGS:]
        return _Unit(shape, *places, unit[1], way, *map(int, flags), threads_for(numbers), *reals)

    def _place(self, size: int) -> int:
        at = self.memory
        self.memory += -(-size // _ALIGNED) * _ALIGNED
        return at
