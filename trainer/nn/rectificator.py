"""The membrane potential rectificator (MPR) of InfLoR-SNN (Guo et al., Eq. 10 to 13).

    phi(u) = 1 - (1 - u)^(1/3)                            u < 0
             tanh(3 (u - 1/2)) / (2 tanh(3/2)) + 1/2      0 <= u <= 1
             u^(1/3)                                      u > 1

It moves membrane potentials towards the spike value that they will give, 0 or 1, so that the firing
step loses less information. It rises everywhere and ``phi(1/2) = 1/2``, so at a threshold of 1/2 no
neuron fires differently: it acts on gradients only. The sign of the first branch is that of the
authors' code; as printed the branch jumps to 2 at zero and would fire on every negative potential.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["THRESHOLD", "rectify", "rectify_slope"]

THRESHOLD = 0.5
_STEEPNESS = 3.0
_HEIGHT = 2.0 * math.tanh(_STEEPNESS / 2.0)


def rectify(u: Tensor) -> Tensor:
    """Return ``phi(u)``, same shape as ``u``."""
    middle = torch.tanh(_STEEPNESS * (u - 0.5)) / _HEIGHT + 0.5
    below = 1.0 - (1.0 - u).clamp(min=0.0).pow(1.0 / 3.0)
    above = u.clamp(min=0.0).pow(1.0 / 3.0)
    return torch.where(u < 0.0, below, torch.where(u > 1.0, above, middle))


def rectify_slope(u: Tensor) -> Tensor:
    """Return ``d phi / d u``, same shape as ``u``."""
    middle = (1.0 - torch.tanh(_STEEPNESS * (u - 0.5)).square()) * (_STEEPNESS / _HEIGHT)
    below = (1.0 - u).clamp(min=1.0).pow(-2.0 / 3.0) / 3.0
    above = u.clamp(min=1.0).pow(-2.0 / 3.0) / 3.0
    return torch.where(u < 0.0, below, torch.where(u > 1.0, above, middle))
