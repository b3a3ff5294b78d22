"""Residual blocks on two streams: spikes, and beside them the accumulation pathway.

``forward(s, a)`` returns ``(s', a')``. ``s`` is the spike stream, the only one that is deployed;
``a`` is the auxiliary accumulation pathway (AAP) or None where a network is built without it. The
forward methods only call submodules, so that ``torch.fx`` can trace them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.networks.units import convolution
from purespike.trainer.nn.auxiliary import AapAvgPool, AapDownsample, Accumulate
from purespike.trainer.nn.gates import LOGICAL, Add, residual_gate
from purespike.trainer.nn.layers import AvgPool2d, BatchNorm2d, ThresholdBatchNorm2d
from purespike.trainer.nn.neuron import IF
from purespike.trainer.nn.paths import KINDS, Paths

__all__ = ["EXPANSION", "BottleneckBlock", "DualStreamBlock", "ResidualBlock"]

EXPANSION = 4  # a bottleneck's output channels over its inner ones
_ON_CURRENTS = ("sn", "vanilla")


class DualStreamBlock(nn.Module):
    """The join of a residual block on both streams (AAP paper, Eq. 10 and 11, Table 1).

    Logical kind (and, or, iand, xor; also add, the SEW join): ``A = SN(F(s))``,
    ``s' = gate(A, identity(s))``, ``a' = down(a) + A``. Kinds that add currents:
    ``s' = SN(F(s) + identity(s))``. For ``sn`` the closing neuron is an IF with hard reset whatever
    the other neurons are, because only that passes spikes on unchanged when ``F`` is silent; for
    ``vanilla`` it is as all others (Spiking ResNet). The paper leaves open what these accumulate;
    here it is the block's spike output ``s'``, which keeps the pathway integer-valued.

    Where the block changes the shape, the identity is a 1x1 convolution with that stride and batch
    normalization, followed by a neuron except where currents are added; the pathway then goes
    through :class:`purespike.trainer.nn.auxiliary.AapDownsample`.

    Args:
        in_channels: channels of the input spikes.
        out_channels: channels of the output spikes.
        stride: of the block and of the identity path.
        gate: kind of the join.
        neuron: neuron of the block.
        aap: whether the block carries the accumulation pathway.
        threshold_norm: tdBN in place of batch normalization; two normalized currents that are added
            get ``1 / sqrt(2)`` each, where the identity is one of them (InfLoR-SNN's code).
        pooled_identity: average pooling and a 1x1 convolution instead of a strided one.
        entry_pool: average the input over windows (size, stride, padding), on each of its paths;
            only where currents are added, since averages are not spikes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        gate: str,
        neuron: NeuronConfig,
        *,
        aap: bool,
        threshold_norm: bool = False,
        pooled_identity: bool = False,
        entry_pool: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        if entry_pool and gate not in _ON_CURRENTS:
            raise ConfigError(
                f"gate {gate} takes spikes, and an average of spikes is none",
                found=f"average pooling in front of a block joined by {gate}",
                allowed=f"gates {', '.join(_ON_CURRENTS)}, or max pooling",
                where="pool",
                remedy='set pool="max"',
            )
        self.gate_kind = gate
        self.out_channels = out_channels
        self.reshapes = stride != 1 or in_channels != out_channels
        self._threshold = neuron.threshold if threshold_norm else None
        self._terms = 2 if self.reshapes and gate in _ON_CURRENTS else 1
        self.aap = aap
        self._build_residual(in_channels, out_channels, stride, neuron)
        self.gate: nn.Module = Add() if gate in _ON_CURRENTS else residual_gate(gate)
        self.entry = AvgPool2d(*entry_pool) if entry_pool else None
        self.identity: nn.Module | None = None
        if self.reshapes:
            pool = pooled_identity and stride > 1
            self.identity = nn.Sequential(
                *([AvgPool2d(stride)] if pool else []),
                convolution(in_channels, out_channels, 1, 1 if pool else stride),
                self._norm(out_channels, self._terms),
                *([] if gate in _ON_CURRENTS else [neuron.build()]),
            )
        self.aap_down: nn.Module | None = None
        self.aap_entry = AapAvgPool(*entry_pool) if aap and entry_pool else None
        if aap:
            self.aap_add = Accumulate()
            if self.reshapes:
                self.aap_down = AapDownsample(in_channels, out_channels, stride)

    @property
    def closing(self) -> nn.Module:
        """The neuron that closes the block."""
        raise NotImplementedError

    @property
    def last_norm(self) -> BatchNorm2d:
        """The normalization in front of it, whose weight 0 silences the residual function."""
        raise NotImplementedError

    def residual(self, s: Tensor) -> Tensor:
        """Return the input current ``F(s)`` of the closing neuron."""
        raise NotImplementedError

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Advance both streams by one block.

        Args:
            s: spikes, (T, B, C, H, W).
            a: accumulation pathway of the same shape; only read if built with ``aap``.

        Returns:
            ``s'`` and ``a'``, both (T, B, C', H', W'); ``a'`` is None if built without ``aap``.
        """
        out, contribution = self.spikes(s)
        if not self.aap:
            return out, None
        carried = a if self.aap_entry is None else self.aap_entry(a)
        carried = carried if self.aap_down is None else self.aap_down(carried)
        return out, self.aap_add(carried, contribution)

    def spikes(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Advance the spike stream.

        Args:
            s: spikes, (T, B, C, H, W).

        Returns:
            ``s'``, and what the pathway adds to ``a``, both (T, B, C', H', W').
        """
        # Each path has a pool of its own, so that the compiler can fold it into what follows.
        residual = self.residual(s if self.entry is None else self.entry(s))
        identity = s if self.entry is None else self.entry(s)
        if self.identity is not None:
            identity = self.identity(identity)
        if self.gate_kind in _ON_CURRENTS:
            out = self.closing(self.gate(residual, identity))
            contribution = out
        else:
            contribution = self.closing(residual)
            out = self.gate(contribution, identity)
        return out, contribution

    def _build_residual(
        self, in_channels: int, out_channels: int, stride: int, neuron: NeuronConfig
    ) -> None:
        raise NotImplementedError

    def _norm(self, channels: int, terms: int = 1) -> BatchNorm2d:
        if self._threshold is None:
            return BatchNorm2d(channels)
        return ThresholdBatchNorm2d(channels, self._threshold, terms)

    def _closing(self, neuron: NeuronConfig) -> nn.Module:
        if self.gate_kind != "sn":
            return neuron.build()
        if neuron.levels:
            return replace(neuron, decay=1.0).build()
        return IF(
            threshold=neuron.threshold,
            surrogate=neuron.surrogate,
            detach_reset=neuron.detach_reset,
        )


class ResidualBlock(DualStreamBlock):
    """Two 3x3 convolutions; everything else as in :class:`DualStreamBlock`."""

    @property
    def closing(self) -> nn.Module:
        """The second neuron."""
        return self.neuron2

    @property
    def last_norm(self) -> BatchNorm2d:
        """The second batch normalization."""
        return self.bn2

    def residual(self, s: Tensor) -> Tensor:
        """Return the input current ``F(s)`` of the closing neuron."""
        return cast(Tensor, self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(s))))))

    def _build_residual(
        self, in_channels: int, out_channels: int, stride: int, neuron: NeuronConfig
    ) -> None:
        self.conv1 = convolution(in_channels, out_channels, 3, stride)
        self.bn1 = self._norm(out_channels)
        self.neuron1 = neuron.build()
        self.conv2 = convolution(out_channels, out_channels, 3, 1)
        self.bn2 = self._norm(out_channels, self._terms)
        self.neuron2 = self._closing(neuron)


