"""The products of spiking self-attention: both operands come from the network, none is a weight.

Spikformer (Zhou et al. 2023), Eq. 7 and 8. They are here so that such a network can be captured,
run and counted exactly; no pass makes synapses of them, and the compliance check says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape


@dataclass(frozen=True)
class AttentionScores(Op):
    """``q k^T``: spikes (C, H, W) twice -> (heads, N, N), how often tokens fire together."""

    heads: int

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Counts of at most the channels of a head."""
        q, k = inputs
        _check(q, k, self.heads)
        n = q.shape[1] * q.shape[2]
        return (self.heads, n, n), Domain(0, q.shape[0] // self.heads, 1)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """One matrix product a head."""
        q, k = (_tokens(x, self.heads) for x in inputs)
        return None, q @ k.swapaxes(-1, -2)

    def details(self) -> str:
        """How many heads."""
        return f"{self.heads} heads"


@dataclass(frozen=True)
class AttentionMix(Op):
    """``scores v``: counts (heads, N, N) and spikes (C, H, W) -> (C, H, W)."""

    heads: int

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Each value sums N scores."""
        scores, v = inputs
        _check(v, v, self.heads)
        n = v.shape[1] * v.shape[2]
        if scores.shape != (self.heads, n, n):
            raise IRError(
                "the scores do not fit the values",
                found=f"{scores} and {v}",
                allowed=f"scores of shape {(self.heads, n, n)}",
            )
        low, high = min(scores.domain.lo, 0.0), max(scores.domain.hi, 0.0)
        return v.shape, Domain(n * low, n * high, scores.domain.step)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """One matrix product a head."""
        scores, v = inputs
        mixed: Array = (scores @ _tokens(v, self.heads)).swapaxes(-1, -2).reshape(v.shape)
        return None, mixed

    def details(self) -> str:
        """How many heads."""
        return f"{self.heads} heads"


def _tokens(x: Array, heads: int) -> Array:
    """(B, C, H, W) as (B, heads, N, C / heads)."""
    batch, channels, height, width = x.shape
    tokens = x.reshape(batch, heads, channels // heads, height * width)
    return np.ascontiguousarray(tokens.swapaxes(-1, -2))


def _check(a: Edge, b: Edge, heads: int) -> None:
    if len(a.shape) != 3 or a.shape != b.shape or a.shape[0] % heads:
        raise IRError(
            "attention takes images of one shape, whose channels the heads share",
            found=f"{a} and {b}, {heads} heads",
            allowed="(C, H, W), C a multiple of the heads",
        )
    for edge in (a, b):
        if not edge.domain <= SPIKE:
            raise IRError(
                "attention takes spikes",
                found=str(edge),
                allowed="spike",
                remedy="put a spiking neuron in front of it",
            )
