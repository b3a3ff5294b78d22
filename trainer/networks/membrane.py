"""MS-ResNet (Hu et al., "Advancing Spiking Neural Networks towards Deep Residual Learning", 2021).

Shortcuts add currents, and no neuron stands between two blocks (arXiv 2112.08954, Sec. III): the
stream is the running sum of all currents before, which each block's first neuron turns into spikes.
In its transitions the shortcut is a 1x1 convolution of that current. As the authors' code has it:
every stage halves the image, the first one too; normalizations begin at the threshold, the last one
of each block at 0.

On a chip a sum of currents exists in the dendrites of one layer of neurons only, so the synapses of
all blocks before are there once more for each neuron that reads their sum (docs/networks.md).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from purespike.trainer.networks.configuration import NetworkConfig, NeuronConfig
from purespike.trainer.networks.parts import Parts, scaled
from purespike.trainer.networks.units import convolution
from purespike.trainer.nn.gates import Add
from purespike.trainer.nn.layers import BatchNorm2d, GlobalAvgPool2d

__all__ = ["ClosingNeuron", "MembraneBlock", "membrane_network", "normalized"]

_WIDTHS = (64, 128, 256, 512)


def normalized(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    bias: bool = False,
    weight: float = 1.0,
) -> nn.Sequential:
    """Convolution and batch normalization, whose weight begins at ``weight``: a current."""
    norm = BatchNorm2d(out_channels)
    nn.init.constant_(norm.weight, weight)
    return nn.Sequential(convolution(in_channels, out_channels, kernel, stride, bias=bias), norm)


class MembraneBlock(nn.Module):
    """Twice neuron, 3x3 convolution and normalization; the shortcut carries the current."""

    currents: ClassVar[bool] = True  # what it puts out has no firing rate

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, config: NetworkConfig
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        at = config.neuron.threshold
        self.neuron1 = config.neuron.build()
        self.layer1 = normalized(in_channels, out_channels, 3, stride, weight=at)
        self.neuron2 = config.neuron.build()
        last = 0.0 if config.zero_init_residual else at
        self.layer2 = normalized(out_channels, out_channels, 3, weight=last)
        self.identity: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.identity = normalized(in_channels, out_channels, 1, stride, weight=at)
        self.join = Add()

    def forward(self, x: Tensor, a: Tensor | None = None) -> tuple[Tensor, None]:
        """Advance the current (T, B, C, H, W) by one block."""
        residual = self.layer2(self.neuron2(self.layer1(self.neuron1(x))))
        return self.join(residual, x if self.identity is None else self.identity(x)), None


class ClosingNeuron(nn.Module):
    """The neurons in front of the classifier, behind the mean over all places if ``pooled``."""

    def __init__(self, channels: int, neuron: NeuronConfig, *, pooled: bool = False) -> None:
        super().__init__()
        self.out_channels = channels
        self.pool = GlobalAvgPool2d() if pooled else None
        self.neuron = neuron.build()

    def forward(self, x: Tensor, a: Tensor | None = None) -> tuple[Tensor, None]:
        """Currents (T, B, C, H, W) to spikes."""
        return self.neuron(x if self.pool is None else self.pool(x)), None


def membrane_network(config: NetworkConfig, depths: tuple[int, ...]) -> Parts:
    """Build stem and blocks; the neurons in front of the classifier are the last block."""
    widths = [scaled(width, config.width) for width in _WIDTHS]
    channels = widths[0]
    stem = normalized(config.in_channels, channels, 7, 2, weight=config.neuron.threshold)
    blocks: list[nn.Module] = []
    for depth, width in zip(depths, widths, strict=True):
        for index in range(depth):
            blocks.append(MembraneBlock(channels, width, 1 if index else 2, config))
            channels = width
    return Parts(stem, (*blocks, ClosingNeuron(channels, config.neuron)), (*depths, 1))
