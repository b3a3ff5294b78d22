"""QKFormer (Zhou et al., NeurIPS 2024, arXiv 2403.16552), HST-4-384 for CIFAR.

Three stages of 96, 192 and 384 channels with 1, 1 and 2 blocks. Token QK attention: for each token
and head, neurons count the channels at which queries fire, and what they fire lets keys through.

What differs from the authors' code, each because no sum of spikes can say it:

- The last stage has spiking self-attention there, whose weights are made of the data; here it has
  token QK attention, as the first two. That takes the values away, their layer with them.
- Spikes are joined by a gate where they are added there; ``gate="add"`` adds them.
- Max pooling stands behind the neuron (an OR), not in front of it.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from purespike.trainer.networks.configuration import NetworkConfig
from purespike.trainer.networks.parts import Parts, check_spikes, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.attention import HeadSum, Mask
from purespike.trainer.nn.auxiliary import AapDownsample, Accumulate
from purespike.trainer.nn.gates import residual_gate
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["QKBlock", "QKEmbedding", "qkformer_network"]

_CHANNELS, _HEADS, _RATIO = 384, 8, 4
_DEPTHS = (1, 1, 2)
_COUNTING = 0.5  # threshold of the neurons that count channels, over that of the others


class QKEmbedding(nn.Module):
    """Two 3x3 units, joined with a 1x1 unit of their input; the first one is the stem's."""

    def __init__(self, config: NetworkConfig, channels: int, *, first: bool) -> None:
        super().__init__()
        neuron, inputs, stride = config.neuron, channels // 2, 1 if first else 2
        self.out_channels = channels
        unit = SpikingUnit(inputs, channels, neuron)
        more = SpikingUnit(channels, channels, neuron, behind=[MaxPool2d(3, 2, 1)])
        self.main = unit if first else nn.Sequential(unit, more)
        self.identity = SpikingUnit(inputs, channels, neuron, kernel=1, stride=stride)
        self.gate = residual_gate(config.gate)
        self.aap_down = AapDownsample(inputs, channels, stride) if config.aap else None
        self.aap_add = Accumulate() if config.aap else None

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(T, B, C / 2, H, W) to tokens (T, B, C, H', W'), half as high and wide but at first."""
        made = self.main(s)
        out = self.gate(made, self.identity(s))
        if self.aap_down is None or self.aap_add is None:
            return out, None
        return out, self.aap_add(self.aap_down(a), made)


class QKBlock(nn.Module):
    """Token QK attention and perceptron, each joined to the spikes and added to the pathway."""

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        neuron, hidden = config.neuron, _RATIO * channels
        self.out_channels = channels
        self.aap = config.aap
        self.q, self.k = (SpikingUnit(channels, channels, neuron, kernel=1) for _ in range(2))
        self.count = HeadSum(_HEADS)
        counting = replace(neuron, threshold=neuron.threshold * _COUNTING, learned_tau=False)
        self.attention = counting.build()
        self.mask = Mask()
        self.project = SpikingUnit(channels, channels, neuron, kernel=1, bias=True)
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
        attended = self.project(self.mask(self.k(s), self.attention(self.count(self.q(s)))))
        s = self.attention_gate(attended, s)
        thought = self.perceptron(s)
        out = self.perceptron_gate(thought, s)
        if not self.aap:
            return out, None
        return out, self.add_perceptron(self.add_attention(a, attended), thought)


def qkformer_network(config: NetworkConfig) -> Parts:
    """Build stem and blocks.

    Raises:
        ConfigError: if the neurons send counts.
    """
    check_spikes(config)
    last = 4 * _HEADS * scaled(_CHANNELS // (4 * _HEADS), config.width)
    blocks: list[nn.Module] = []
    stages = []
    for stage, depth in enumerate(_DEPTHS):
        channels = last * 2**stage // 4
        blocks.append(QKEmbedding(config, channels, first=stage == 0))
        blocks += [QKBlock(config, channels) for _ in range(depth)]
        stages.append(1 + depth)
    stem = SpikingUnit(config.in_channels, last // 8, config.neuron)
    return Parts(stem, tuple(blocks), tuple(stages))
