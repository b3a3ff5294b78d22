"""ONNX operators on values of a quantized network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from purespike.compiler.ir.ops import Conv2d, Linear, MaxPool2d
from purespike.compiler.quantized.exact import Affine, Clip, Exact, exact
from purespike.compiler.quantized.network import QuantizedNetwork
from purespike.compiler.quantized.value import Value
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.constants import Constant, attributes, axes
from purespike.targets.onnx.foreign.windows import need, padding, pair, positive
from purespike.targets.onnx.quantized.parameters import Grid, channelwise, values, weights

Any_ = Value | Grid | Constant | None
MEANT = Fraction(1, 1 << 22)  # what rounding a product of two float32 moves it, and a bit more


@dataclass(frozen=True)
class Site:
    """Where an operator stands.

    Attributes:
        node: The ONNX node.
        network: What is built.
        name: Of its module.
        batch: Samples in the file's own example, -1 where the file leaves them open.
    """

    node: NodeProto
    network: QuantizedNetwork
    name: str
    batch: int

    @property
    def attributes(self) -> dict[str, Any]:
        """By name."""
        return attributes(self.node)


def _value(x: Any_, at: Site) -> Value:
    if not isinstance(x, Value):
        raise OnnxError(
            f"{at.node.op_type} takes a constant where a value of the network is meant",
            allowed="values first, weights behind them",
        )
    return x


def _constant(x: Any_, what: str) -> Grid | Constant:
    if x is None or isinstance(x, Value):
        raise OnnxError(
            f"{what} is not a constant",
            allowed="constant weights, biases and scales",
            remedy="export the module with its parameters as initializers",
        )
    return x


def _layer(at: Site, x: Value, op: Conv2d | Linear, unit: Exact, bias: Any_) -> Value:
    shape = (-1, *(1,) * (len(x.shape) - 1))
    made = at.network.layer(x, op, unit.reshape(shape) if unit.size > 1 else unit, at.name)
    if bias is None:
        return made
    given = _constant(bias, "a bias")
    rows = given.reordered(lambda a: a.reshape(shape)) if isinstance(given, Grid) else None
    return _biased(made, rows or np.reshape(np.asarray(given), shape), exact(1))


def _biased(x: Value, bias: Grid | Constant, times: Exact) -> Value:
    """A layer's sum and its bias.

    Where a bias is quantized, its scale is meant to be that of the sum, which is a product of two
    scales: in the file stands what float32 makes of it. It is taken as it is meant.
    """
    added = channelwise(bias, x.shape)
    if isinstance(bias, Grid):
        factor, _ = x.worth("a bias")
        scale = channelwise(Grid(np.ones_like(bias.whole), bias.scale), x.shape)
        ratio = np.asarray(scale * times / factor, dtype=object)
        if all(abs(r - 1) < MEANT for r in ratio.ravel().tolist()):
            whole = channelwise(Grid(bias.whole, exact(1)), x.shape)
            return x.then(Affine(exact(1), np.asarray(whole * factor, dtype=object)))
    return x.then(Affine(exact(1), np.asarray(added * times, dtype=object)))


def _conv(at: Site, xs: Sequence[Any_]) -> Value:
    x, a = _value(xs[0], at), at.attributes
    whole, unit = weights(_constant(xs[1], "a weight"), 0)
    need(whole.ndim == 4, "a convolution that is not 2-D", whole.shape, "a weight of four axes")
    stride, dilation = pair(a.get("strides") or [1, 1]), pair(a.get("dilations") or [1, 1])
    positive(stride, dilation)
    groups, pads = int(a.get("group", 1)), padding(a)
    need(groups > 0 and min(pads) >= 0, "groups or padding", (groups, pads), "0 and more")
    op = Conv2d(whole, None, stride, pads, dilation, groups)
    return _layer(at, x, op, unit, xs[2] if len(xs) > 2 else None)


def _gemm(at: Site, xs: Sequence[Any_]) -> Value:
    x, a = _value(xs[0], at), at.attributes
    transposed = bool(a.get("transB", 0))
    weight = _constant(xs[1], "a weight")
    need(not a.get("transA", 0), "a product with the samples as columns", "transA", "transA = 0")
    made = _matrix(at, x, weight, transposed)
    made = made.then(Affine.of(a.get("alpha", 1.0)))
    if len(xs) < 3 or xs[2] is None:
        return made
    return _biased(made, _constant(xs[2], "a bias"), exact(a.get("beta", 1.0)))


def _matmul(at: Site, xs: Sequence[Any_]) -> Value:
    return _matrix(at, _value(xs[0], at), _constant(xs[1], "a weight"), False)


def _matrix(at: Site, x: Value, weight: Grid | Constant, rows: bool) -> Value:
    """A product with a matrix whose rows, or columns, are the outputs."""
    need(len(x.shape) == 1, "a matrix product of a value with more axes", x.shape, "(N, features)")
    whole, unit = weights(weight, 0 if rows else 1)
    need(whole.ndim == 2, "a weight that is not a matrix", whole.shape, "(in, out)")
    return _layer(at, x, Linear(whole if rows else whole.T), unit, None)


def _norm(at: Site, xs: Sequence[Any_]) -> Value:
    x, a = _value(xs[0], at), at.attributes
    need(not a.get("training_mode", 0), "it takes its statistics from the batch", 1, "eval mode")
    need(sum(map(bool, at.node.output)) == 1, "its statistics are outputs", "", "eval mode")
    shape = (-1, *(1,) * (len(x.shape) - 1))
    found = [values(_constant(p, "a statistic")).reshape(shape) for p in xs[1:5]]
    gamma, beta, mean, variance = found
    inside = np.asarray(variance + Fraction(a.get("epsilon", 1e-5)), dtype=object)
    low = min(inside.ravel().tolist())
    need(low > 0, "a variance below zero", float(low), "0 and more")
    centered = x.then(Affine(exact(1), np.asarray(-mean, dtype=object)))
    return centered.then(Affine(gamma, beta, inside))


def _relu(at: Site, xs: Sequence[Any_]) -> Value:
    return _clipped(_value(xs[0], at), Clip(low=Fraction(0)))


def _clip(at: Site, xs: Sequence[Any_]) -> Value:
    x, a = _value(xs[0], at), at.attributes
    ends = [*xs[1:3], None, None][:2] if len(xs) > 1 else [a.get("min"), a.get("max")]
    low, high = (
        None if e is None else values(_constant(np.asarray(e) if np.isscalar(e) else e, "a bound"))
        for e in ends
    )
    for e in (low, high):
        need(e is None or e.size == 1, "bounds that differ", "", "one number")
    return _clipped(x, Clip(*(None if e is None else e.reshape(-1)[0] for e in (low, high))))


def _clipped(x: Value, clip: Clip) -> Value:
    """A clip that no level reaches is left out, so that levels stay levels."""
    if x.spiking and not x.real:
        factor, shift = x.worth("a clip")
        ends = [np.asarray(factor * x.low + shift), np.asarray(factor * x.high + shift)]
        low = min(v for e in ends for v in e.ravel().tolist())
        high = max(v for e in ends for v in e.ravel().tolist())
        if (clip.low is None or low >= clip.low) and (clip.high is None or high <= clip.high):
            return x
    return x.then(clip)


def _binary(at: Site, xs: Sequence[Any_]) -> Value:
    a, b = xs
    kind = at.node.op_type
    if isinstance(a, Value) and isinstance(b, Value):
        if kind == "Sub":
            return at.network.add(a, b.then(Affine.of(-1)), at.name)
        if kind == "Add":
            return at.network.add(a, b, at.name)
        raise OnnxError(
            "two values of the network are multiplied: no synapse has a weight that arrives",
            found=kind,
            allowed="products with constants, sums of values",
        )
    x = a if isinstance(a, Value) else b
    assert isinstance(x, Value)
    other = channelwise(_constant(b if isinstance(a, Value) else a, "an operand"), x.shape)
    if kind == "Add":
        return x.then(Affine(exact(1), other))
    if kind == "Sub":
        minus = x.then(Affine.of(-1)) if x is b else x
        return minus.then(Affine(exact(1), other if x is b else np.asarray(-other, dtype=object)))
    if kind == "Mul":
        return x.then(Affine(other, exact(0)))
    if x is b or any(v == 0 for v in other.ravel().tolist()):
        raise OnnxError("a division by a value of the network, or by zero")
    return x.then(Affine(np.asarray(1 / other, dtype=object), exact(0)))


def _negated(at: Site, xs: Sequence[Any_]) -> Value:
    return _value(xs[0], at).then(Affine.of(-1))


def _pool(at: Site, xs: Sequence[Any_]) -> Value:
    x, a = _value(xs[0], at), at.attributes
    need(not a.get("ceil_mode", 0), "a pool that goes over the edge", "ceil_mode", "ceil_mode = 0")
    need(set(a.get("dilations") or [1]) == {1}, "a pool with gaps", a.get("dilations"), "1")
    kernel, stride = pair(a["kernel_shape"]), pair(a.get("strides") or [1, 1])
    positive(kernel, stride)
    pads = padding(a)
    if at.node.op_type == "MaxPool":
        need(len(at.node.output) == 1, "a pool that gives places", at.node.output, "one output")
        return at.network.max_pool(x, MaxPool2d(kernel, stride, pads), at.name)
    counted = bool(a.get("count_include_pad", 0)) or not any(pads)
    need(counted, "padding that does not count", pads, "count_include_pad = 1, or no padding")
    made = at.network.sum_pool(x, kernel, stride, pads, at.name)
    return made.then(Affine.of(Fraction(1, kernel[0] * kernel[1])))


def _mean(at: Site, xs: Sequence[Any_]) -> Value:
    x = _value(xs[0], at)
    need(len(x.shape) == 3, "a mean over something else than images", x.shape, "(N, C, H, W)")
    kept = True
    if at.node.op_type == "ReduceMean":
        over = sorted(n % 4 for n in axes(at.node, xs))
        need(over == [2, 3], "a mean over other axes than those of an image", over, "[2, 3]")
        kept = bool(at.attributes.get("keepdims", 1))
    size = (x.shape[1], x.shape[2])
    made = at.network.sum_pool(x, size, size, (0, 0), at.name)
    made = made.then(Affine.of(Fraction(1, size[0] * size[1])))
    return made if kept else at.network.flatten(made, at.name)


def _flatten(at: Site, xs: Sequence[Any_]) -> Value:
    start = at.attributes.get("axis", 1)
    need(start == 1, "flattening that takes in the samples", start, "axis = 1")
    return at.network.flatten(_value(xs[0], at), at.name)


def _reshape(at: Site, xs: Sequence[Any_]) -> Value:
    x, target = _value(xs[0], at), _constant(xs[1], "a shape")
    first, *rest = [int(n) for n in values(target).ravel().tolist()]
    size = math.prod(x.seen)
    samples = first in (-1, at.batch) or (first == 0 and not at.attributes.get("allowzero"))
    samples = samples or (at.batch == 1 and rest == [size])
    if rest.count(-1) == 1 and (known := math.prod(n for n in rest if n != -1)) > 0:
        rest = [size // known if n == -1 else n for n in rest]
    need(
        samples and tuple(rest) in (x.seen, (size,)),
        "a new shape that is not a flattening",
        f"{x.seen} to {[first, *rest]}",
        f"samples first, then {size}",
    )
    return x if tuple(rest) == x.seen else at.network.flatten(x, at.name)


def _squeezed(at: Site, xs: Sequence[Any_]) -> Value:
    x = _value(xs[0], at)
    gone = {n % (len(x.seen) + 1) for n in axes(at.node, xs)}
    rest = tuple(n for i, n in enumerate(x.seen, 1) if i not in gone)
    need(
        0 not in gone and rest == (math.prod(x.seen),),
        "axes that are squeezed",
        sorted(gone),
        "2, 3",
    )
    return at.network.flatten(x, at.name)


def _same(at: Site, xs: Sequence[Any_]) -> Value:
    if at.node.op_type == "Dropout" and len(xs) > 2 and xs[2] is not None:
        need(not np.asarray(xs[2]).any(), "it drops at random", "training_mode", "eval mode")
    if at.node.op_type == "Cast":
        to = at.attributes["to"]
        kind = TensorProto.DataType.Name(to)
        need(to in (TensorProto.FLOAT, TensorProto.DOUBLE), "a conversion", kind, "FLOAT, DOUBLE")
    return _value(xs[0], at)


OPERATORS: dict[str, Callable[[Site, Sequence[Any_]], Value]] = {
    "Add": _binary,
    "AveragePool": _pool,
    "BatchNormalization": _norm,
    "Cast": _same,
    "Clip": _clip,
    "Conv": _conv,
    "Div": _binary,
    "Dropout": _same,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Mul": _binary,
    "Neg": _negated,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Squeeze": _squeezed,
    "Sub": _binary,
}
"""Operators that take a value of the network."""
