"""What the constants of an ONNX graph come to: exporters leave arithmetic on them to the runtime.

Constants keep the element type of the file, so that a decay that is computed in float32 is the
decay that ONNX Runtime computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from purespike.compiler.ir.forms import MAX_VALUES
from purespike.targets.onnx.body import OnnxError

Constant = NDArray[Any]


def attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def read_tensor(tensor: TensorProto) -> Constant:
    """A tensor of numbers; raises OnnxError if it is something else or larger than the file."""
    if math.prod(tensor.dims) > MAX_VALUES or min(tensor.dims, default=0) < 0:
        raise OnnxError("a constant is too large", found="x".join(map(str, tensor.dims)))
    array: Constant = numpy_helper.to_array(tensor)
    if array.dtype.kind not in "biuf":
        raise OnnxError("a constant holds no numbers", found=str(array.dtype))
    return array


def _clip(x: Constant, low: Constant | None = None, high: Constant | None = None) -> Constant:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _divide(a: Constant, b: Constant) -> Constant:
    whole = np.asarray(a).dtype.kind in "iu" and np.asarray(b).dtype.kind in "iu"
    return np.asarray(np.fix(a / b).astype(a.dtype) if whole else a / b)


POINTWISE: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Clip": _clip,
    "Div": _divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Log": np.log,
    "Max": lambda *xs: np.maximum.reduce(np.broadcast_arrays(*xs)),
    "Min": lambda *xs: np.minimum.reduce(np.broadcast_arrays(*xs)),
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": np.power,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Sign": np.sign,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Sum": lambda *xs: np.add.reduce(np.broadcast_arrays(*xs)),
    "Where": np.where,
    "Xor": np.logical_xor,
}
"""Operators that take tensors value by value; on constants they are computed."""


def axes(node: NodeProto, xs: Sequence[Any]) -> list[int]:
    """The axes that a node names: an attribute once, an input since operator set 13."""
    said = attributes(node).get("axes")
    if said is None and len(xs) > 1 and isinstance(xs[1], np.ndarray):
        said = xs[1].tolist()
    return [int(a) for a in said or ()]


def _concat(node: NodeProto, *xs: Constant) -> Constant:
    _limit((sum(x.size for x in xs),))
    return np.concatenate(xs, axis=attributes(node)["axis"])


def _squeeze(node: NodeProto, x: Constant, *rest: Constant) -> Constant:
    return np.squeeze(x, axis=tuple(axes(node, [x, *rest])) or None)


def _transpose(node: NodeProto, x: Constant) -> Constant:
    return np.transpose(x, attributes(node).get("perm"))


def _gather(node: NodeProto, x: Constant, index: Constant) -> Constant:
    axis = attributes(node).get("axis", 0)
    _limit((index.size, x.size // max(x.shape[axis], 1)))
    return np.asarray(np.take(x, index, axis=axis))


def _cast(node: NodeProto, x: Constant) -> Constant:
    return x.astype(helper.tensor_dtype_to_np_dtype(attributes(node)["to"]))


def _filled(node: NodeProto, shape: Constant) -> Constant:
    value = attributes(node).get("value")
    one = np.zeros((), np.float32) if value is None else read_tensor(value).reshape(())
    return _expand(node, one, shape)


def _expand(node: NodeProto, x: Constant, shape: Constant) -> Constant:
    """Spread over a shape; of samples, where their number is open, one is enough."""
    wanted = np.broadcast_shapes(x.shape, tuple(np.where(shape == -1, 1, shape).tolist()))
    _limit(wanted)
    return np.broadcast_to(x, wanted)


def _limit(shape: tuple[int, ...]) -> None:
    if math.prod(shape) > MAX_VALUES:
        raise OnnxError("a constant is too large", allowed=f"{MAX_VALUES:,} values")


SHAPED: dict[str, Callable[..., Constant]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Expand": _expand,
    "Gather": _gather,
    "Identity": lambda node, x: x,
    "Reshape": lambda node, x, shape: x.reshape(shape.tolist()),
    "Shape": lambda node, x: np.array(x.shape, np.int64),
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": lambda node, x, *rest: np.expand_dims(x, tuple(axes(node, [x, *rest]))),
}
"""Operators that rearrange constants."""


def literal(node: NodeProto) -> Constant:
    """The value of a Constant node."""
    ((name, value),) = attributes(node).items()
    if name == "value":
        return read_tensor(value)
    kinds: Mapping[str, type] = {"value_float": np.float32, "value_int": np.int64}
    return np.asarray(value, kinds[name.removesuffix("s")])


def folded(node: NodeProto, xs: Sequence[Constant | None]) -> Constant:
    """What a node makes of constants alone.

    Raises:
        OnnxError: If nothing is known about such a node, or its result is too large.
    """
    given = [x for x in xs if x is not None]
    with np.errstate(all="ignore"):
        if node.op_type in SHAPED:
            return SHAPED[node.op_type](node, *given)
        if node.op_type not in POINTWISE:
            raise OnnxError(
                "an operator that is not known takes constants alone",
                found=node.op_type,
                allowed=", ".join(sorted((*POINTWISE, *SHAPED))),
                remedy="fold the constants before: onnxruntime and onnxsim do that",
            )
        _limit(np.broadcast_shapes(*(x.shape for x in given)))
        bounds = xs if node.op_type == "Clip" else given  # one of them may be left out
        return np.asarray(POINTWISE[node.op_type](*bounds))
