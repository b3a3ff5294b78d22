"""Batch normalization folded into the convolutions of a residual network's main path.

A normalization multiplies each channel's weights by a number of its own, so weights that are whole
in front of it are whole no more behind it. Where weights shall be the chip's integers, it goes into
the convolution first (Jacob et al. 2018, section 3.2): ``W' = g W``, ``b' = beta - g mean`` with
``g = gamma / sqrt(variance + eps)``, as in evaluation. Training-only paths keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from purespike.trainer.nn.auxiliary import auxiliary_modules

__all__ = ["fold_modules", "folded_state"]


def normalized(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """Each convolution of the main path and the normalization right behind it, with their names."""
    training_only = auxiliary_modules(model)
    before: tuple[str, nn.Module] | None = None
    for name, module in model.named_modules():
        if name in training_only or next(module.children(), None) is not None:
            continue
        if isinstance(module, nn.BatchNorm2d) and before and isinstance(before[1], nn.Conv2d):
            yield (before[0], before[1], name, module)
        before = name, module


def fold_modules(model: nn.Module) -> None:
    """Give the convolutions a bias, and nothing in the place of the normalizations."""
    for _, convolution, name, _ in list(normalized(model)):
        convolution.bias = nn.Parameter(torch.zeros(convolution.out_channels))
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, nn.Identity())


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network as those of its folded form, computed in float64."""
    state = dict(model.state_dict())
    for name, convolution, behind, norm in normalized(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = convolution.weight.double() * factor.reshape(-1, 1, 1, 1)
        bias = norm.bias.double() - norm.running_mean.double() * factor
        if convolution.bias is not None:
            bias = bias + factor * convolution.bias.double()
        state[f"{name}.weight"] = weight.detach().float()
        state[f"{name}.bias"] = bias.detach().float()
        for key in [k for k in state if k.rpartition(".")[0] == behind]:
            del state[key]
    return state
