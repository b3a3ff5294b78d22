"""Spikformer-4-384 for CIFAR (Zhou et al. 2023), with the full-spike joins of the AAP paper.

Tokens are the pixels of the last feature map, so linear layers on tokens are 1x1 convolutions here
(the same function). What the AAP paper changes (its Table 4): the additions of the patch
embedding, the attention and the perceptron become IAND of spikes, and the accumulation pathway
adds up the outputs of attention and perceptron; nothing is down-sampled on the way.

What is spike-only: everything but the second product of each attention
(:mod:`purespike.trainer.nn.attention`).
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from purespike.trainer.networks.configuration import NetworkConfig, NeuronConfig
from purespike.trainer.networks.parts import Parts, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.attention import AttentionMix, AttentionScores, check_heads
from purespike.trainer.nn.auxiliary import Accumulate
from purespike.trainer.nn.gates import residual_gate
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["PatchEmbedding", "SpikingAttention", "TransformerBlock", "spikformer_network"]

_CHANNELS, _HEADS, _BLOCKS, _RATIO = 384, 12, 4, 4
_SCALE = 0.125  # of the attention, in front of its neuron; a power of two, so folding it is exact
_THRESHOLD = 0.5  # of that neuron, for LIF neurons with threshold 1


class PatchEmbedding(nn.Module):
    """The convolutions behind the stem, and the position embedding joined to their output."""

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        neuron = config.neuron
        self.out_channels = channels
        self.aap = config.aap
        self.split = nn.Sequential(
            SpikingUnit(channels // 8, channels // 4, neuron),
            SpikingUnit(channels // 4, channels // 2, neuron),
            MaxPool2d(3, stride=2, padding=1),
            SpikingUnit(channels // 2, channels, neuron),
            MaxPool2d(3, stride=2, padding=1),
        )
        self.position = SpikingUnit(channels, channels, neuron)
        self.gate = residual_gate(config.gate)

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(T, B, C / 8, H, W) to tokens (T, B, C, H / 4, W / 4); both streams start from them."""
        s = self.split(s)
        s = self.gate(self.position(s), s)
        return s, s if self.aap else None


class SpikingAttention(nn.Module):
    """Spiking self-attention without softmax, and its projection: spikes (T, B, C, H, W) both."""

    def __init__(self, channels: int, heads: int, neuron: NeuronConfig) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.q, self.k, self.v, self.project = (
            SpikingUnit(channels, channels, neuron, kernel=1, bias=True) for _ in range(4)
        )
        self.scores = AttentionScores(heads)
        self.mix = AttentionMix(heads)
        scaled_input = replace(
            neuron,
            input_scale=neuron.input_scale * _SCALE,
            threshold=neuron.threshold * _THRESHOLD,
            learned_tau=False,
        )
        self.neuron = scaled_input.build()

    def forward(self, s: Tensor) -> Tensor:
        """Let each token read the others."""
        mixed = self.mix(self.scores(self.q(s), self.k(s)), self.v(s))
        return self.project(self.neuron(mixed))  # type: ignore[no-any-return]


class TransformerBlock(nn.Module):
    """Attention and perceptron, each joined to the spike stream and added to the pathway.

    Args:
        config: The network.
        channels: Of the stream.
        attention: In place of Spikformer's; takes and gives spikes (T, B, C, H, W).
    """

    def __init__(
        self, config: NetworkConfig, channels: int, attention: nn.Module | None = None
    ) -> None:
        super().__init__()
        neuron, hidden = config.neuron, _RATIO * channels
        self.out_channels = channels
        self.aap = config.aap
        self.attention = attention or SpikingAttention(channels, _HEADS, neuron)
        self.attention_gate = residual_gate(config.gate)
        self.perceptron = nn.Sequential(
            SpikingUnit(channels, hidden, neuron, kernel=1, bias=True),
            SpikingUnit(hidden, channels, neuron, kernel=1, bias=True),
        )
        self.perceptron_gate = residual_gate(config.gate)
        if config.aap:
            self.add_attention = Accumulate()
            self.add_perceptron = Accumulate()

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Advance both streams, (T, B, C, H, W)."""
        attended = self.attention(s)
        s = self.attention_gate(attended, s)
        thought = self.perceptron(s)
        out = self.perceptron_gate(thought, s)
        if not self.aap:
            return out, None
        return out, self.add_perceptron(self.add_attention(a, attended), thought)


def spikformer_network(config: NetworkConfig) -> Parts:
    """Build stem and blocks.

    Raises:
        ConfigError: if the heads cannot share the channels.
    """
    channels = 8 * scaled(_CHANNELS // 8, config.width)
    stem = SpikingUnit(config.in_channels, channels // 8, config.neuron)
    blocks = (
        PatchEmbedding(config, channels),
        *(TransformerBlock(config, channels) for _ in range(_BLOCKS)),
    )
    return Parts(stem, blocks, (1, _BLOCKS))
