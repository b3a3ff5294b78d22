"""Average pooling over windows of 2 x 2, on a CPU in one walk over memory each way.

The same numbers as torch's: a quarter of a sum is exact but for the rounding of the sum, which is
taken in the same order. torch keeps the input for its backward pass, fills the gradient with zeros
and adds to it; here nothing is kept, and every gradient is written once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purespike.trainer.nn.native import function, threads, usable

__all__ = ["halve", "halves"]


def halves(pool: nn.AvgPool2d, x: Tensor) -> bool:
    """Whether :func:`halve` does what ``pool`` would do with ``x`` (N, C, H, W)."""
    plain = pool.kernel_size in (2, (2, 2)) and pool.stride in (2, (2, 2))
    return (
        plain
        and pool.padding in (0, (0, 0))
        and pool.divisor_override in (None, 4)
        and x.shape[-2] % 2 == x.shape[-1] % 2 == 0
        and usable(x)
    )


def halve(x: Tensor) -> Tensor:
    """The means over windows of 2 x 2: (N, C, H, W) to (N, C, H / 2, W / 2), in its format."""
    out: Tensor = _Halve.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Halve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        ctx.format = _format(x)
        x = x.contiguous(memory_format=ctx.format)
        out = torch.empty((n, c, h // 2, w // 2), dtype=x.dtype, memory_format=ctx.format)
        _call("halve", x, out, out.shape, ctx.format)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].contiguous(memory_format=ctx.format)
        n, c, h, w = grad.shape
        out = torch.empty((n, c, 2 * h, 2 * w), dtype=grad.dtype, memory_format=ctx.format)
        _call("spread", grad, out, grad.shape, ctx.format)
        return out


def _format(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _call(
    name: str, source: Tensor, to: Tensor, means: torch.Size, form: torch.memory_format
) -> None:
    n, c, h, w = means
    rows, inner = (n * h, c) if form == torch.channels_last else (n * c * h, 1)
    function(name, source.dtype)(source.data_ptr(), to.data_ptr(), rows, w, inner, threads(source))
