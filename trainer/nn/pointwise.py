"""Convolutions that keep clear of a fault in torch: pointwise ones with a stride.

In torch 2.13.0 the gradient of the weights of a 1x1 convolution with a stride is computed by a
kernel of oneDNN that writes behind the end of its buffer, where channels are few, the memory format
is channels-last, and the processor has AVX2 but not AVX-512. Processes die of it at a later
allocation, or train on with what was overwritten.

A pointwise convolution with a stride reads every s-th pixel and no other. It is the same
convolution without a stride on those pixels, and that is how everything here computes it on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["conv1d", "conv2d", "safe_pointwise"]

Sizes = int | tuple[int, ...]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``: (N, C, H, W) or (C, H, W) to (N, C', H', W')."""
    if _affected(input, weight, stride):
        input, stride, padding = _read(input, _pair(stride), padding), 1, 0
    return functional.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv1d``: (N, C, L) or (C, L) to (N, C', L'); oneDNN's are 2-D ones."""
    if _affected(input, weight, stride):
        wide = (0, *_tuple(padding)) if not isinstance(padding, str) else padding
        input = _read(input.unsqueeze(-2), (1, *_tuple(stride)), wide).squeeze(-2)
        stride, padding = 1, 0
    return functional.conv1d(input, weight, bias, stride, padding, dilation, groups)


def safe_pointwise() -> AbstractContextManager[object]:
    """A context in which the convolutions of modules that are not ours become those of this module.

    Those of layers and of ``torch.nn.functional`` alike; it goes around the forward pass.
    """
    return nullcontext() if torch.compiler.is_exporting() else _Safe()


class _Safe(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        chosen: Callable[..., Any] = _SAFE.get(func, func)
        return chosen(*args, **(kwargs or {}))


_SAFE: dict[Callable[..., Any], Callable[..., Tensor]] = {
    functional.conv2d: conv2d,
    functional.conv1d: conv1d,
}


def _affected(input: Tensor, weight: Tensor, stride: Sizes) -> bool:
    """Whether this is a pointwise convolution with a stride on a CPU.

    What is exported stays as it was written, for whoever reads the file.
    """
    return (
        all(size == 1 for size in weight.shape[2:])
        and any(step != 1 for step in _tuple(stride))
        and input.device.type == "cpu"
        and not torch.compiler.is_exporting()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    )


def _read(x: Tensor, stride: tuple[int, ...], padding: Sizes | str) -> Tensor:
    """The pixels that are read, in the memory format of x.

    The mean over a window of one pixel is the pixel; unlike that of a slice, its gradient keeps the
    memory format.
    """
    if not isinstance(padding, str) and any(_tuple(padding)):  # as a text it is "valid": none
        rows, columns = _pair(padding)
        x = functional.pad(x, (columns, columns, rows, rows))
    return functional.avg_pool2d(x, 1, stride)


def _tuple(sizes: Sizes) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


def _pair(sizes: Sizes) -> tuple[int, int]:
    first, *rest = _tuple(sizes)
    return first, rest[0] if rest else first
