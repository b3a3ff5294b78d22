"""The Spike-driven Transformer (Yao et al., NeurIPS 2023, arXiv 2307.01694), 2-256, for CIFAR.

Shortcuts add currents, as in MS-ResNet (:mod:`purespike.trainer.networks.membrane`), and its
attention (SDSA-1) is made of masks and sums: for each channel, neurons count the tokens at which
key and value fire together, and what they fire lets queries through. Tokens are the pixels of the
last feature map.

One thing differs from the authors' code. There the last pooling takes the maximum of currents,
which no sum of spikes can say where a shortcut reads the result; here the two poolings of the
patch embedding stand one layer earlier, behind neurons (an OR). Parameters are the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from purespike.trainer.networks.configuration import NetworkConfig
from purespike.trainer.networks.membrane import ClosingNeuron, normalized
from purespike.trainer.networks.parts import Parts, check_spikes, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.attention import Mask, TokenSum
from purespike.trainer.nn.gates import Add, And
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["SpikeDrivenBlock", "SpikePatchEmbedding", "spike_driven_network"]

_CHANNELS, _BLOCKS, _RATIO = 256, 2, 4
_COUNTING = 0.5  # threshold of the neurons that count tokens, over that of the others


class SpikePatchEmbedding(nn.Module):
    """The convolutions behind the stem, and the position embedding added to their current."""

    currents: ClassVar[bool] = True

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        neuron = config.neuron
        self.out_channels = channels
        self.split = nn.Sequential(
            SpikingUnit(channels // 8, channels // 4, neuron, behind=[MaxPool2d(3, 2, 1)]),
            SpikingUnit(channels // 4, channels // 2, neuron, behind=[MaxPool2d(3, 2, 1)]),
            normalized(channels // 2, channels, 3),
        )
        self.neuron = neuron.build()
        self.position = normalized(channels, channels, 3)
        self.join = Add()

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, None]:
        """Spikes (T, B, C / 8, H, W) to a current of tokens (T, B, C, H / 4, W / 4)."""
        x = self.split(s)
        return self.join(self.position(self.neuron(x)), x), None


class SpikeDrivenBlock(nn.Module):
    """SDSA-1 and a perceptron, each added to the current."""

    currents: ClassVar[bool] = True

    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        neuron, hidden = config.neuron, _RATIO * channels
        self.out_channels = channels
        self.neuron = neuron.build()
        self.q, self.k, self.v = (
            SpikingUnit(channels, channels, neuron, kernel=1) for _ in range(3)
        )
        self.both = And()
        self.count = TokenSum()
        counting = replace(neuron, threshold=neuron.threshold * _COUNTING, learned_tau=False)
        self.talking = counting.build()
        self.mask = Mask()
        self.project = normalized(channels, channels, 1, bias=True)
        self.attended = Add()
        self.perceptron = nn.Sequential(
            neuron.build(),
            normalized(channels, hidden, 1, bias=True),
            neuron.build(),
            normalized(hidden, channels, 1, bias=True),
        )
        self.join = Add()

    def forward(self, x: Tensor, a: Tensor | None = None) -> tuple[Tensor, None]:
        """Advance the current (T, B, C, H, W)."""
        s = self.neuron(x)
        q, k, v = self.q(s), self.k(s), self.v(s)
        mask = self.talking(self.count(self.both(k, v)))
        x = self.attended(self.project(self.mask(q, mask)), x)
        return self.join(self.perceptron(x), x), None


def spike_driven_network(config: NetworkConfig) -> Parts:
    """Build stem and blocks; a mean over all tokens and neurons stand before the classifier.

    Raises:
        ConfigError: if the neurons send counts.
    """
    check_spikes(config)
    channels = 8 * scaled(_CHANNELS // 8, config.width)
    blocks = (
        SpikePatchEmbedding(config, channels),
        *(SpikeDrivenBlock(config, channels) for _ in range(_BLOCKS)),
        ClosingNeuron(channels, config.neuron, pooled=True),
    )
    stem = SpikingUnit(config.in_channels, channels // 8, config.neuron)
    return Parts(stem, blocks, (1, _BLOCKS, 1))
