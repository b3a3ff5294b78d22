"""Batch normalization over the images of several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable


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
