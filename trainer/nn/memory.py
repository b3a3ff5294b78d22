"""Memory that is used again as soon as nothing holds it.

Large pieces that are given back go to the system, which clears every page before it lends it again:
in small networks a sixth of a training step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Memory"]

_counted: Any = getattr(torch._C, "_storage_Use_Count", None)  # in no release notes, so may go


class Memory:
    """Pieces of memory for bytes, one for each that is in use at a time."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def take(self, size: int) -> Tensor:
        """Bytes, whatever they hold; (size,), uint8. They are taken while any tensor has them."""
        for storage in self._kept:
            if storage.nbytes() >= size and _counted(storage._cdata) == 1:
                alias: Tensor = torch.empty(0, dtype=torch.uint8)
                return alias.set_(storage, 0, (size,), (1,))
        fresh = torch.empty(size, dtype=torch.uint8)
        if _counted is not None:
            self._kept = [s for s in self._kept if _counted(s._cdata) > 1]  # too small
            self._kept.append(fresh.untyped_storage())
        return fresh