class BottleneckBlock(DualStreamBlock):
    """1x1, 3x3 with the stride, 1x1 convolution; as :class:`DualStreamBlock` otherwise.

    The inner layers have a quarter of the output channels.
    """

    @property
    def closing(self) -> nn.Module:
        """The third neuron."""
        return self.neuron3

    @property
    def last_norm(self) -> BatchNorm2d:
        """The third batch normalization."""
        return self.bn3

    def residual(self, s: Tensor) -> Tensor:
        """Return the input current ``F(s)`` of the closing neuron."""
        inner = self.neuron2(self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(s))))))
        return cast(Tensor, self.bn3(self.conv3(inner)))

    def _build_residual(
        self, in_channels: int, out_channels: int, stride: int, neuron: NeuronConfig
    ) -> None:
        inner = max(out_channels // EXPANSION, 1)
        self.conv1 = convolution(in_channels, inner, 1, 1)
        self.bn1 = self._norm(inner)
        self.neuron1 = neuron.build()
        self.conv2 = convolution(inner, inner, 3, stride)
        self.bn2 = self._norm(inner)
        self.neuron2 = neuron.build()
        self.conv3 = convolution(inner, out_channels, 1, 1)
        self.bn3 = self._norm(out_channels, self._terms)
        self.neuron3 = self._closing(neuron)


def _paths(layers: int, block: Any) -> Paths | None:
    """The modules of a join of spikes by logic; None where the block is something else."""
    if block.gate_kind not in LOGICAL or block.entry is not None:
        return None
    names = ("conv", "bn", "neuron")
    units = [tuple(getattr(block, f"{name}{k}") for name in names) for k in range(1, layers + 1)]
    if block.identity is not None:
        units.append(tuple(block.identity))
    possible = all(len(unit) == len(names) for unit in units)
    return Paths(units, layers, block.gate) if possible else None


KINDS |= {ResidualBlock: partial(_paths, 2), BottleneckBlock: partial(_paths, 3)}
