"""A tensor of a quantized network: whole numbers on edges of the graph, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Op, Shape
from purespike.compiler.ir.ops import Conv2d, Linear, MaxPool2d, Scale
from purespike.compiler.quantized.exact import Affine, Exact, QuantizedError, Step, collapsed

Whole = NDArray[np.int64]
MOST_STEPS, MOST_ROOTS = 64, 3  # fractions grow with every step, and roots are bounded in pairs


@dataclass(frozen=True)
class Part:
    """What one edge contributes, through synapses that are not in the graph yet.

    Attributes:
        edge: Carries levels from 0 up, or the network's input.
        through: Layers of whole numbers, in order.
        pooled: Whether those are sums of windows only, which a layer may take.
    """

    edge: str
    through: tuple[Op, ...] = ()
    pooled: bool = False

    @property
    def times(self) -> int | None:
        """What each level counts, where no layer stands between; None where one does."""
        if not self.through:
            return 1
        (first, *more) = self.through
        whole = isinstance(first, Scale) and not more and first.factor.ndim == 0
        return int(first.factor) if whole and isinstance(first, Scale) else None


@dataclass(frozen=True, eq=False)
class Value:
    """``steps`` of the sum of ``parts``, value by value, and the maximum over ``pools`` of that.

    Attributes:
        shape: Of one sample, in front of the pools.
        parts: Their sum is a whole number, unless the input is among them.
        low: Bounds of that sum, (C, ...); with ``high``, meaningless if ``real``.
        high: See ``low``.
        steps: What is made of it.
        pools: Max pools that come behind the quantizer instead of in front of it.
        host: Whether it is computed beside the chip: the input, and its first layer.
        real: Whether the sum is any number: of an input that no quantizer took.
    """

    shape: Shape
    parts: tuple[Part, ...]
    low: Whole
    high: Whole
    steps: tuple[Step, ...] = ()
    pools: tuple[MaxPool2d, ...] = ()
    host: bool = False
    real: bool = False

    def then(self, step: Step) -> Value:
        """With one step more."""
        if self.pools and isinstance(step, Affine) and any(f <= 0 for f in step.factor.ravel()):
            raise QuantizedError(
                "a maximum becomes a minimum: a factor below zero stands behind a max pool",
                remedy="pool behind the quantizer",
            )
        steps = (*self.steps, step)
        roots = sum(isinstance(s, Affine) and s.radicand is not None for s in steps)
        if len(steps) > MOST_STEPS or roots > MOST_ROOTS:
            raise QuantizedError(
                "too many operations between a layer and its quantizer",
                found=f"{len(steps)}, {roots} of them batch normalizations",
                allowed=f"{MOST_STEPS}, {MOST_ROOTS} batch normalizations",
                remedy="fold them into one before the export",
            )
        return replace(self, steps=steps)

    @property
    def spiking(self) -> bool:
        """May a synapse take it? Levels, with nothing between."""
        return not self.pools and all(p.pooled or p.times is not None for p in self.parts)

    @property
    def seen(self) -> Shape:
        """The shape behind the pools."""
        shape = self.shape
        for pool in self.pools:
            shape, _ = pool.infer(Edge("x", shape, SPIKE))
        return shape

    def worth(self, what: str) -> tuple[Exact, Exact]:
        """(factor, shift) of the whole numbers.

        Raises:
            QuantizedError: If they are not worth that, but a function that bends.
        """
        found = None if self.pools else collapsed(self.steps)
        if found is None:
            raise QuantizedError(
                f"{what} takes something that no quantizer made",
                found="a ReLU, clip, max pool or batch normalization without a quantizer behind it",
                remedy="put a quantizer there (Brevitas: QuantReLU or QuantIdentity)",
            )
        return found


def times(op: Conv2d | Linear, factor: Whole) -> Conv2d | Linear:
    """The layer with its results times a whole number for each channel (C,)."""
    if isinstance(op, Conv2d):
        bias = None if op.bias is None else op.bias * factor
        return replace(op, weight=op.weight * factor[:, None, None, None], bias=bias)
    return Linear(op.weight * factor[:, None], None if op.bias is None else op.bias * factor)


def biased(op: Conv2d | Linear, bias: Whole) -> Conv2d | Linear:
    """The layer with a bias (C,)."""
    real = bias.astype(np.float64)
    return Linear(op.weight, real) if isinstance(op, Linear) else replace(op, bias=real)


def one_to_one(shape: Shape, factor: Whole) -> Conv2d | Linear:
    """A layer that gives back each value, times a whole number for each channel (C,)."""
    if len(shape) == 3:
        return Conv2d(factor.astype(np.float64).reshape(-1, 1, 1, 1), groups=shape[0])
    return Linear(np.diag(factor.astype(np.float64)))


def per_channel(x: NDArray[np.generic], shape: Shape) -> NDArray[np.generic]:
    """One value a channel, (C,), of an array that broadcasts to (C, 1, ...)."""
    return np.broadcast_to(x, (shape[0], *(1,) * (len(shape) - 1))).reshape(-1)
