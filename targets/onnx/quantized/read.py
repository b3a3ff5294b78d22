"""A QONNX file as a graph of levels: `purespike.compiler.quantized` has the arithmetic.

A file is read node by node, in exact fractions of the float32 numbers that it holds. It is a
network without memory: one step a sample.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, Domain
from purespike.compiler.ir.forms import MAX_VALUES
from purespike.compiler.ir.graph import Graph, Shape
from purespike.compiler.ir.verify import verify
from purespike.compiler.quantized.exact import exact
from purespike.compiler.quantized.network import QuantizedNetwork
from purespike.compiler.quantized.value import Value
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.constants import attributes, folded, literal, read_tensor
from purespike.targets.onnx.foreign.files import inputs, refuse_programs
from purespike.targets.onnx.foreign.machine import BROKEN
from purespike.targets.onnx.foreign.naming import clean, label, title
from purespike.targets.onnx.quantized.operators import OPERATORS, Any_, Site
from purespike.targets.onnx.quantized.parameters import Grid, values
from purespike.targets.onnx.quantized.quantizers import DOMAINS, QUANTIZERS, counter, on_grid
from purespike.targets.onnx.read import parse_onnx

MAX_NODES = 10_000
OPSETS = range(8, 29)
# What Brevitas' modules have inside, which names none of them.
_INNER = re.compile(r"\.?(act_quant|input_quant|output_quant|export_handler|activation_impl)\b")


def is_quantized(path: str | Path) -> bool:
    """Does the file hold a quantizer of QONNX?"""
    return any(n.domain in DOMAINS for n in parse_onnx(path).graph.node)


def read_quantized(path: str | Path, *, dt: float = 1e-3, domain: Domain = ANALOG) -> Graph:
    """The network in a QONNX file.

    Args:
        path: The file.
        dt: Seconds per step; nothing depends on it.
        domain: What the input carries.

    Returns:
        A graph of one step whose weights and thresholds are whole numbers, its activations
        `Levels`. Its output has its greatest value where the network's is, ties included.

    Raises:
        OnnxError: If something in it has no exact form; it names the node, what was found, what is
            allowed and what to do.
    """
    model = parse_onnx(path)
    try:
        with np.errstate(all="ignore"):
            graph = understood(model, dt, domain)[0]
    except PurespikeError as e:
        raise OnnxError(
            f"no quantized network can be read from this ONNX file: {e.message}",
            where=f"{path}: {e.where}" if e.where else str(path),
            found=e.found,
            allowed=e.allowed,
            remedy=e.remedy,
        ) from None
    verify(graph)
    return graph


def understood(
    model: ModelProto, dt: float = 1e-3, domain: Domain = ANALOG
) -> tuple[Graph, dict[str, Value]]:
    """The graph of a model, and what each of its tensors is on the edges of that.

    Args:
        model: As it was parsed.
        dt: As for `read_quantized`.
        domain: See ``dt``.

    Raises:
        PurespikeError: As for `read_quantized`.
    """
    refuse_programs(model, DOMAINS, OPSETS)
    if len(model.graph.node) > MAX_NODES:
        raise OnnxError("too many nodes", found=f"{len(model.graph.node)}", allowed=f"{MAX_NODES}")
    declared = inputs(model.graph)
    if len(declared) != 1:
        raise OnnxError(
            "a network without memory has one input",
            found=", ".join(v.name for v in declared),
            remedy="of a step with states, compile the network that it was written from",
        )
    batch, shape = _sizes(declared[0])
    network = QuantizedNetwork(shape, domain, clean(declared[0].name) or "x")
    machine = _Machine(network, batch, {declared[0].name: network.input()})
    for tensor in model.graph.initializer:
        machine.constant(tensor)
    for node in model.graph.node:
        machine.run(node)
    # Beside a quantized output stand its scale, zero point and bit width.
    given = [v.name for v in model.graph.output if isinstance(machine.values.get(v.name), Value)]
    if len(given) != 1:
        raise OnnxError(
            "the network has not one output that depends on its input",
            found=", ".join(given) or "none",
            allowed="one",
        )
    (output,) = given
    found = machine.values[output]
    assert isinstance(found, Value)
    try:
        made = network.readout(found, clean(output) or "readout")
    except PurespikeError as e:
        e.where = e.where or f"output {output!r}"
        raise
    tensors = {name: v for name, v in machine.values.items() if isinstance(v, Value)}
    return network.graph((made,), dt), tensors


def _sizes(value: ValueInfoProto) -> tuple[int, Shape]:
    kind = value.type.tensor_type
    batch, *rest = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim] or [-1]
    if len(rest) not in (1, 3) or min(rest) < 1:
        raise OnnxError(
            "an input has not the form that is needed",
            where=f"input {value.name!r}",
            found=f"({', '.join(d.dim_param or str(d.dim_value) for d in kind.shape.dim)})",
            allowed="(N, C, H, W) or (N, features): samples first, all other sizes fixed",
            remedy="export it with an example of its own size",
        )
    if (values := math.prod(rest)) > MAX_VALUES:
        raise OnnxError(
            "an input is too large",
            where=f"input {value.name!r}",
            found=f"{values} values a sample",
            allowed=f"{MAX_VALUES}",
        )
    return batch, tuple(rest)


@dataclass
class _Machine:
    """The values by the name of their tensor."""

    network: QuantizedNetwork
    batch: int
    values: dict[str, Any_] = field(default_factory=dict)

    def constant(self, tensor: TensorProto) -> None:
        try:
            self.values[tensor.name] = read_tensor(tensor)
        except BROKEN as e:
            raise OnnxError(
                "a constant is damaged", where=f"initializer {tensor.name!r}", found=_line(e)
            ) from None

    def run(self, node: NodeProto) -> None:
        try:
            missing = [i for i in node.input if i and i not in self.values]
            if missing:
                raise OnnxError("it reads a tensor that no node before it writes", found=missing[0])
            made = self._made(node, [self.values[i] if i else None for i in node.input])
        except PurespikeError as e:
            e.where = label(node)
            raise
        except BROKEN as e:
            raise OnnxError(
                f"the arguments of {node.op_type} are not as its definition says",
                where=label(node),
                found=_line(e),
            ) from None
        for name in node.output[:1]:
            if name in self.values:
                raise OnnxError("two nodes write one tensor", where=label(node), found=name)
            self.values[name] = made

    def _made(self, node: NodeProto, xs: list[Any_]) -> Any_:
        kind = node.op_type
        if kind == "Constant":
            return literal(node)
        own = node.domain in DOMAINS
        if own and kind in QUANTIZERS:
            return self._quantized(node, xs)
        if kind == "Shape" and isinstance(xs[0], Value) and not attributes(node):
            return np.array([self.batch, *xs[0].seen], np.int64)
        if not any(isinstance(x, Value) for x in xs):
            return _constants(node, xs)
        if kind in OPERATORS and not own:
            return OPERATORS[kind](Site(node, self.network, _module(node), self.batch), xs)
        raise OnnxError(
            "an operator that has no exact form in levels and spikes",
            found=f"{node.domain}::{kind}" if own else kind,
            allowed=", ".join(sorted((*QUANTIZERS, *OPERATORS))),
            remedy="leave it out of the exported module; what stands at the end (ArgMax, Softmax, "
            "DepthToSpace), let the host compute",
        )

    def _quantized(self, node: NodeProto, xs: Sequence[Any_]) -> Any_:
        x, *rest = xs
        parameters = []
        for p in rest:
            if p is None or isinstance(p, Value):
                raise OnnxError(
                    "a quantizer whose scale, zero point or bit width is no constant",
                    remedy="export the module in eval mode",
                )
            parameters.append(p)
        if isinstance(x, Value):
            return self.network.quantize(x, counter(node, parameters, x.seen), _module(node))
        assert x is not None
        return on_grid(node, x, parameters)


def _constants(node: NodeProto, xs: list[Any_]) -> Any_:
    """What a node makes of constants alone; those on a grid stay there."""
    grids = [x for x in xs if isinstance(x, Grid)]
    if not grids:
        return folded(node, xs)  # type: ignore[arg-type]  # plain numbers only
    (grid,) = grids
    other: list[Any] = [x for x in xs if x is not None and x is not grid]
    if node.op_type == "Transpose":
        return grid.reordered(lambda a: np.transpose(a, attributes(node).get("perm")))
    if node.op_type == "Reshape":
        target = values(other[0]).ravel()
        return grid.reordered(lambda a: a.reshape([int(n) for n in target]))
    if node.op_type == "Identity":
        return grid
    if node.op_type == "Mul" and other:
        return Grid(grid.whole, exact(grid.scale * values(other[0])))
    raise OnnxError(
        "an operator takes quantized constants",
        found=node.op_type,
        allowed="Transpose, Reshape, Identity, Mul",
        remedy="fold it before the quantizer",
    )


def _module(node: NodeProto) -> str:
    return _INNER.sub("", title(node)).strip(".") or node.op_type.lower()


def _line(e: Exception) -> str:
    return str(e).splitlines()[0][:120] if str(e) else type(e).__name__
