"""Bits that go with spikes from where they are made to where they are heard.

What makes spikes in the networks that train by additions knows their bits; packing them again from
numbers costs a walk over memory. The bits hang on the step of autograd that made the spikes: they
live as long as it, no copy and no file holds them, and a tensor that something else computed or
wrote to since does not have them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Packed", "carried", "carry", "room_for"]


class Packed:
    """Spikes as bits, and how many of all there could be.

    Attributes:
        bits: uint8 (N, H, W, ceil(C / 8)), the lowest bit first.
        size: (N, C, H, W).
        rate: spikes a place.
    """

    def __init__(self, bits: Tensor, size: torch.Size, fired: int) -> None:
        self.bits, self.size, self.rate = bits, size, fired / max(size.numel(), 1)


def room_for(spikes: Tensor) -> tuple[Tensor | None, int]:
    """Where the bits of spikes (T, B, C, H, W) go, and its address; None and 0 for no place.

    The channels of a pixel have to lie side by side.
    """
    if spikes.dim() != 5:
        return None, 0
    t, b, c, h, w = spikes.shape
    if spikes.stride() != (b * c * h * w, c * h * w, 1, w * c, c):
        return None, 0
    bits = torch.empty((t * b, h, w, (c + 7) // 8), dtype=torch.uint8)
    return bits, bits.data_ptr()


def carry(ctx: Any, bits: Tensor | None, spikes: Tensor, fired: int) -> None:
    """Hang the bits on the step of autograd whose first output are spikes (T, B, C, H, W)."""
    if bits is not None:
        size = torch.Size((spikes.shape[0] * spikes.shape[1], *spikes.shape[2:]))
        ctx.carried = Packed(bits, size, fired), spikes._version


def carried(x: Tensor) -> Packed | None:
    """The bits of spikes (N, C, H, W) or (T, B, C, H, W), where they came with them."""
    made = x if x._base is None else x._base
    packed, version = getattr(made.grad_fn, "carried", (None, -1))
    if (
        packed is None
        or made.output_nr  # what else that step made
        or made._version != version
        or x.data_ptr() != made.data_ptr()
        or x.numel() != made.numel()
        or x.shape[-3:] != packed.size[1:]
    ):
        return None
    c, h, w = x.shape[-3:]
    inner = (c * h * w, 1, w * c, c)
    return packed if x.stride()[-4:] == inner and x.dim() in (4, 5) else None
