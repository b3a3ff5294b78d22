"""Random networks in QONNX's nodes, and what qonnx's own executor makes of them.

All numbers are dyadic and short, so that float32 rounds nothing and the executor is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.quantized.exact import collapsed
from purespike.compiler.quantized.value import Value

DOMAIN = "qonnx.custom_op.general"
MODES = ("ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN")
Tensors = Mapping[str, NDArray[Any]]


def executed(model: ModelProto, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Every tensor, as qonnx 1.0 computes it node by node in float32, for one sample."""
    version = onnx.IR_VERSION
    onnx.IR_VERSION = 10  # qonnx makes a model of each node, newer than ONNX Runtime 1.31 takes
    try:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        wrapped = ModelWrapper(onnx.ModelProto.FromString(model.SerializeToString()))
        wrapped = wrapped.transform(InferShapes())
        name = model.graph.input[0].name
        found: dict[str, NDArray[Any]] = execute_onnx(
            wrapped, {name: x.astype(np.float32)}, return_full_exec_context=True
        )
        return found
    finally:
        onnx.IR_VERSION = version


def carried(graph: Graph, tensors: Mapping[str, Value], x: NDArray[Any]) -> dict[str, Any]:
    """What our graph says that each tensor of levels is, and its output, for samples (B, ...)."""
    trace = run(graph, np.asarray(x, np.float64)[None])
    found = {"readout": trace.values[graph.outputs[0]][0]}
    for name, value in tensors.items():
        edges = [p for p in value.parts if p.edge in trace.values and p.times is not None]
        worth = collapsed(value.steps)
        if worth is not None and value.spiking and len(edges) == len(value.parts):
            total = sum(p.times * trace.values[p.edge][0] for p in edges)
            factor, shift = (a.astype(np.float64) for a in worth)
            found[name] = total * factor + shift
    return found


