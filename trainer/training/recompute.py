"""Activation checkpointing: keep what enters a block, compute the rest again going backward.

A spiking network trained through time keeps every layer's membranes of all T steps. With this,
only one block's are kept at a time, for about one more forward pass (Chen et al. 2016, arXiv
1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ["blocks", "recompute"]

_Context = AbstractContextManager[None]


def blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a network by path: what its list ``blocks`` holds."""
    found = getattr(model, "blocks", None)
    children = found.named_children() if isinstance(found, nn.Module) else ()
    return [(f"blocks.{name}", block) for name, block in children]


@contextmanager
def recompute(model: nn.Module) -> Iterator[None]:
    """Let every block of ``model`` forget what it computed until the backward pass needs it.

    Only while training; a network without blocks is left as it is.
    """
    chosen = [block for _, block in blocks(model)]
    for block in chosen:
        # On the object, not around it: names of weights and the block's class stay.
        block.forward = partial(_checkpointed, block, type(block).forward)
    try:
        yield
    finally:
        for block in chosen:
            del block.forward


def _checkpointed(block: nn.Module, forward: Any, *inputs: Any) -> Any:
    if not block.training:
        return forward(block, *inputs)
    return checkpoint(
        forward,
        block,
        *inputs,
        use_reentrant=False,
        context_fn=partial(_contexts, block),
    )


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """The second forward sees the same batch again: running statistics must not move twice."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    buffers = [b for norm in norms for b in norm.buffers()]
    kept = [b.clone() for b in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
