"""ONNX operators on one value of the network and constants: each is a layer of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.forms import Form, atom, constant, is_binary, plus, same, scaled
from purespike.compiler.ir.graph import Edge, Op, Shape
from purespike.compiler.ir.ops import AvgPool2d, BatchNorm, Conv2d, Flatten, Linear, MaxPool2d
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.biases import shifted
from purespike.targets.onnx.foreign.constants import Constant, attributes, axes
from purespike.targets.onnx.foreign.naming import label, title
from purespike.targets.onnx.foreign.windows import need, padding, pair, positive

Value = Form | Constant


@dataclass(frozen=True)
class Site:
    """Where a layer stands: its node, and what makes atoms.

    Attributes:
        node: The ONNX node.
        atoms: Makes what the layer gives.
        batch: Samples in the file's own example, -1 where the file leaves them open.
    """

    node: NodeProto
    atoms: Atoms
    batch: int

    def layer(self, op: Op, x: Form) -> Form:
        """The value that ``op`` makes of ``x``."""
        shape, _ = op.infer(Edge("x", x.shape, SPIKE))
        return atom(self.atoms.real(title(self.node), shape, label(self.node), op, x), shape)


def _parts(xs: Sequence[Value | None]) -> tuple[Form, list[Constant | None]]:
    """The value that a layer takes, and its parameters."""
    first, *rest = xs
    given = [r for r in rest if not isinstance(r, Form)]
    if not isinstance(first, Form) or len(given) < len(rest):
        raise OnnxError(
            "a layer takes one value of the network; its weights are constants",
            allowed="constant weights, as the second operand",
            remedy="export the module with its parameters as initializers",
        )
    return first, given


def _floats(x: Constant | None) -> Any:
    return None if x is None else x.astype(np.float64)


def _conv(at: Site, xs: Sequence[Value | None]) -> Form:
    x, (weight, *rest) = _parts(xs)
    a, weight = attributes(at.node), _floats(weight)
    need(weight.ndim == 4, "a convolution that is not 2-D", weight.shape, "a weight of four axes")
    stride, dilation = pair(a.get("strides") or [1, 1]), pair(a.get("dilations") or [1, 1])
    positive(stride, dilation)
    groups, pads = int(a.get("group", 1)), padding(a)
    need(groups > 0 and min(pads) >= 0, "groups or padding", (groups, pads), "0 and more")
    bias = _floats(rest[0]) if rest else None
    return at.layer(Conv2d(weight, bias, stride, pads, dilation, groups), x)


def _linear(at: Site, x: Form, weight: Constant) -> Form:
    need(len(x.shape) == 1, "a matrix product of a value with more axes", x.shape, "(N, features)")
    return at.layer(Linear(_floats(weight)), x)


def _matmul(at: Site, xs: Sequence[Value | None]) -> Form:
    x, (weight,) = _parts(xs)
    need(weight is not None and weight.ndim == 2, "a weight that is not a matrix", "", "(in, out)")
    return _linear(at, x, np.asarray(weight).T)


def _gemm(at: Site, xs: Sequence[Value | None]) -> Form:
    """``alpha x W + beta c``; what is added may be a value of the network."""
    a = attributes(at.node)
    x, (weight,) = _parts(xs[:2])
    need(weight is not None and weight.ndim == 2, "a weight that is not a matrix", "", "(in, out)")
    need(not a.get("transA", 0), "a product with the samples as columns", "transA", "transA = 0")
    weight = np.asarray(weight).T if not a.get("transB", 0) else np.asarray(weight)
    made = _linear(at, x, weight * np.float64(a.get("alpha", 1.0)))
    if len(xs) < 3 or (c := xs[2]) is None:
        return made
    added = c if isinstance(c, Form) else constant(made.shape, c)
    need(added.shape == made.shape, "a sum of different shapes", added.shape, f"{made.shape}")
    added = scaled(added, float(a.get("beta", 1.0)))
    return biased(at, made, added) or plus(made, added)


def biased(at: Site, made: Form, added: Form) -> Form | None:
    """A layer with a constant as its bias; None if it is none, or the constant no bias of it."""
    real = made.reals()[0] if len(made.terms) == 1 and made.reals() else None
    if real is None or real.source is None or not same(made, atom(real, made.shape)):
        return None
    op = shifted(real.op, made.shape, np.ones(()), added.of()) if added.constant() else None
    if op is None:
        return None
    return atom(at.atoms.real(real.name, made.shape, real.where, op, real.source), made.shape)


def _norm(at: Site, xs: Sequence[Value | None]) -> Form:
    x, parameters = _parts(xs)
    a = attributes(at.node)
    need(not a.get("training_mode", 0), "it takes its statistics from the batch", 1, "eval mode")
    need(sum(map(bool, at.node.output)) == 1, "its statistics are outputs", "", "eval mode")
    gamma, beta, mean, variance = (_floats(p) for p in parameters)
    eps = float(a.get("epsilon", 1e-5))
    need(bool((variance + eps > 0).all()), "a variance below zero", variance.min(), "0 and more")
    return at.layer(BatchNorm(gamma, beta, mean, variance, eps), x)


def _pool(at: Site, xs: Sequence[Value | None]) -> Form:
    (x, _), a = _parts(xs), attributes(at.node)
    need(not a.get("ceil_mode", 0), "a pool that goes over the edge", "ceil_mode", "ceil_mode = 0")
    need(set(a.get("dilations") or [1]) == {1}, "a pool with gaps", a.get("dilations"), "1")
    kernel, stride = pair(a["kernel_shape"]), pair(a.get("strides") or [1, 1])
    positive(kernel, stride)
    pads = padding(a)
    if at.node.op_type == "MaxPool":
        need(len(at.node.output) == 1, "a pool that gives places", at.node.output, "one output")
        return at.layer(MaxPool2d(kernel, stride, pads), x)
    counted = bool(a.get("count_include_pad", 0)) or not any(pads)
    need(counted, "padding that does not count", pads, "count_include_pad = 1, or no padding")
    return at.layer(AvgPool2d(kernel, stride, pads), x)


def _mean(at: Site, xs: Sequence[Value | None]) -> Form:
    """The mean over an image: GlobalAveragePool, or ReduceMean over both of its axes."""
    x, _ = _parts(xs)
    need(len(x.shape) == 3, "a mean over something else than images", x.shape, "(N, C, H, W)")
    kept = True
    if at.node.op_type == "ReduceMean":
        over = sorted(n % 4 for n in axes(at.node, xs))
        need(over == [2, 3], "a mean over other axes than those of an image", over, "[2, 3]")
        kept = bool(attributes(at.node).get("keepdims", 1))
    size = (x.shape[1], x.shape[2])
    made = at.layer(AvgPool2d(size, size), x)
    return made if kept else at.layer(Flatten(), made)


def _reshaped(at: Site, x: Form, shape: Shape) -> Form:
    if shape == x.shape:
        return x
    whole = (math.prod(x.shape),)
    need(
        shape == whole, "a new shape that is not a flattening", f"{x.shape} to {shape}", str(whole)
    )
    return at.layer(Flatten(), x)


def _flatten(at: Site, xs: Sequence[Value | None]) -> Form:
    x, _ = _parts(xs)
    start = attributes(at.node).get("axis", 1)
    need(start == 1, "flattening that takes in the samples", start, "axis = 1")
    return _reshaped(at, x, (math.prod(x.shape),))


def _reshape(at: Site, xs: Sequence[Value | None]) -> Form:
    x, (target,) = _parts(xs)
    first, *rest = np.asarray(target).tolist()
    # -1 may stand for the samples, and once more, as Shape gives it, for the features.
    samples = first in (-1, at.batch) or (first == 0 and not attributes(at.node).get("allowzero"))
    need(samples, "a new shape that moves samples", [first, *rest], f"-1, 0 or {at.batch} in front")
    if rest.count(-1) == 1 and (known := math.prod(n for n in rest if n != -1)) > 0:
        rest = [math.prod(x.shape) // known if n == -1 else n for n in rest]
    return _reshaped(at, x, tuple(rest))


def _squeeze(at: Site, xs: Sequence[Value | None]) -> Form:
    x, _ = _parts(xs)
    gone = {n % (len(x.shape) + 1) for n in axes(at.node, xs)}
    need(bool(gone) and 0 not in gone, "axes that are squeezed", sorted(gone), "1 and above")
    shape = tuple(n for i, n in enumerate(x.shape, 1) if i not in gone)
    need(math.prod(shape) == math.prod(x.shape), "an axis longer than 1 is squeezed", x.shape, "1")
    return _reshaped(at, x, shape)


def _same(at: Site, xs: Sequence[Value | None]) -> Form:
    x, rest = _parts(xs)
    if at.node.op_type == "Dropout" and len(rest) > 1 and rest[1] is not None:
        need(not rest[1].any(), "it drops at random", "training_mode", "a module in eval mode")
    if at.node.op_type == "Cast":
        to = attributes(at.node)["to"]
        exact = to in (TensorProto.FLOAT, TensorProto.DOUBLE)
        kind = TensorProto.DataType.Name(to)
        need(
            exact or is_binary(x),
            "a conversion that loses something",
            kind,
            "FLOAT, DOUBLE; any for spikes",
        )
    return x


LAYERS: dict[str, Callable[[Site, Sequence[Value | None]], Form]] = {
    "AveragePool": _pool,
    "BatchNormalization": _norm,
    "Cast": _same,
    "Conv": _conv,
    "Dropout": _same,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "Identity": _same,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
}
"""Operators on one value of the network, with constants."""
