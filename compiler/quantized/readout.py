"""Outputs as whole numbers that compare as the network's own do."""

from __future__ import annotations

import math

import numpy as np

from purespike.compiler.quantized.exact import QuantizedError, common_unit, few
from purespike.compiler.quantized.synapses import WIDEST
from purespike.compiler.quantized.value import Value, Whole, per_channel


def comparable(x: Value) -> tuple[Whole, Whole]:
    """(factor, bias) by channel, (C,), with which sums compare as what they are worth.

    Where biases are no whole numbers of units, outputs count in parts of a unit: as many as there
    are different fractions. So what differs by less than a unit is told apart by its fraction, and
    what is equal stays equal.

    Raises:
        QuantizedError: If channels are worth different units, or one would not fit.
    """
    factor, shift = x.worth("the readout")
    found = common_unit(factor, WIDEST)
    if found is None:
        raise QuantizedError(
            "the outputs are compared with each other, and each has a unit of its own",
            found=few(factor),
            allowed="one scale for all outputs, or a quantizer behind them",
            remedy="quantize the last layer's weights per tensor (Brevitas: "
            "Int8WeightPerTensorFloat), or end in a QuantIdentity",
        )
    unit, whole = found
    base = np.broadcast_to(np.asarray(shift / unit, dtype=object), x.shape)
    below = np.vectorize(math.floor, otypes=[np.int64])(base)
    rest = base - below
    ranks = {f: k for k, f in enumerate(sorted(set(rest.ravel().tolist())))}
    parts = len(ranks)
    order = np.vectorize(ranks.__getitem__, otypes=[np.int64])(rest)
    bias = below * parts + order
    bias = bias - (int(bias.max()) + int(bias.min())) // 2  # the greatest stays the greatest
    by_channel = np.broadcast_to(bias, x.shape).reshape(x.shape[0], -1)
    if bool((by_channel != by_channel[:, :1]).any()):
        raise QuantizedError(
            "the outputs of one channel have several biases",
            found="padding of a layer whose input has no zero, at the end of the network",
            remedy="end in a quantizer, or in a layer without padding",
        )
    return per_channel(whole, x.shape).astype(np.int64) * parts, by_channel[:, 0]
