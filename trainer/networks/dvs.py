"""7B-Net and Wide-7B-Net for event cameras (SEW ResNet, Fang et al. 2021; AAP paper, Sec. 5.2)."""

from __future__ import annotations

from torch import Tensor, nn

from purespike.trainer.networks.blocks import ResidualBlock
from purespike.trainer.networks.configuration import NetworkConfig
from purespike.trainer.networks.parts import Parts, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.auxiliary import AapDownsample, AapMaxPool
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["PooledBlock", "seven_block_network"]


class PooledBlock(nn.Module):
    """A 1x1 unit where the width changes, a residual block, and max pooling by 2."""

    def __init__(
        self, in_channels: int, out_channels: int, config: NetworkConfig, *, pool: bool
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.aap = config.aap
        widens = in_channels != out_channels
        self.up = (
            SpikingUnit(in_channels, out_channels, config.neuron, kernel=1) if widens else None
        )
        self.aap_up = AapDownsample(in_channels, out_channels, 1) if widens and config.aap else None
        self.block = ResidualBlock(
            out_channels,
            out_channels,
            1,
            config.gate,
            config.neuron,
            aap=config.aap,
            threshold_norm=config.threshold_norm,
        )
        self.pool = MaxPool2d(2) if pool else None
        self.aap_pool = AapMaxPool(2) if pool and config.aap else None

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Advance both streams, (T, B, C, H, W) to half the height and width."""
        s, a = self.block(
            s if self.up is None else self.up(s), a if self.aap_up is None else self.aap_up(a)
        )
        if self.pool is not None:
            s = self.pool(s)
        return s, a if self.aap_pool is None else self.aap_pool(a)


def seven_block_network(config: NetworkConfig, widths: tuple[int, ...]) -> Parts:
    """Build stem and blocks; pooling stops where the image is one pixel high or wide.

    The stem is the 1x1 unit of the first block: what the input's events are turned into spikes by.
    """
    widths = tuple(scaled(width, config.width) for width in widths)
    stem = SpikingUnit(config.in_channels, widths[0], config.neuron, kernel=1)
    side = min(config.size)
    channels = widths[0]
    blocks: list[nn.Module] = []
    for width in widths:
        blocks.append(PooledBlock(channels, width, config, pool=side > 1))
        channels, side = width, side // 2
    return Parts(stem, tuple(blocks), (1,) * len(blocks))
