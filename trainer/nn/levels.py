"""Activations with several levels: trained as whole numbers, deployed as spikes.

I-LIF (Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network",
ECCV 2024, arXiv 2407.20708, Eq. 5 to 8) sends up to D spikes per step, as a number:

    h[t] = decay * (h[t-1] - threshold * s[t-1]) + x[t]
    s[t] = round(clamp(h[t] / threshold, 0, D))

``round`` takes halves to the even number, as torch does. The gradient of s by h is 1 / threshold
where h lies between 0 and D thresholds, and 0 elsewhere. The compiler makes D binary neurons of it
(`purespike.compiler.passes.unroll_levels`).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from purespike.trainer.errors import ConfigError, ShapeError

__all__ = ["ILIF", "LevelActivation"]

MOST = 255  # levels: each is a copy of the layer


class ILIF(nn.Module):
    """Neurons that fire up to ``levels`` times per step: (T, B, ...) in, counts (T, B, ...) out.

    Args:
        levels: D, the most spikes per step.
        decay: What is left of the membrane after a step; 1 never leaks, 0 is `LevelActivation`.
        threshold: What one spike is worth, and takes off the membrane.
        detach_reset: Whether no gradient flows through what spikes take off.

    Attributes:
        firing_rate: Mean spikes per neuron and step in the last forward, a detached scalar; None
            before it.

    Raises:
        ConfigError: If a number is out of its range.
    """

    def __init__(
        self,
        levels: int = 4,
        *,
        decay: float = 0.25,
        threshold: float = 1.0,
        detach_reset: bool = True,
    ) -> None:
        super().__init__()
        whole = isinstance(levels, int) and not isinstance(levels, bool) and 1 <= levels <= MOST
        _require("levels", levels, whole, f"a whole number from 1 to {MOST}")
        _require("decay", decay, 0 <= decay <= 1, "0 <= decay <= 1")
        _require("threshold", threshold, 0 < threshold < math.inf, "> 0, finite")
        self.levels, self.decay, self.threshold = levels, float(decay), float(threshold)
        self.detach_reset = detach_reset
        self.firing_rate: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The counts of all steps, whole numbers in the dtype of ``x``.

        Raises:
            ShapeError: If there is no time and batch axis.
        """
        if x.dim() < 2:
            raise ShapeError(
                "a neuron needs a time and a batch axis",
                found=f"shape {tuple(x.shape)}",
                allowed="(T, B, ...)",
                where=type(self).__name__,
                remedy="add the missing axes, for one time step x[None]",
            )
        if self.decay == 0:
            counts = self._count(x)
        else:
            made = []
            left: Tensor | None = None
            for current in x:
                h = current if left is None else self.decay * left + current
                made.append(self._count(h))
                taken = made[-1].detach() if self.detach_reset else made[-1]
                left = h - self.threshold * taken
            counts = torch.stack(made)
        self.firing_rate = counts.detach().mean()
        return counts

    def _count(self, h: Tensor) -> Tensor:
        scaled = h if self.threshold == 1 else h / self.threshold
        made: Tensor = _Count.apply(scaled, self.levels)  # type: ignore[no-untyped-call]
        return made

    def extra_repr(self) -> str:
        """Show what differs between neurons in ``print(model)``."""
        return (
            f"levels={self.levels}, decay={self.decay}, threshold={self.threshold}, "
            f"detach_reset={self.detach_reset}"
        )


class LevelActivation(ILIF):
    """A quantized ReLU: ``round(clamp(x / step, 0, D))``, without memory.

    Args:
        levels: D.
        step: What one level is worth.
    """

    def __init__(self, levels: int = 4, *, step: float = 1.0) -> None:
        super().__init__(levels, decay=0.0, threshold=step)


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.levels = levels
        return x.clamp(0, levels).round_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * ((x >= 0) & (x <= ctx.levels)), None


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigError(
            f"{name} of a level activation is out of its range",
            found=repr(value),
            allowed=allowed,
            where=f"ILIF({name}=...)",
            remedy="choose a value in the allowed range",
        )
