"""Attention of masks in the graph: sums are synapses of ones, a mask is an AND (`nn.attention`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, IRError, Op
from purespike.trainer.nn.attention import HeadSum, Mask, TokenSum

__all__ = ["MASKS", "fronts"]


def _token_sum(m: nn.Module, shape: tuple[int, ...], steps: int, path: str) -> Any:
    return [("", ops.Conv2d(np.ones((shape[0], 1, *shape[1:])), groups=shape[0]))]


def _head_sum(m: HeadSum, shape: tuple[int, ...], steps: int, path: str) -> Any:
    if shape[0] % m.heads:
        raise IRError(
            "the heads of an attention share its channels",
            found=f"{shape[0]} channels, {m.heads} heads",
            allowed="a multiple of the heads",
        )
    return [("", ops.Conv2d(np.ones((m.heads, shape[0] // m.heads, 1, 1)), groups=m.heads))]


def _mask(m: nn.Module, shape: tuple[int, ...], steps: int, path: str) -> Any:
    """Both spikes together make the threshold; `fronts` carries them there."""
    return [(".sum", ops.Add()), ("", ops.Neuron(np.asarray(2.0), decay=0.0))]


MASKS: dict[type[nn.Module], Callable[..., Any]] = {
    TokenSum: _token_sum,
    HeadSum: _head_sum,
    Mask: _mask,
}


def fronts(m: nn.Module, inputs: list[Edge]) -> list[Op]:
    """What a module does to each of its inputs before they meet; of most modules nothing.

    Raises:
        IRError: If a mask does not fit, or one of both is no spike.
    """
    if not isinstance(m, Mask):
        return []
    spikes, mask = (e.shape for e in inputs)
    by_token = mask[1:] == spikes[1:]
    fits = len(spikes) == len(mask) == 3 and (
        spikes[0] % mask[0] == 0 if by_token else mask == (spikes[0], 1, 1)
    )
    if not fits or any(not e.domain <= SPIKE for e in inputs):
        raise IRError(
            "a mask of spikes does not fit what it masks",
            found=" and ".join(map(str, inputs)),
            allowed="spikes (C, H, W), and of the mask (C, 1, 1) or (heads, H, W)",
            remedy="put a spiking neuron in front of it",
        )
    if by_token:  # to all channels of a head
        spread = ops.Conv2d(np.ones((spikes[0], 1, 1, 1)), groups=mask[0])
    else:  # to all places: each window around it holds the one pixel
        around = (spikes[1] - 1, spikes[2] - 1)
        kernel = np.ones((spikes[0], 1, *spikes[1:]))
        spread = ops.Conv2d(kernel, padding=around, groups=spikes[0])
    return [ops.Scale(np.ones(())), spread]
