"""Activations with several levels: trained as whole numbers, deployed as spikes.

I-LIF (Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network",
ECCV 2024, arXiv 2407.20708, Eq. 5 to 8) sends up to D spikes per step, as a number:

    h[t] = decay * (h[t-1] - threshold * s[t-1]) + x[t]
    s[t] = round(clamp(h[t] / threshold, 0, D))

``round`` takes halves to the even number, as torch does. The gradient of s by h is 1 / threshold
where h lies between 0 and D thresholds, and 0 elsewhere. The compiler makes D binary neurons of it
(`purespike.compiler.passes.unroll_levels`).

What a level is worth can be learned (LSQ: Esser et al., ICLR 2020, arXiv 1902.08153): the neuron
then sends ``threshold * s``, and the gradient by the threshold is that of LSQ's Eq. 3, times
1 / sqrt(N D) for N neurons. In every forward pass the threshold is a power of two (as in Jain et
al., MLSys 2020, arXiv 1903.08066, with the nearest in place of the next one), and the gradient goes
to its logarithm as if that were not rounded. So nothing is left to round where the network is
exported: a product with a power of two is exact, and becomes part of the weights behind.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.nn.once import once

__all__ = ["ILIF", "LevelActivation"]

MOST = 255  # levels: each is a copy of the layer


class ILIF(nn.Module):
    """Neurons that fire up to ``levels`` times per step: (T, B, ...) in, counts (T, B, ...) out.

    Args:
        levels: D, the most spikes per step.
        decay: What is left of the membrane after a step; 1 never leaks, 0 is `LevelActivation`.
        threshold: What one spike is worth, and takes off the membrane.
        detach_reset: Whether no gradient flows through what spikes take off.
        learned: Whether the threshold is learned, from the power of two nearest to ``threshold``
            on; counts then come out times the threshold.

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
        learned: bool = False,
    ) -> None:
        super().__init__()
        whole = isinstance(levels, int) and not isinstance(levels, bool) and 1 <= levels <= MOST
        _require("levels", levels, whole, f"a whole number from 1 to {MOST}")
        _require("decay", decay, 0 <= decay <= 1, "0 <= decay <= 1")
        _require("threshold", threshold, 0 < threshold < math.inf, "> 0, finite")
        self.levels, self.decay, self.learned = levels, float(decay), learned
        self.detach_reset = detach_reset
        self.firing_rate: Tensor | None = None
        if learned:
            self.log2_threshold = nn.Parameter(torch.tensor(float(round(math.log2(threshold)))))
        else:
            self._threshold = float(threshold)

    @property
    def threshold(self) -> float:
        """What one spike is worth; where it is learned, the power of two that it is now."""
        if not self.learned:
            return self._threshold
        return 2.0 ** round(float(self.log2_threshold.detach()))

    @property
    def worth(self) -> float:
        """What a count of one comes out as."""
        return self.threshold if self.learned else 1.0

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        """The counts of all steps in the dtype of ``x``, times the threshold if it is learned.

        Args:
            x: Input current, (T, B, ...); with ``steps`` (1, B, ...).
            steps: T, where the same current enters at every step.

        Raises:
            ShapeError: If there is no time and batch axis, or more than one step of a current that
                is the same at all of them.
        """
        if x.dim() < 2:
            raise ShapeError(
                "a neuron needs a time and a batch axis",
                found=f"shape {tuple(x.shape)}",
                allowed="(T, B, ...)",
                where=type(self).__name__,
                remedy="add the missing axes, for one time step x[None]",
            )
        if steps is not None:
            if len(x) != 1 or steps < 1:
                raise ShapeError(
                    "a current that is the same at every step is given once",
                    found=f"shape {tuple(x.shape)}, steps={steps}",
                    allowed="(1, B, ...), steps >= 1",
                    where=type(self).__name__,
                    remedy="give the current of one step, or leave out steps",
                )
            x = x.expand(steps, *x.shape[1:])
        threshold, worth, neurons = self.threshold, self.worth, math.prod(x.shape[2:])
        if self.decay == 0:
            sent = self._sent(x, threshold, neurons)
        else:
            made = []
            left: Tensor | None = None
            for current in x:
                h = current if left is None else self.decay * left + current
                made.append(self._sent(h, threshold, neurons))
                taken = made[-1].detach() if self.detach_reset else made[-1]
                left = h - (taken if self.learned else threshold * taken)
            sent = torch.stack(made)
        self.firing_rate = sent.detach().mean() / worth
        return sent

    def _sent(self, h: Tensor, threshold: float, neurons: int) -> Tensor:
        made: Tensor
        if self.learned:
            made = _Learned.apply(  # type: ignore[no-untyped-call]
                h, self.log2_threshold, threshold, self.levels, neurons
            )
        else:
            scaled = h if threshold == 1 else h / threshold
            made = _Count.apply(scaled, self.levels)  # type: ignore[no-untyped-call]
        return made

    def extra_repr(self) -> str:
        """Show what differs between neurons in ``print(model)``."""
        return (
            f"levels={self.levels}, decay={self.decay}, threshold={self.threshold}, "
            f"detach_reset={self.detach_reset}" + (", learned" if self.learned else "")
        )


class LevelActivation(ILIF):
    """A quantized ReLU: ``round(clamp(x / step, 0, D))``, without memory.

    Args:
        levels: D.
        step: What one level is worth.
        learned: Whether that is learned, from the nearest power of two on; levels then come out
            times the step.
    """

    def __init__(self, levels: int = 4, *, step: float = 1.0, learned: bool = False) -> None:
        super().__init__(levels, decay=0.0, threshold=step, learned=learned)


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.levels = levels
        return x.clamp(0, levels).round_()

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad_outputs[0] * ((x >= 0) & (x <= ctx.levels)), None


class _Learned(torch.autograd.Function):
    """LSQ's quantizer, Eq. 1 to 3, whose scale is 2 to the power of a rounded logarithm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, log2: Tensor, threshold: float, levels: int, neurons: int
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.threshold, ctx.levels, ctx.neurons = threshold, levels, neurons
        return (x / threshold).clamp_(0, levels).round_().mul_(threshold)

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        (grad,) = grad_outputs
        u = x / ctx.threshold
        inside = (u >= 0) & (u <= ctx.levels)
        count = u.clamp(0, ctx.levels).round()
        by_threshold = (grad * torch.where(inside, count - u, count)).sum()
        by_threshold /= (ctx.neurons * ctx.levels) ** 0.5
        by_log2 = by_threshold * (ctx.threshold * math.log(2))
        return grad * inside, by_log2, None, None, None


def _require(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigError(
            f"{name} of a level activation is out of its range",
            found=repr(value),
            allowed=allowed,
            where=f"ILIF({name}=...)",
            remedy="choose a value in the allowed range",
        )
