"""The fast path of the spiking neuron on a CPU.

What it computes is what :mod:`purespike.trainer.nn.dynamics` computes with torch operations,
rounding by rounding; it only walks over memory once (:mod:`purespike.trainer.nn.native`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from purespike.trainer.nn.native import function, threads
from purespike.trainer.nn.surrogate import (
    ATan,
    FastSigmoid,
    PiecewiseQuadratic,
    Rectangular,
    Surrogate,
    Triangular,
)

__all__ = ["SLOPES", "backward", "forward"]

_GIVEN = 0  # the surrogate's slope is an array that torch computed
# The numbers of `enum Surrogate` in kernel.cpp, with steepness and peak.
SLOPES: dict[type, Callable[[Any], tuple[int, float, float]]] = {
    ATan: lambda s: (1, math.pi / 2 * s.alpha, s.alpha / 2),
    FastSigmoid: lambda s: (2, s.alpha, 1.0),
    Triangular: lambda s: (3, s.alpha, 1.0),
    PiecewiseQuadratic: lambda s: (3, s.alpha, s.alpha),
    Rectangular: lambda s: (4, s.width / 2, 1.0 / s.width),
}


def forward(
    x: Tensor,
    *,
    scale: float,
    decay: float,
    threshold: float,
    amount: float,
    to_zero: bool,
    keep_gap: bool,
) -> tuple[Tensor, Tensor | None, float]:
    """Run all steps.

    Args:
        x: input currents, (T, B, ...), for which :func:`purespike.trainer.nn.native.usable` holds.
        scale: factor on ``x``.
        decay: of the membrane potential, after the reset.
        threshold: of firing.
        amount: what a soft reset subtracts.
        to_zero: hard reset.
        keep_gap: whether a backward pass will follow.

    Returns:
        The spikes, ``h - threshold`` (both in the dtype and memory format of ``x``), and the mean
        of the spikes.
    """
    if not torch.ops.aten.is_non_overlapping_and_dense(x[0]):
        x = x.contiguous()
    steps, n = x.shape[0], x[0].numel()
    spikes = x.new_empty_strided(x.shape, (n, *x.stride()[1:]))  # x may repeat one step: stride 0
    gap = torch.empty_like(spikes) if keep_gap else None
    fired = function("forward", x.dtype)(
        *(x.data_ptr(), x.stride(0), spikes.data_ptr(), 0 if gap is None else gap.data_ptr()),
        *(steps, n, scale, decay, threshold, amount, to_zero, threads(x)),
    )
    return spikes, gap, fired / x.numel()


def backward(
    grad_spikes: Tensor,
    gap: Tensor,
    *,
    scale: float,
    decay: float,
    threshold: float,
    amount: float,
    to_zero: bool,
    detached: bool,
    held: bool,
    surrogate: Surrogate | None,
    slope: Callable[[], Tensor],
) -> Tensor:
    """Go back through all steps.

    Args:
        grad_spikes: gradient of the loss by the spikes, (T, B, ...).
        gap: from :func:`forward`.
        scale: factor on the input.
        decay: of the membrane potential, after the reset.
        threshold: of firing.
        amount: what a soft reset subtracts.
        to_zero: hard reset.
        detached: no gradient through the reset.
        held: the same current entered at every step, so its gradient is the sum over the steps.
        surrogate: the pseudo-derivative; those in ``SLOPES`` are computed on the way.
        slope: computes all others with torch, (T, B, ...), in float64 or else float32.

    Returns:
        The gradient by the input, (T, B, ...) or for one that was held (1, B, ...), in the dtype
        and memory format of ``gap``.
    """
    if grad_spikes.dtype != gap.dtype or grad_spikes.stride() != gap.stride():
        grad_spikes = torch.empty_like(gap).copy_(grad_spikes)
    known = SLOPES.get(type(surrogate))
    kind, steepness, peak = known(surrogate) if known is not None else (_GIVEN, 0.0, 0.0)
    given = slope() if kind == _GIVEN else None
    if given is not None and given.stride() != gap.stride():
        given = torch.empty_like(gap, dtype=given.dtype).copy_(given)
    out = torch.empty_like(gap[:1] if held else gap)
    steps = gap.shape[0]
    function("backward", gap.dtype)(
        *(grad_spikes.data_ptr(), gap.data_ptr(), 0 if given is None else given.data_ptr()),
        *(out.data_ptr(), steps, gap.numel() // steps, scale, decay, threshold, amount),
        *(to_zero, detached, held, kind, steepness, peak, threads(gap)),
    )
    return out
