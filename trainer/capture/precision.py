"""A forward that says float32, run in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["InFloat64"]


class InFloat64(TorchFunctionMode):
    """Inside of it float32 means float64: ``.float()``, ``dtype=torch.float32``, new tensors.

    A forward may convert spikes with ``.float()``; in a module whose weights are float64, that
    would stop at the next layer.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function with the wider type."""
        if func is Tensor.float:
            func = Tensor.double
        return func(*map(_wide, args), **{k: _wide(v) for k, v in (kwargs or {}).items()})

    def __enter__(self) -> InFloat64:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self._before)


def _wide(x: Any) -> Any:
    return torch.float64 if x is torch.float32 else x
