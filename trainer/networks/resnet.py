"""Spiking residual networks: for ImageNet, for CIFAR, with basic and with bottleneck blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from purespike.trainer.networks.blocks import (
    EXPANSION,
    BottleneckBlock,
    DualStreamBlock,
    ResidualBlock,
)
from purespike.trainer.networks.configuration import NetworkConfig
from purespike.trainer.networks.parts import Parts, check_size, scaled
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.layers import MaxPool2d

__all__ = ["ResNetPlan", "residual_network"]

# Size, stride and padding of the pool behind a stem.
_POOLS = {"imagenet": (3, 2, 1), "averaged": (3, 2, 1), "deep": (2, 2, 0)}


@dataclass(frozen=True)
class ResNetPlan:
    """What tells one residual network from another.

    Attributes:
        depths: blocks of each stage; each stage but the first halves the image.
        widths: channels of each stage (of the 3x3 convolution in a bottleneck).
        stem: 'imagenet' (7x7 with stride 2, then max pooling 3 with stride 2), 'averaged' (the
            same with ``config.pool``), 'cifar' (3x3), or 'deep' (three times 3x3, then pooling 2).
        bottleneck: bottleneck blocks.
        pooled_identity: identity paths that halve the image do so by average pooling.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: str = "cifar"
    bottleneck: bool = False
    pooled_identity: bool = False


def residual_network(config: NetworkConfig, plan: ResNetPlan) -> Parts:
    """Build stem and blocks.

    Raises:
        ConfigError: if averages of spikes would meet a gate that takes spikes, or the input cannot
            be halved as often as the network does.
    """
    if plan.pooled_identity:  # both paths of a block must come to the same size
        check_size(config, 1, 2 ** (len(plan.depths) - (plan.stem != "deep")))
    kind: type[DualStreamBlock] = BottleneckBlock if plan.bottleneck else ResidualBlock
    widths = [scaled(width, config.width) for width in plan.widths]
    pooled = plan.stem in ("averaged", "deep") and config.pool == "avg"
    averaged = _POOLS[plan.stem] if pooled else None
    channels = widths[0]
    blocks: list[nn.Module] = []
    for stage, (depth, width) in enumerate(zip(plan.depths, widths, strict=True)):
        out = width * EXPANSION if plan.bottleneck else width
        for index in range(depth):
            blocks.append(
                kind(
                    channels,
                    out,
                    2 if stage > 0 and index == 0 else 1,
                    config.gate,
                    config.neuron,
                    aap=config.aap,
                    threshold_norm=config.threshold_norm,
                    pooled_identity=plan.pooled_identity,
                    entry_pool=None if blocks else averaged,
                )
            )
            channels = out
    return Parts(_stem(config, plan.stem, widths[0]), tuple(blocks), plan.depths)


def _stem(config: NetworkConfig, kind: str, channels: int) -> nn.Module:
    neuron = config.neuron
    inputs = config.in_channels
    # An average goes into the first block, which can pool on each of its paths.
    pooled = kind == "imagenet" or config.pool == "max"
    pool = [MaxPool2d(*_POOLS[kind])] if pooled and kind in _POOLS else []
    if kind in ("imagenet", "averaged"):
        return SpikingUnit(inputs, channels, neuron, kernel=7, stride=2, behind=pool)
    if kind == "cifar":
        return SpikingUnit(inputs, channels, neuron)
    more = [SpikingUnit(channels, channels, neuron) for _ in range(2)]
    return SpikingUnit(inputs, channels, neuron, behind=[*more, *pool])
