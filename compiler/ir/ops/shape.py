"""Pooling, flattening, averaging over time, batch normalisation, ReLU.

A trained network has them; nothing but Flatten is left when the passes are done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purespike.compiler.ir.domain import ANALOG, Array, Domain, with_zero
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape, frozen
from purespike.compiler.ir.ops.synapse import Pair, unfold


def _pooled(x: Edge, kernel: Pair, stride: Pair, padding: Pair) -> Shape:
    if len(x.shape) != 3:
        raise IRError("pooling takes (C, H, W)", found=str(x))
    rooms = [n + 2 * p - k for n, p, k in zip(x.shape[1:], padding, kernel, strict=True)]
    if min(rooms) < 0:
        raise IRError("the pool is larger than its padded input", found=f"{kernel} on {x}")
    height, width = (r // s + 1 for r, s in zip(rooms, stride, strict=True))
    return x.shape[0], height, width


@dataclass(frozen=True)
class AvgPool2d(Op):
    """The mean of each window; padded zeros count, as torch's default does."""

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Steps of 1 / window on spikes."""
        (x,) = inputs
        d = with_zero(x.domain) if any(self.padding) else x.domain
        size = self.kernel[0] * self.kernel[1]
        return _pooled(x, self.kernel, self.stride, self.padding), Domain(d.lo, d.hi, d.step / size)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Average."""
        windows = unfold(inputs[0], self.kernel, self.stride, self.padding)
        return None, windows.mean(axis=(4, 5))

    def details(self) -> str:
        """Geometry."""
        return f"{self.kernel}, stride {self.stride}, pad {self.padding}"


@dataclass(frozen=True)
class MaxPool2d(Op):
    """The largest value of each window, padding left out as in torch; on spikes an OR.

    A window that lies in the padding altogether gives 0.
    """

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    @property
    def inside(self) -> bool:
        """Does every window lie on the map, with a value at least? torch allows nothing else."""
        return all(2 * p <= k for p, k in zip(self.padding, self.kernel, strict=True))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same domain."""
        (x,) = inputs
        if not self.inside and x.domain.lo < 0:
            raise IRError(
                "max pooling with windows of nothing but padding takes values of 0 and more",
                found=f"{x}, padding {self.padding} of a window {self.kernel}",
                allowed="padding up to half of the window",
                remedy="pool after the neuron",
            )
        d = x.domain if self.inside else with_zero(x.domain)
        return _pooled(x, self.kernel, self.stride, self.padding), d

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Maximum."""
        (x,) = inputs
        signed = x.dtype.kind not in "bu"  # spikes may come in bytes
        fill = -np.inf if self.inside and signed else 0.0
        windows = unfold(x, self.kernel, self.stride, self.padding, fill)
        return None, windows.max(axis=(4, 5))

    def details(self) -> str:
        """Geometry."""
        return f"{self.kernel}, stride {self.stride}, pad {self.padding}"


@dataclass(frozen=True)
class Flatten(Op):
    """(C, H, W) -> (C * H * W,), channels slowest, as torch."""

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """One axis, same domain."""
        (x,) = inputs
        return (int(np.prod(x.shape)),), x.domain

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Reshape."""
        return None, inputs[0].reshape(len(inputs[0]), -1)


@dataclass(frozen=True)
class TimeMean(Op):
    """The mean over the T steps of a sample, building up: step t gives the sum so far over T.

    Causal, so that it has a meaning at every step; its value at the last step is the mean.
    ``steps`` is the T of its graph: `verify` refuses fewer, since the sum would outgrow the domain.
    """

    steps: int

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """From the domain of one step's share to T shares."""
        (x,) = inputs
        d = with_zero(x.domain)
        return x.shape, Domain(d.lo, d.hi, d.step / self.steps)

    def start(self, batch: int, shape: Shape) -> Array:
        """The sum so far."""
        return np.zeros((batch, *shape))

    def step(self, state: Array, *inputs: Array) -> tuple[Array, Array]:
        """Accumulate."""
        state = state + inputs[0]
        return state, state / self.steps

    def details(self) -> str:
        """Over how many steps."""
        return f"over {self.steps} steps"


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """``gamma * (x - mean) / sqrt(variance + eps) + beta`` per channel (the first axis)."""

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    eps: float

    def __post_init__(self) -> None:
        for name in ("gamma", "beta", "mean", "variance"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; real numbers."""
        (x,) = inputs
        if any(x.shape[:1] != a.shape for a in self.arrays().values()):
            raise IRError(
                "batch norm does not fit its input",
                found=f"{[a.shape for a in self.arrays().values()]} on {x}",
                allowed="one value per channel",
            )
        if not bool((self.variance + self.eps > 0).all()):
            raise IRError(
                "this batch norm divides by nothing",
                found=f"variance {self.variance.min():g}, eps {self.eps:g}",
                allowed="variance + eps above 0",
                remedy="the running statistics are damaged: evaluate the model on its training "
                "data",
            )
        return x.shape, ANALOG

    def affine(self) -> tuple[Array, Array]:
        """(factor, shift) of the equal affine map (AAP paper, Eq. 16 and 17), eps included."""
        factor = self.gamma / np.sqrt(self.variance + self.eps)
        return factor, self.beta - self.mean * factor

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Normalise in the order that torch does."""
        (x,) = inputs
        shape = (-1, *(1,) * (x.ndim - 2))
        g, b, m, v = (a.reshape(shape) for a in (self.gamma, self.beta, self.mean, self.variance))
        return None, (x - m) / np.sqrt(v + self.eps) * g + b

    def arrays(self) -> dict[str, Array]:
        """The four statistics."""
        return {n: getattr(self, n) for n in ("gamma", "beta", "mean", "variance")}


@dataclass(frozen=True)
class Relu(Op):
    """``max(x, 0)``: real-valued, so never legal on a spike-only chip."""

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape, nothing below zero."""
        (x,) = inputs
        return x.shape, Domain(max(x.domain.lo, 0.0), max(x.domain.hi, 0.0), 0.0)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Rectify."""
        return None, np.maximum(inputs[0], 0.0)
