"""The quantizers of QONNX: what they count, and on which grid they put constants.

Source: qonnx 1.0.0, ``custom_op/general`` (intquant.py, bipolar_quant.py, multithreshold.py), whose
float32 arithmetic is meant exactly here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from purespike.compiler.ir.graph import Shape
from purespike.compiler.ir.ops.levels import Rounding
from purespike.compiler.quantized.counting import ROUND, bipolar, uniform, whole_range
from purespike.compiler.quantized.exact import Affine, exact
from purespike.compiler.quantized.network import MOST_LEVELS
from purespike.compiler.quantized.thresholds import Counter
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.constants import Constant, attributes
from purespike.targets.onnx.quantized.parameters import (
    Grid,
    channelwise,
    positive,
    values,
    whole_number,
)

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
QUANTIZERS = ("Quant", "IntQuant", "BipolarQuant", "MultiThreshold")
_ROUNDINGS: dict[str, Rounding] = {
    "ROUND": "half even",
    "HALF_EVEN": "half even",
    "CEIL": "ceil",
    "FLOOR": "floor",
    "UP": "up",
    "DOWN": "down",
    "HALF_UP": "half away",  # of qonnx: away from zero, on both sides
    "HALF_DOWN": "half to zero",
}
Given = Grid | Constant


def counter(node: NodeProto, parameters: Sequence[Given], shape: Shape) -> Counter:
    """What a quantizer counts of a value of the network.

    Args:
        node: A node of one of ``QUANTIZERS``.
        parameters: Its inputs but the first.
        shape: Of the value, without samples.

    Raises:
        OnnxError: If a parameter is none that a quantizer has.
    """
    if node.op_type == "MultiThreshold":
        return _thresholds(node, parameters[0], shape)
    if node.op_type == "BipolarQuant":
        scale = positive(channelwise(parameters[0], shape), "a scale")
        return bipolar(scale, exact(0))
    said, at, bits, signed, narrow, mode = _quant(node, parameters)
    scale, zero = positive(channelwise(said, shape), "a scale"), channelwise(at, shape)
    return uniform(scale, zero, bits, signed, narrow, mode)


def on_grid(node: NodeProto, x: Given, parameters: Sequence[Given]) -> Grid:
    """What a quantizer makes of constants, such as weights.

    Which whole number a weight is, is computed in the floats of the file, as every executor does
    it: a weight half way between two would else be another one here than where it was trained.

    Raises:
        OnnxError: If a parameter is none that a quantizer has, or a zero point no whole number.
    """
    if node.op_type == "MultiThreshold":
        raise OnnxError("thresholds on constants", remedy="fold the constants before")
    source = _floats(x)
    if node.op_type == "BipolarQuant":
        whole = np.where(source >= 0, 1, -1)
        return Grid(whole.astype(np.int64), positive(values(parameters[0]), "a scale"))
    scale, zero, bits, signed, narrow, mode = _quant(node, parameters)
    steps, zeros = positive(values(scale), "a scale"), _floats(zero)
    if bool((np.rint(zeros) != zeros).any()):
        raise OnnxError("a zero point of weights is no whole number")
    moved = source / _floats(scale) + zeros
    if bits == 1 and signed:
        whole = np.where(moved >= 0, 1, -1)
    else:
        whole = ROUND[mode](np.clip(moved, *whole_range(bits, signed, narrow)))
    if not bool(np.isfinite(whole).all()):
        raise OnnxError("a quantized constant is not finite", remedy="the training diverged")
    return Grid((whole - zeros).astype(np.int64), steps)


def _floats(x: Given) -> Constant:
    """In the type that the file computes in."""
    return x.exact().astype(np.float32) if isinstance(x, Grid) else x


def _quant(
    node: NodeProto, parameters: Sequence[Given]
) -> tuple[Given, Given, int, bool, bool, Rounding]:
    scale, zero, width = parameters
    a = attributes(node)
    bits = whole_number(width, "a bit width")
    if not 1 <= bits <= 32:
        raise OnnxError("a bit width that no quantizer has", found=str(bits), allowed="1 to 32")
    said = a.get("rounding_mode", b"ROUND").decode("utf-8", "replace").upper()
    if said not in _ROUNDINGS:
        raise OnnxError("unknown rounding", found=said, allowed=", ".join(_ROUNDINGS))
    return scale, zero, bits, bool(a["signed"]), bool(a["narrow"]), _ROUNDINGS[said]


def _thresholds(node: NodeProto, table: Given, shape: Shape) -> Counter:
    a = attributes(node)
    layout = a.get("data_layout", b"").decode("utf-8", "replace")
    if layout not in ("", "NCHW", "NC"):
        raise OnnxError("channels in another place", found=layout, allowed="NCHW, NC")
    rows = values(table)
    if rows.ndim != 2 or rows.shape[0] not in (1, shape[0]):
        raise OnnxError("thresholds that do not fit", found=f"{rows.shape} for {shape}")
    if rows.shape[1] > MOST_LEVELS:
        raise OnnxError("too many thresholds", found=str(rows.shape[1]), allowed=str(MOST_LEVELS))
    bounds = np.sort(rows, axis=1).T.reshape(rows.shape[1], -1, *(1,) * (len(shape) - 1))
    worth = Affine.of(a.get("out_scale", 1.0), a.get("out_bias", 0.0))
    return Counter(bounds, (False,) * len(bounds), worth)
