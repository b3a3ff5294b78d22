"""Constants of a QONNX file: plain numbers, and whole numbers on a quantizer's grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Shape
from purespike.compiler.quantized.exact import Exact, common_unit, exact
from purespike.compiler.quantized.synapses import WIDEST
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.constants import Constant


@dataclass(frozen=True, eq=False)
class Grid:
    """Constants on a grid: ``whole * scale``; the scale broadcasts to the whole numbers."""

    whole: NDArray[np.int64]
    scale: Exact

    def reordered(self, change: Any) -> Grid:
        """With the places of both changed alike, as by a transposition."""
        spread = np.broadcast_to(self.scale, self.whole.shape)
        scale = self.scale.reshape(()) if self.scale.size == 1 else np.asarray(change(spread))
        return Grid(np.asarray(change(self.whole)), scale)

    def exact(self) -> Exact:
        """The values themselves."""
        return np.asarray(self.whole.astype(object) * self.scale, dtype=object)


def values(x: Grid | Constant) -> Exact:
    """The exact values of a constant."""
    return x.exact() if isinstance(x, Grid) else exact(x)


def weights(x: Grid | Constant, output: int) -> tuple[NDArray[np.float64], Exact]:
    """(whole numbers, what they are worth by output channel: () or (C,)).

    Args:
        x: The weights of a layer.
        output: The axis of its output channels.

    Raises:
        OnnxError: If they are on no grid, or on one that differs within an output channel.
    """
    grid = x if isinstance(x, Grid) else _found(x)
    if grid.scale.size == 1:
        return grid.whole.astype(np.float64), grid.scale.reshape(())
    rows = np.moveaxis(np.broadcast_to(grid.scale, grid.whole.shape), output, 0)
    rows = rows.reshape(len(rows), -1)
    if not bool((rows == rows[:, :1]).all()):
        raise OnnxError(
            "weights of one output have several scales",
            found=f"a scale of shape {grid.scale.shape} for weights {grid.whole.shape}",
            allowed="one scale, or one for each output channel",
        )
    return grid.whole.astype(np.float64), rows[:, 0]


def _found(x: Constant) -> Grid:
    """The grid that plain numbers lie on, if they do."""
    few = exact(x.ravel()[:64])  # most weights that are on no grid show it soon
    found = None if common_unit(few, WIDEST) is None else common_unit(exact(x), WIDEST)
    if found is None:
        raise OnnxError(
            "weights that are not quantized",
            found=f"{x.dtype} numbers on no common grid of {WIDEST} steps",
            allowed="weights behind a Quant, IntQuant or BipolarQuant node",
            remedy="quantize the weights of this layer (Brevitas: QuantConv2d, QuantLinear)",
        )
    unit, whole = found
    return Grid(whole, exact(unit))


def channelwise(x: Grid | Constant, shape: Shape) -> Exact:
    """A constant that meets a value of the network, as () or (C, 1, ...).

    Raises:
        OnnxError: If it differs within a channel.
    """
    said = x.whole.shape if isinstance(x, Grid) else np.shape(x)
    if math.prod(said) == 1:
        return values(x).reshape(())
    own = said[1:] if len(said) == len(shape) + 1 and said[0] == 1 else said
    own = (1,) * (len(shape) - len(own)) + own
    if len(own) != len(shape) or any(n != 1 for n in own[1:]):
        raise OnnxError(
            "a constant differs within a channel",
            found=f"shape {said} for values {shape}",
            allowed="a number, or one for each channel",
        )
    return values(x).reshape(own)


def positive(x: Exact, what: str) -> Exact:
    """The numbers, all of them above 0."""
    if any(v <= 0 for v in x.ravel().tolist()):
        raise OnnxError(f"{what} is not above 0", found=f"{float(min(x.ravel().tolist())):g}")
    return x


def whole_number(x: Grid | Constant, what: str) -> int:
    """One whole number."""
    array = values(x)
    one: Fraction = array.reshape(-1)[0] if array.size == 1 else Fraction(1, 2)
    if one.denominator != 1:
        raise OnnxError(f"{what} is not one whole number", found=f"shape {array.shape}")
    return int(one)
