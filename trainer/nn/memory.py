"""Memory that is used again as soon as nothing holds it.

Large pieces that are given back go to the system, which clears every page before it lends it again:
7 of 50 ms of a step in one small network (benchmarks/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from sys import getrefcount
from threading import Lock
from typing import Any

import torch
from torch import Tensor

__all__ = ["Memory"]

_counted: Any = getattr(torch._C, "_storage_Use_Count", None)  # in no release notes, so may go


class Memory:
    """Pieces of memory, one for each that is in use at a time."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._lock = Lock()  # threads may train together

    def take(
        self, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype = torch.uint8
    ) -> Tensor:
        """A tensor without gaps that holds whatever was there; its piece is taken while any does.

        Args:
            size: of the tensor, none of it 0.
            stride: of it; in another order of axes it is that of a contiguous tensor.
            dtype: of it.
        """
        if _counted is None:
            return torch.empty_strided(size, stride, dtype=dtype)
        wanted = prod(size) * dtype.itemsize
        with self._lock:
            for storage in self._kept:
                if (
                    _counted(storage._cdata) == 1
                    and storage.nbytes() >= wanted
                    and getrefcount(storage) == _OURS  # nobody else has it without a tensor
                    and not storage.is_shared()  # with a process that nobody counts here
                ):
                    break
            else:
                self._kept = [each for each in self._kept if _counted(each._cdata) > 1]  # too small
                storage = torch.empty(wanted, dtype=torch.uint8).untyped_storage()
                self._kept.append(storage)
            return torch.empty(0, dtype=dtype).set_(storage, 0, size, stride)


def _references() -> int:
    """How many there are to what a list holds while a variable goes through it."""
    return next(getrefcount(each) for each in [object()])


_OURS = _references()
