"""Convolution, batch normalization, neuron: what all networks are made of."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d

__all__ = ["SpikingUnit", "convolution", "draw_weights"]


class SpikingUnit(nn.Sequential):
    """Convolution, batch normalization, neuron: ``(T, B, C, H, W)`` to spikes.

    Batch normalization acts on input currents, with statistics shared by all time steps, as
    Ledinauskas et al. 2020 found necessary for deep networks.

    An image that does not change is the same storage at every step (stride 0 along T), as encoders
    and data sets give it. Its current is computed once and enters the neuron at all T steps. Spikes
    and gradients are those of T copies, up to the rounding of sums; the running variance is that of
    n = B H W values instead of T n, so it is ``(n - 1/T) / (n - 1)`` times as large.

    Args:
        in_channels: C.
        out_channels: of the spikes.
        neuron: the neuron.
        kernel: of the convolution, padded to keep the size.
        stride: of the convolution.
        bias: of the convolution.
        behind: modules that follow, on spikes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        neuron: NeuronConfig,
        *,
        kernel: int = 3,
        stride: int = 1,
        bias: bool = False,
        behind: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__(
            convolution(in_channels, out_channels, kernel, stride, bias=bias),
            BatchNorm2d(out_channels),
            neuron.build(),
            *behind,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Turn (T, B, C, H, W) into spikes (T, B, C', H', W')."""
        out: Tensor
        if not _held(input):
            out = super().forward(input)  # type: ignore[no-untyped-call]
            return out
        convolution, norm, neuron, *behind = self
        out = neuron(norm(convolution(input[:1])), steps=len(input))
        for module in behind:
            out = module(out)
        return out


def convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int, *, bias: bool = False
) -> Conv2d:
    """A convolution that keeps the size of the image, but for its stride."""
    return Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=bias)


def draw_weights(modules: Iterable[nn.Module], generator: torch.Generator) -> None:
    """Kaiming normal (fan-out) for convolutions, torch's default for classifiers."""
    for module in modules:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _held(x: Tensor) -> bool:
    """Whether every step is the same storage; False for what stands for a tensor in a trace."""
    return (
        isinstance(x, Tensor)
        and x.dim() == 5
        and len(x) > 1
        and x.stride(0) == 0
        and not torch.compiler.is_compiling()
    )
