"""The neuron as one operation of a program of torch.export, ``purespike::neuron``."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from purespike.trainer.nn.dynamics import Coefficient, Dynamics, Reset, fire

__all__ = ["exported"]


def exported(x: Tensor, decay: Coefficient, input_scale: Coefficient, dynamics: Dynamics) -> Tensor:
    """Write a neuron into the program that is being exported; (T, B, ...) both."""
    spikes: Tensor = _neuron(
        x,
        1.0 if isinstance(decay, Tensor) else decay,
        1.0 if isinstance(input_scale, Tensor) else input_scale,
        dynamics.threshold,
        dynamics.reset,
        dynamics.amount,
        dynamics.rectified,
        decay if isinstance(decay, Tensor) else None,
        input_scale if isinstance(input_scale, Tensor) else None,
    )
    return spikes


@torch.library.custom_op(
    "purespike::neuron",
    mutates_args=(),
    schema="(Tensor x, float decay, float input_scale, float threshold, str reset, float amount, "
    "bool rectified, Tensor? learned_decay, Tensor? learned_scale) -> Tensor",
)
def _neuron(
    x: Tensor,
    decay: float,
    input_scale: float,
    threshold: float,
    reset: str,
    amount: float,
    rectified: bool,
    learned_decay: Tensor | None,
    learned_scale: Tensor | None,
) -> Tensor:
    """A neuron in a program of torch.export, which trainer/capture/exported.py reads.

    Traced through, all that would be left of it are tensor operations, unrolled over the steps.
    """
    with torch.no_grad():
        spikes, _ = fire(
            x,
            decay if learned_decay is None else learned_decay.item(),
            input_scale if learned_scale is None else learned_scale.item(),
            Dynamics(threshold, cast(Reset, reset), amount, rectified),
        )
    return spikes


@_neuron.register_fake
def _(x: Tensor, *constants: object) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
