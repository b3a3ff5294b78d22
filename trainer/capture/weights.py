"""Weights that a module computes in front of every call: pruned, normalized by an older hook.

A parametrization of ``torch.nn.utils.parametrize`` needs nothing: its weight is read when it is
asked for. Pruning and the older weight and spectral norm compute it in a hook that runs before
the forward; here that hook runs once, and is gone.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

__all__ = ["computes_weights", "settled_copy"]

_COMPUTES = (BasePruningMethod, WeightNorm, SpectralNorm)


def computes_weights(hook: Any) -> bool:
    """Does a hook in front of the forward do nothing but compute a weight?"""
    return isinstance(hook, _COMPUTES)


def settled_copy(model: nn.Module, shared: dict[int, Any] | None = None) -> nn.Module:
    """A copy in evaluation mode, with its weights as they would be in the next forward.

    Args:
        model: Stays as it is.
        shared: What is not copied, by its ``id``.
    """
    known = dict(shared or {})
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:  # what a hook has computed
                known[id(value)] = value.detach()
            elif isinstance(value, Function):  # has no state, and cannot be copied
                known[id(value)] = value
    settled = copy.deepcopy(model, known).eval()
    for module in settled.modules():
        hooks: list[tuple[int, Any]] = list(module._forward_pre_hooks.items())
        for key, hook in hooks:
            if computes_weights(hook):
                hook(module, ())
                del module._forward_pre_hooks[key]
                name = hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name
                value = getattr(module, name).detach()
                if name in vars(module):
                    delattr(module, name)
                module.register_buffer(name, value)
    return settled
