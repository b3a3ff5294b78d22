"""Residual blocks on two streams: spikes, and beside them the accumulation pathway.

``forward(s, a)`` returns ``(s', a')``. ``s`` is the spike stream, the only one that is deployed;
``a`` is the auxiliary accumulation pathway (AAP) or None where a network is built without it. The
forward methods only call submodules, so that ``torch.fx`` can trace them.
"""

from __future__ import annotations

from torch import Tensor, nn

from purespike.trainer.auxiliary import AapDownsample, Accumulate
from purespike.trainer.configuration import NeuronConfig
from purespike.trainer.gates import Add, residual_gate
from purespike.trainer.layers import BatchNorm2d, Conv2d
from purespike.trainer.neuron import IF

__all__ = ["ResidualBlock", "SpikingUnit"]


class SpikingUnit(nn.Sequential):
    """3x3 convolution, batch normalization, neuron: ``(T, B, C, H, W)`` to spikes."""

    def __init__(self, in_channels: int, out_channels: int, neuron: NeuronConfig) -> None:
        super().__init__(
            _convolution(in_channels, out_channels, 3, 1),
            BatchNorm2d(out_channels),
            neuron.build(),
        )


class ResidualBlock(nn.Module):
    """Two convolutions with a residual join of spikes (AAP paper, Eq. 10 and 11).

    Logical kind (and, or, iand, xor; also add): ``A = SN(F(s))``, ``s' = gate(A, identity(s))``,
    ``a' = down(a) + A``. Kind ``sn``: ``s' = IF(F(s) + identity(s))``, where the closing neuron is
    an IF with hard reset whatever the other neurons are, because only that passes spikes on
    unchanged when ``F`` is silent. The paper leaves open what ``sn`` accumulates; here it is the
    block's spike output ``s'``, which keeps the pathway integer-valued.

    Where the block changes the shape, the identity is a 1x1 convolution with that stride and batch
    normalization, followed by a neuron except for ``sn``; the pathway then goes through
    :class:`purespike.trainer.auxiliary.AapDownsample`.

    Args:
        in_channels: channels of the input spikes.
        out_channels: channels of the output spikes.
        stride: of the first convolution and of the identity path.
        gate: kind of the join.
        neuron: neuron of the block.
        aap: whether the block carries the accumulation pathway.
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
    ) -> None:
        super().__init__()
        self.gate_kind = gate
        self.out_channels = out_channels
        reshapes = stride != 1 or in_channels != out_channels
        self.conv1 = _convolution(in_channels, out_channels, 3, stride)
        self.bn1 = BatchNorm2d(out_channels)
        self.neuron1 = neuron.build()
        self.conv2 = _convolution(out_channels, out_channels, 3, 1)
        self.bn2 = BatchNorm2d(out_channels)
        if gate == "sn":
            self.gate: nn.Module = Add()
            self.neuron2: nn.Module = IF(
                threshold=neuron.threshold,
                surrogate=neuron.surrogate,
                detach_reset=neuron.detach_reset,
            )
        else:
            self.gate = residual_gate(gate)
            self.neuron2 = neuron.build()
        self.identity: nn.Module | None = None
        if reshapes:
            self.identity = nn.Sequential(
                _convolution(in_channels, out_channels, 1, stride),
                BatchNorm2d(out_channels),
                *([] if gate == "sn" else [neuron.build()]),
            )
        self.aap = aap
        self.aap_down: nn.Module | None = None
        if aap:
            self.aap_add = Accumulate()
            if reshapes:
                self.aap_down = AapDownsample(in_channels, out_channels, stride)

    def forward(self, s: Tensor, a: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Advance both streams by one block.

        Args:
            s: spikes, (T, B, C, H, W).
            a: accumulation pathway of the same shape; only read if built with ``aap``.

        Returns:
            ``s'`` and ``a'``, both (T, B, C', H', W'); ``a'`` is None if built without ``aap``.
        """
        residual = self.bn2(self.conv2(self.neuron1(self.bn1(self.conv1(s)))))
        identity = s if self.identity is None else self.identity(s)
        if self.gate_kind == "sn":
            out = self.neuron2(self.gate(residual, identity))
            contribution = out
        else:
            contribution = self.neuron2(residual)
            out = self.gate(contribution, identity)
        if not self.aap:
            return out, None
        carried = a if self.aap_down is None else self.aap_down(a)
        return out, self.aap_add(carried, contribution)


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=False,
    )
