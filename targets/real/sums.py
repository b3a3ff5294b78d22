"""What meets at a layer of neurons, as rows of weights that spikes select, and how exact it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    Linear,
    Neuron,
    Scale,
)

Pair = tuple[int, int]
LARGEST = 1 << 24  # weights of a kernel that a pool has made larger
HALF_UNIT = 2.0**-53  # of the last place of 1.0: what rounding moves a sum of 1 at most


@dataclass(frozen=True, eq=False)
class Arm:
    """One synapse.

    Attributes:
        source: The edge whose spikes it reads, a flatten looked through.
        shape: (channels, height, width) of that; places that share a weight are channels.
        weights: (channels / run, kh, kw, outputs / groups); one-to-one (outputs, places).
    """

    source: str
    shape: tuple[int, int, int]
    weights: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    run: int = 1
    diagonal: bool = False

    def times(self, factor: Array) -> Arm:
        """With each output (outputs,) multiplied."""
        if self.diagonal:
            return replace(self, weights=self.weights * factor[:, None])
        own = self.weights.shape[-1]
        inputs = len(self.weights) // self.groups
        by_group = np.repeat(factor.reshape(self.groups, own), inputs, axis=0)
        return replace(self, weights=self.weights * by_group[:, None, None, :])


@dataclass(frozen=True, eq=False)
class Sum:
    """A current: arms and a bias.

    Attributes:
        bias: (outputs,).
        size: (outputs,), which no sum of absolute values exceeds on the way to the current,
            whatever fires.
        terms: How many roundings there can be on the way.
        plain: Whether weights and bias are those of the graph, with nothing multiplied in.
    """

    arms: tuple[Arm, ...]
    bias: Array
    size: Array
    terms: int
    plain: bool

    @property
    def delta(self) -> Array:
        """How far two ways to add it up can be apart (outputs,).

        Each is within ``gamma_n size`` of the exact sum (Higham 2002, section 4.2).
        """
        return 2 * (self.terms + 16) * HALF_UNIT * self.size * 1.01


def sum_at(graph: Graph, name: str, spikes: Collection[str]) -> Sum | None:
    """The current at an edge; None where it is not made of weighed spikes alone.

    Args:
        graph: A network in real numbers.
        name: The edge.
        spikes: Edges whose spikes are known.
    """
    node = graph.producer(name)
    channels = graph.edge(name).shape[0] if graph.edge(name).shape else 1
    if node is None or name in spikes:
        return _one_to_one(graph, name, np.ones(()), spikes, graph.edge(name).shape)
    op = node.op
    if isinstance(op, Add):
        parts = [sum_at(graph, i, spikes) for i in node.inputs]
        found = [p for p in parts if p is not None]
        if len(found) < len(parts):
            return None
        return Sum(
            tuple(a for p in found for a in p.arms),
            np.sum([p.bias for p in found], axis=0),
            np.sum([p.size for p in found], axis=0),
            sum(p.terms for p in found) + len(found),
            all(p.plain for p in found),
        )
    if isinstance(op, Conv2d | Linear):
        source = _source(graph, node.inputs[0], spikes)
        if source is None:
            return _behind_pool(graph, node, op, spikes)
        if isinstance(op, Conv2d):
            if graph.edge(source).shape != graph.edge(node.inputs[0]).shape:
                return None
            arm = Arm(source, _image(graph.edge(source).shape), _rows(op), op.stride, op.padding,
                      op.dilation, op.groups)  # fmt: skip
            flat, run = op.weight.reshape(len(op.weight), -1), 1
        else:
            flat, run = op.kept, op.run
            arm = Arm(source, (op.shape[1], 1, 1), flat.T[:, None, None, :], run=run)
        bias = np.zeros(channels) if op.bias is None else op.bias
        size = np.abs(flat).sum(axis=1) * run + np.abs(bias)
        return Sum((arm,), bias, size, flat.shape[1] * run + 1, True)
    if isinstance(op, Scale) and _source(graph, node.inputs[0], spikes) is not None:
        return _one_to_one(graph, node.inputs[0], op.factor, spikes, node.output.shape)
    if isinstance(op, BatchNorm | Scale):
        before = sum_at(graph, node.inputs[0], spikes)
        if before is None:
            return None
        if isinstance(op, BatchNorm):
            factor, mean, shift = op.affine()[0], op.mean, op.beta
        elif op.factor.size == 1 or op.factor.shape == (channels, 1, 1):
            factor = np.broadcast_to(op.factor.reshape(-1), (channels,))
            mean = shift = np.zeros(channels)
        else:
            return None
        return Sum(
            tuple(a.times(factor) for a in before.arms),
            (before.bias - mean) * factor + shift,
            (before.size + np.abs(mean)) * np.abs(factor) + np.abs(shift),
            before.terms + 8,
            False,
        )
    return None


def _behind_pool(
    graph: Graph, node: Node, op: Conv2d | Linear, spikes: Collection[str]
) -> Sum | None:
    """A layer behind windows that are added up: one synapse with a larger kernel."""
    name = node.inputs[0]
    while (before := graph.producer(name)) is not None and isinstance(before.op, Flatten):
        name = before.inputs[0]
    windows = None if before is None else _windows(graph, before, spikes)
    if before is None or windows is None:
        return None
    channels, height, width = before.output.shape
    _, ph, pw = windows.shape
    if isinstance(op, Linear):
        if op.run > 1:
            return None
        # (channels, height, width, outputs), each place a channel of its own below
        rows = op.kept.T.reshape(channels, height, width, -1)
    elif name != node.inputs[0] or op.dilation != (1, 1):
        return None
    else:
        rows = _rows(op)
    if rows.size * ph * pw > LARGEST:
        return None
    kh, kw, outputs = rows.shape[1:]
    spread = rows[:, :, None, :, None, :] * windows[:, None, :, None, :, None]
    spread = spread.reshape(channels, kh * ph, kw * pw, outputs)
    source = before.inputs[0]
    if isinstance(op, Linear):
        arm = Arm(source, (spread[..., 0].size, 1, 1), spread.reshape(-1, 1, 1, outputs))
    else:
        arm = Arm(source, _image(graph.edge(source).shape), spread,
                  (op.stride[0] * ph, op.stride[1] * pw),
                  (op.padding[0] * ph, op.padding[1] * pw), groups=op.groups)  # fmt: skip
    one = float(windows.flat[0])
    bias = np.zeros(node.output.shape[0]) if op.bias is None else op.bias
    size = np.abs(spread).reshape(op.groups if isinstance(op, Conv2d) else 1, -1, outputs)
    return Sum(
        (arm,),
        bias,
        size.sum(axis=1).reshape(-1) + np.abs(bias),
        size.shape[1] + 8,
        bool((windows == one).all()) and np.frexp(one)[0] == 0.5,
    )


def _windows(graph: Graph, node: Node, spikes: Collection[str]) -> Array | None:
    """What a pool multiplies the spikes of its windows by (channels, kh, kw).

    None where it is not a pool, or its windows overlap, or leave a border of the image out.
    """
    op = node.op
    if node.inputs[0] not in spikes or len(shape := graph.edge(node.inputs[0]).shape) != 3:
        return None
    if isinstance(op, AvgPool2d):
        windows = np.full((shape[0], *op.kernel), 1 / (op.kernel[0] * op.kernel[1]))
    elif isinstance(op, Conv2d) and len(op.weight) == op.groups == shape[0]:
        if op.bias is not None or op.dilation != (1, 1):
            return None
        windows = op.weight[:, 0]
    else:
        return None
    whole = all(n % k == 0 for n, k in zip(shape[1:], windows.shape[1:], strict=True))
    return windows if whole and op.stride == windows.shape[1:] and not any(op.padding) else None


def is_exact(current: Sum, op: Neuron, steps: int) -> bool:
    """Is nothing ever rounded? Then every order of a sum gives the same.

    All weights are whole multiples of one power of two, and what can come together in ``steps``
    is less than 2**52 of them.
    """
    if not current.plain or op.decay not in (0.0, 1.0):
        return False
    reset = op.amount if op.reset == "subtract" else np.zeros(())
    values = [*(a.weights for a in current.arms), current.bias, reset, np.array(op.initial)]
    most = steps * (float(current.size.max()) + float(np.abs(reset).max())) + abs(op.initial)
    if not np.isfinite(most):
        return False
    for bits in range(0, 49, 4):
        if most * 2.0**bits >= 2.0**52:
            return False
        # Most weights are no such multiples, and the first few of them show it (`ravel` would copy
        # all of an array that is not contiguous).
        if all(_whole(v.flat[:256], bits) for v in values) and all(_whole(v, bits) for v in values):
            return True
    return False


def _whole(values: Array, bits: int) -> bool:
    """Are all of them multiples of 2**-bits?"""
    scaled = values * 2.0**bits
    return bool((np.rint(scaled) == scaled).all())


def _rows(op: Conv2d) -> Array:
    """The weights by what they read (channels, kh, kw, outputs / groups)."""
    weights = op.weight.reshape(op.groups, -1, *op.weight.shape[1:])
    rows = weights.transpose(0, 2, 3, 4, 1)
    return rows.reshape(-1, *op.weight.shape[2:], weights.shape[1])


def _source(graph: Graph, name: str, spikes: Collection[str]) -> str | None:
    """The edge whose spikes these are, if they are known: flattened ones lie there as well."""
    while name not in spikes:
        node = graph.producer(name)
        if node is None or not isinstance(node.op, Flatten):
            return None
        name = node.inputs[0]
    return name


def _one_to_one(
    graph: Graph, name: str, factor: Array, spikes: Collection[str], shape: Shape
) -> Sum | None:
    source = _source(graph, name, spikes)
    if source is None:
        return None
    whole = np.broadcast_to(factor, shape).reshape(shape[0] if shape else 1, -1)
    arm = Arm(source, _image(shape), whole, diagonal=True)
    size = np.abs(whole).max(axis=1)
    return Sum((arm,), np.zeros(len(whole)), size, 1, True)


def _image(shape: Shape) -> tuple[int, int, int]:
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (int(np.prod(shape)), 1, 1)