def same_order(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Are any two values of a sample ordered alike, equal ones too?"""
    rows = [x.reshape(len(x), -1) for x in (a, b)]
    signs = [np.sign(x[:, :, None] - x[:, None, :]) for x in rows]
    return np.array_equal(*signs)


@dataclass
class Writer:
    """Nodes of a QONNX file, one after the other."""

    r: np.random.Generator
    shape: tuple[int, ...]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    last: str = "x"

    def constant(self, value: Any, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", **rest: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                kind, inputs, [name], f"/m{len(self.nodes)}/{kind}", domain=domain, **rest
            )
        )
        self.last = name
        return name

    def quant(
        self, x: str, bits: int, scale: Any, zero: float = 0, *, signed: bool = False,
        narrow: bool = False, mode: str = "ROUND", kind: str = "Quant",
    ) -> str:  # fmt: skip
        return self.op(
            kind, x, self.constant(scale), self.constant(zero), self.constant(bits),
            domain=DOMAIN, signed=int(signed), narrow=int(narrow), rounding_mode=mode,
        )  # fmt: skip

    def weight(self, shape: tuple[int, ...], axis: int) -> str:
        """Quantized weights, whose scales differ by output channel now and then."""
        bits = int(self.r.integers(2, 5))
        x = self.constant(self.r.integers(-24, 25, shape) / 8)
        size = [1] * len(shape)
        if self.r.random() < 0.6:
            size[axis] = shape[axis]
        scale = 2.0 ** self.r.integers(-2, 1, size)
        if self.r.random() < 0.15:
            return self.op("BipolarQuant", x, self.constant(scale), domain=DOMAIN)
        zero = float(self.r.integers(-1, 2)) if self.r.random() < 0.2 else 0.0
        return self.quant(
            x, bits, scale, zero, signed=True, narrow=bool(self.r.integers(2)),
            kind=str(self.r.choice(["Quant", "IntQuant"])),
        )  # fmt: skip

    def activation(self, x: str) -> str:
        """A ReLU or none, and a quantizer of a kind."""
        kind = self.r.random()
        if kind < 0.6:
            x = self.op("Relu", x)
        scale = 2.0 ** int(self.r.integers(-1, 3))
        if kind > 0.9:
            return self.op("BipolarQuant", x, self.constant(scale), domain=DOMAIN)
        if kind > 0.8:
            rows = 1 if self.r.random() < 0.5 else self.shape[0]
            table = np.sort(
                self.r.integers(-40, 41, (rows, int(self.r.integers(1, 5)))) / 4, axis=1
            )
            return self.op(
                "MultiThreshold", x, self.constant(table), domain=DOMAIN, out_dtype="UINT4",
                out_scale=scale, out_bias=float(self.r.integers(-2, 3)),
            )  # fmt: skip
        signed, mode = kind > 0.6, str(self.r.choice(MODES))
        zero = float(self.r.integers(-2, 3)) if self.r.random() < 0.4 else 0.0
        bits = int(self.r.integers(2 if signed else 1, 5))
        return self.quant(x, bits, scale, zero, signed=signed, mode=mode)

    def affine(self, x: str) -> str:
        """A bias, a batch normalization, a factor, or none of them."""
        c, kind = self.shape[0], self.r.random()
        spread = (c, *(1,) * (len(self.shape) - 1))
        if kind < 0.3:
            return self.op("Add", x, self.constant(self.r.integers(-16, 17, spread) / 4))
        if kind < 0.6:
            gamma = 2.0 ** self.r.integers(-1, 2, c) * self.r.choice([-1, 1, 1, 1, 0], c)
            beta, mean = self.r.integers(-16, 17, (2, c)) / 4
            given = (gamma, beta, mean, 4.0 ** self.r.integers(-1, 2, c))
            return self.op("BatchNormalization", x, *map(self.constant, given), epsilon=0.0)
        if kind < 0.8:
            factor = 2.0 ** self.r.integers(-1, 2, spread) * self.r.choice([-1, 1, 1], spread)
            return self.op("Mul", x, self.constant(factor))
        return x

    def conv(self, x: str) -> str:
        c, h, w = self.shape
        groups = c if self.r.random() < 0.2 else 1
        out = c * int(self.r.integers(1, 3)) if groups > 1 else int(self.r.integers(2, 5))
        k, p = (3, int(self.r.integers(0, 2))) if min(h, w) >= 3 else (1, 0)
        s = int(self.r.integers(1, 3))
        weight = self.weight((out, c // groups, k, k), 0)
        bias = [self.constant(self.r.integers(-8, 9, out) / 4)] if self.r.random() < 0.4 else []
        rest = {"kernel_shape": [k, k], "strides": [s, s], "pads": [p] * 4, "group": groups}
        self.shape = (out, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1)
        return self.op("Conv", x, weight, *bias, **rest)

    def pool(self, x: str, kind: str) -> str:
        c, h, w = self.shape
        if min(h, w) < 2:
            return x
        self.shape = (c, h // 2, w // 2)
        return self.op(kind, x, kernel_shape=[2, 2], strides=[2, 2])

    def linear(self, x: str, out: int, *, per_tensor: bool = False) -> str:
        (n,) = self.shape
        self.shape = (out,)
        transposed = bool(self.r.integers(2))
        shape, axis = ((out, n), 0) if transposed else ((n, out), 1)
        if per_tensor:
            x8 = self.constant(self.r.integers(-24, 25, shape) / 8)
            weight = self.quant(x8, 4, 0.5, signed=True)
        else:
            weight = self.weight(shape, axis)
        if not transposed and self.r.random() < 0.5:
            return self.op("MatMul", x, weight)
        bias = [self.constant(self.r.integers(-8, 9, out) / 8)] if self.r.random() < 0.7 else []
        return self.op("Gemm", x, weight, *bias, transB=int(transposed))

    def model(self, shape: tuple[int, ...]) -> ModelProto:
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, *s])
            for n, s in (("x", shape), (self.last, self.shape))
        ]
        graph = helper.make_graph(self.nodes, "g", ends[:1], ends[1:], self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def random_network(seed: int) -> tuple[ModelProto, NDArray[np.float32]]:
    """(A network, inputs of one sample each (B, ...)) whose arithmetic float32 does not round."""
    r = np.random.default_rng(seed)
    shape = (int(r.integers(1, 4)), 6, 6) if r.random() < 0.7 else (int(r.integers(4, 12)),)
    w = Writer(r, shape)
    x = w.quant(
        "x", int(r.integers(1, 5)), 0.25, float(r.integers(-1, 2)) if r.random() < 0.3 else 0
    )
    if len(shape) == 3:
        for _ in range(int(r.integers(1, 3))):
            x = w.affine(w.conv(x))
            early = r.random()
            if early < 0.2 and w.nodes[-1].op_type not in ("BatchNormalization", "Mul"):
                x = w.pool(x, "AveragePool")
            elif early < 0.4:
                x = w.pool(x, "MaxPool")
            x = w.activation(x)
            late = r.random()
            if late < 0.3:
                x = w.pool(x, "MaxPool")
            elif late < 0.5:  # a block whose two branches share a quantizer's scale
                size, kept = w.shape, x
                branch = w.op("Conv", x, w.weight((size[0], size[0], 1, 1), 0), kernel_shape=[1, 1])
                a = w.quant(w.op("Relu", branch), 3, 0.5)
                b = w.quant(kept, 3, 0.5, signed=True)
                x = w.op("Add", a, b)
                w.shape = size
        x = w.pool(x, "AveragePool") if r.random() < 0.3 else x
        x = w.op("Flatten", x, axis=1)
        w.shape = (int(np.prod(w.shape)),)
    if r.random() < 0.7:
        x = w.activation(w.affine(w.linear(x, int(r.integers(3, 8)))))
    x = w.linear(x, int(r.integers(2, 6)), per_tensor=True)
    if r.random() < 0.2:
        w.quant(x, 4, 0.5, signed=True)
    inputs = r.integers(-8, 33, (6, *shape)) / 16
    return w.model(shape), inputs.astype(np.float32)
