"""Several processes that train one network, as torchrun starts them.

Every process makes the whole batch, so that shuffling, encoding and shifts are those of one
process, and trains on its share of it. Gradients are averaged with the weight of each share, and
the statistics of batch normalization are taken over all shares: the result is that of one process
with the same batch, up to the rounding of sums that are added in another order.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from purespike.trainer.errors import ConfigError

__all__ = ["World", "normalize", "world"]


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: of this process; 0 writes files and shows progress.
        size: number of processes.
        per_machine: how many of them run on this machine.
    """

    rank: int = 0
    size: int = 1
    per_machine: int = 1

    @property
    def machines(self) -> int:
        """Machines that take part, each with as many processes."""
        return self.size // self.per_machine

    def share(self, count: int) -> slice:
        """Which samples of a batch of ``count`` this process takes."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def require(self, samples: int, batch_size: int) -> None:
        """Refuse batches that leave a process without work.

        Args:
            samples: to train on.
            batch_size: of all processes together.

        Raises:
            ConfigError: if a batch, the last one of an epoch too, has fewer samples than processes.
        """
        smallest = min(batch_size, samples % batch_size or batch_size)
        if smallest < self.size:
            raise ConfigError(
                "a batch has fewer samples than there are processes",
                found=f"{smallest} samples in a batch, {self.size} processes",
                allowed="at least one sample a process, in the last batch of an epoch too",
                where="TrainConfig(batch_size=...)",
                remedy="choose another batch_size, or start fewer processes",
            )


def world() -> World:
    """The processes that torchrun says there are; this one alone without it."""
    if not distributed.is_torchelastic_launched():
        return World()
    return World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].clone()
        distributed.all_reduce(total)
        return total


def normalize(x: Tensor, norm: nn.BatchNorm2d, scale: float = 1.0) -> Tensor:
    """Batch normalization with statistics over the images of all processes, as one would take them.

    torch's own SyncBatchNorm computes on GPUs only.

    Args:
        x: (N, C, H, W), this process's share.
        norm: in training mode, with momentum and running statistics, which are updated.
        scale: factor on its weight (tdBN).
    """
    inputs = x.float()
    own = torch.cat([inputs.sum((0, 2, 3)), inputs.new_tensor([inputs[:, 0].numel()])])
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    mean, count = total[:-1] / total[-1], total[-1]
    centred = inputs - mean[:, None, None]
    squares: Tensor = _Sum.apply(centred.square().sum((0, 2, 3)))  # type: ignore[no-untyped-call]
    variance = squares / count
    with torch.no_grad():
        momentum = norm.momentum or 0.0
        if norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.lerp_(mean, momentum)
            norm.running_var.lerp_(squares / (count - 1), momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
    y = centred * (variance + norm.eps).rsqrt()[:, None, None]
    if norm.affine:
        y = y * (norm.weight * scale)[:, None, None] + norm.bias[:, None, None]
    return y.to(x.dtype)
