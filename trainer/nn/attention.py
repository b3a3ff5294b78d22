"""Attention of spikes: what spiking self-attention multiplies, and the masks that need no product.

Queries, keys and values are spikes. Of the two products of spiking self-attention (Spikformer, Zhou
et al. 2023, Eq. 7 and 8) only the first takes nothing but spikes:

    scores[i, j] = sum_d q[i, d] k[j, d]         spikes meet spikes: a count of coincidences (AND)
    mixed[i, c]  = sum_j scores[i, j] v[j, c]    integers meet spikes

Neither has weights: both operands are made while the network runs, so neither is a synapse that a
chip stores. The compiler captures them exactly and the compliance check fails at both places.

Two later attentions multiply nothing: neurons count spikes over all tokens, or over the channels of
a head, and what they fire is a mask on other spikes.

    SDSA-1 (Spike-driven Transformer, Yao et al. 2023, Eq. 9):      q * SN(sum over tokens of k * v)
    token QK attention (QKFormer, Zhou et al. 2024, Eq. 3 and 4):   k * SN(sum over channels of q)

A sum is a synapse of ones, a mask an AND of two spikes, one of which goes to many places.
"""

from __future__ import annotations

from torch import Tensor, nn

from purespike.trainer.errors import ConfigError, ShapeError

__all__ = ["AttentionMix", "AttentionScores", "HeadSum", "Mask", "TokenSum", "check_heads"]


class AttentionScores(nn.Module):
    """``q k^T`` for each head: two spike tensors (T, B, C, H, W) to counts (T, B, heads, N, N).

    N = H W tokens, each with C / heads channels of a head.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Count, for each pair of tokens, the channels in which both spike."""
        return _tokens(q, self.heads) @ _tokens(k, self.heads).transpose(-1, -2)


class AttentionMix(nn.Module):
    """``scores v`` for each head: (T, B, heads, N, N) and (T, B, C, H, W) to (T, B, C, H, W)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, scores: Tensor, v: Tensor) -> Tensor:
        """Add up, for each token, the values of all tokens times its scores with them."""
        mixed = scores @ _tokens(v, self.heads)
        return mixed.transpose(-1, -2).reshape(v.shape)


class TokenSum(nn.Module):
    """How many tokens fire, in each channel: (T, B, C, H, W) to a current (T, B, C, 1, 1)."""

    def forward(self, s: Tensor) -> Tensor:
        """Add up over height and width."""
        return s.sum((3, 4), keepdim=True)


class HeadSum(nn.Module):
    """How many channels of each head fire: (T, B, C, H, W) to a current (T, B, heads, H, W)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, s: Tensor) -> Tensor:
        """Add up over the channels of a head."""
        return _by_head(s, self.heads).sum(3)


class Mask(nn.Module):
    """``s m``, the AND of spikes (T, B, C, H, W) with those of a mask that reaches many places.

    The mask has one spike for each channel, (T, B, C, 1, 1), or one for each head and token,
    (T, B, heads, H, W).
    """

    def forward(self, s: Tensor, m: Tensor) -> Tensor:
        """Let through what the mask has."""
        if m.shape[3:] != s.shape[3:]:
            return s * m
        return (_by_head(s, m.shape[2]) * m.unsqueeze(3)).flatten(2, 3)


def _by_head(s: Tensor, heads: int) -> Tensor:
    """(T, B, C, H, W) as (T, B, heads, C / heads, H, W)."""
    return s.reshape(*s.shape[:2], heads, -1, *s.shape[3:])


def check_heads(channels: int, heads: int) -> None:
    """Raise ConfigError unless the heads share the channels evenly."""
    if channels % heads:
        raise ConfigError(
            "the heads of an attention share its channels",
            found=f"{channels} channels, {heads} heads",
            allowed="a multiple of the heads",
            where="NetworkConfig(width=...)",
            remedy="choose another width",
        )


def _tokens(x: Tensor, heads: int) -> Tensor:
    """(T, B, C, H, W) as (T, B, heads, N, C / heads)."""
    if x.dim() != 5 or x.shape[2] % heads:
        raise ShapeError(
            "attention takes a sequence of images whose channels the heads share",
            found=f"shape {tuple(x.shape)}",
            allowed=f"(T, B, C, H, W), C a multiple of {heads}",
            where="attention",
            remedy="change the channels or the heads",
        )
    split = x.reshape(*x.shape[:2], heads, x.shape[2] // heads, x.shape[3] * x.shape[4])
    return split.transpose(-1, -2)
