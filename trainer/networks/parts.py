"""What a builder of a network returns, and how wide its layers are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import NetworkConfig

__all__ = ["Parts", "check_size", "check_spikes", "scaled"]


@dataclass(frozen=True)
class Parts:
    """A network without its heads.

    Attributes:
        stem: from the input to the first spikes; its first layer is a convolution.
        blocks: modules ``(s, a) -> (s', a')`` with ``out_channels``.
        stages: how many blocks each stage has; a stage keeps its shape.
    """

    stem: nn.Module
    blocks: tuple[nn.Module, ...]
    stages: tuple[int, ...]


def scaled(channels: int, width: float) -> int:
    """The channels of a network that is ``width`` times as wide."""
    return max(1, round(channels * width))


def check_size(config: NetworkConfig, least: int, multiple: int = 1) -> None:
    """Refuse an input that the network's poolings cannot divide.

    Raises:
        ConfigError: if height or width is below ``least``, or no multiple of ``multiple``.
    """
    if any(side < least or side % multiple for side in config.size):
        allowed = f"at least {least} pixels" if multiple == 1 else f"multiples of {multiple} pixels"
        raise ConfigError(
            f"{config.name} cannot halve an input of this size often enough",
            found=f"size {config.size[0]} x {config.size[1]}",
            allowed=allowed,
            where="NetworkConfig(size=...)",
            remedy="scale the input, or choose a network with fewer poolings",
        )


def check_spikes(config: NetworkConfig) -> None:
    """Refuse neurons that send counts where an attention masks spikes.

    Raises:
        ConfigError: if the neurons have several levels.
    """
    if config.neuron.levels > 1:
        raise ConfigError(
            f"the masks of {config.name}'s attention are of spikes",
            found=f"neuron.levels {config.neuron.levels}",
            allowed="0 or 1: neurons that send spikes",
            where="NetworkConfig(neuron=...)",
            remedy="a product of counts has no form in spikes; choose a network without attention",
        )
