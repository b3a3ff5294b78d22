"""Gradients that cannot be differentiated again, and say so.

The kernels' gradients are numbers to autograd: by them ``create_graph=True`` would find second
derivatives of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

__all__ = ["once"]

Gradients = Tensor | tuple[Tensor | None, ...]


def once(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """A ``backward`` whose gradients refuse to be differentiated.

    Stricter than torch's ``once_differentiable``, which lets pass as constants the gradients of a
    loss that is linear in the output, although they depend on what came in.
    """

    @wraps(backward)
    def wrapper(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        with torch.no_grad():
            found = backward(ctx, *grad_outputs)
        if not torch.is_grad_enabled():
            return found
        several = isinstance(found, tuple)
        # Something must need a gradient, or autograd would not come by.
        anchor = torch.zeros((), requires_grad=True)
        each = found if several else (found,)
        given: tuple[Tensor, ...] = _Once.apply(anchor, *each)  # type: ignore[no-untyped-call]
        return given if several else given[0]

    return wrapper


class _Once(torch.autograd.Function):
    """Gradients as they are, with a history that ends here."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(None if grad is None else grad.view_as(grad) for grad in grads)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Any:
        raise RuntimeError(
            "gradients of purespike's neurons and spike kernels cannot be differentiated again "
            "(create_graph=True): autograd does not see how they are computed"
        )
