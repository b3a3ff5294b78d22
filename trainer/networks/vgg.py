"""VGG-16 as InfLoR-SNN uses it: thirteen convolutions, pooling between them, one classifier."""

from __future__ import annotations

from torch import Tensor, nn

from purespike.trainer.networks.configuration import NetworkConfig, NeuronConfig
from purespike.trainer.networks.parts import Parts, check_size, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.layers import AvgPool2d, MaxPool2d

__all__ = ["PlainBlock", "vgg_network"]

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class PlainBlock(nn.Module):
    """Pooling where asked for, convolution, batch normalization, neuron; no second stream."""

    def __init__(
        self, in_channels: int, out_channels: int, neuron: NeuronConfig, pool: nn.Module | None
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.pool = pool
        self.unit = SpikingUnit(in_channels, out_channels, neuron)

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, None]:
        """Advance the spikes (T, B, C, H, W) by one layer."""
        return self.unit(s if self.pool is None else self.pool(s)), None


def vgg_network(config: NetworkConfig) -> Parts:
    """Build stem and blocks; the last pooling is part of the average in front of the classifier.

    Raises:
        ConfigError: if the input is too small for the four poolings that are left.
    """
    check_size(config, 2 ** (len(_STAGES) - 1))
    widths = [[scaled(width, config.width) for width in stage] for stage in _STAGES]
    channels = widths[0][0]
    stem = SpikingUnit(config.in_channels, channels, config.neuron)
    blocks: list[nn.Module] = []
    for stage, row in enumerate(widths):
        for index, width in enumerate(row):
            if stage == index == 0:
                continue
            starts = stage > 0 and index == 0
            pool = None
            if starts:
                pool = AvgPool2d(2) if config.pool == "avg" else MaxPool2d(2)
            blocks.append(PlainBlock(channels, width, config.neuron, pool))
            channels = width
    return Parts(stem, tuple(blocks), (1, 2, 3, 3, 3))
