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

from purespike.trainer.networks.configuration import NetworkConfig, NeuronConfig
from purespike.trainer.networks.parts import Parts, check_spikes, scaled
from purespike.trainer.networks.spikformer import TransformerBlock
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.attention import HeadSum, Mask
from purespike.trainer.nn.auxiliary import AapDownsample, Accumulate
from purespike.trainer.nn.gates import residual_gate
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["QKAttention", "QKEmbedding", "qkformer_network"]

_CHANNELS, _HEADS = 384, 8
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


class QKAttention(nn.Module):
    """Token QK attention: the channels of each head that a token asks with decide what it keeps."""

    def __init__(self, channels: int, neuron: NeuronConfig) -> None:
        super().__init__()
        self.q, self.k = (SpikingUnit(channels, channels, neuron, kernel=1) for _ in range(2))
        self.count = HeadSum(_HEADS)
        counting = replace(neuron, threshold=neuron.threshold * _COUNTING, learned_tau=False)
        self.neuron = counting.build()
        self.mask = Mask()
        self.project = SpikingUnit(channels, channels, neuron, kernel=1, bias=True)

    def forward(self, s: Tensor) -> Tensor:
        """Of the spikes (T, B, C, H, W)."""
        kept = self.mask(self.k(s), self.neuron(self.count(self.q(s))))
        return self.project(kept)  # type: ignore[no-any-return]


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
        for _ in range(depth):
            attention = QKAttention(channels, config.neuron)
            blocks.append(TransformerBlock(config, channels, attention))
        stages.append(1 + depth)
    stem = SpikingUnit(config.in_channels, last // 8, config.neuron)
    return Parts(stem, tuple(blocks), tuple(stages))
