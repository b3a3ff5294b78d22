"""The network in QONNX's convention, for FPGA flows: float32 tensors that carry small integers.

QONNX (Pappalardo et al., 2022, arXiv:2206.07527) keeps standard operators on float32 and says
beside each tensor what it may hold: ``IntQuant`` nodes on inputs and weights, and the annotation
``finn_datatype`` on every tensor, which qonnx, FINN and hls4ml's QONNX front end read. A spike is
``MultiThreshold`` with one threshold (it counts ``v >= threshold``).

This is one time step with explicit states, as `step_model`, with the same names. It documents the
bit widths and can be executed; the integer golden model stays the reference. Nothing here leaves
the integers that float32 holds exactly (below 2**24).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorAnnotation, TensorProto, checker, helper, numpy_helper

from purespike.compiler.ir.domain import SPIKE, Array, Domain
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, MaxPool2d, Neuron, Scale
from purespike.compiler.wording import Advice
from purespike.targets.copies import weight_owners
from purespike.targets.onnx.body import OnnxError, State
from purespike.targets.onnx.legality import check, place
from purespike.targets.onnx.metadata import stamp
from purespike.targets.onnx.neuron import fixed_neuron, membrane_unit

DOMAIN = "qonnx.custom_op.general"
FLOAT = int(TensorProto.FLOAT)
WEIGHT_BITS = 8
EXACT = 1 << 24  # float32 holds every integer up to here


def qonnx_model(graph: Graph, *, notes: Mapping[str, Any] | None = None) -> ModelProto:
    """One time step of ``graph`` in QONNX's convention.

    Args:
        graph: A quantized graph, its gates lowered to neurons.
        notes: As for `step_model`.

    Returns:
        Inputs and outputs as `step_model`, all float32.

    Raises:
        OnnxError: If the graph is not quantized, has a leak between 0 and 1 (its product needs
            more bits than float32 has), gates, or a threshold for each neuron.
    """
    check(graph)
    writer = _Writer(graph)
    for edge in graph.inputs:
        writer.quantize(edge.name, edge.name, _bits(edge.domain), signed=False)
    late = [n for n in graph.nodes if isinstance(n.op, Delay)]
    for node in late:
        writer.delay(node)
    for node in graph.nodes:
        if node not in late:
            writer.node(node)
    for node in late:
        writer.advance(node)
    main = helper.make_graph(
        writer.nodes,
        "step",
        [_float(e.name, e.shape) for e in graph.inputs]
        + [_float(s.before, s.shape) for s in writer.states],
        [_float(n, graph.edge(n).shape) for n in dict.fromkeys(graph.outputs)]
        + [_float(s.after, s.shape) for s in writer.states],
        writer.initializers,
    )
    for name, kind in sorted(writer.types.items()):
        main.quantization_annotation.append(_annotation(name, kind))
    model = ModelProto(graph=main)
    stamp(model, graph, writer.states, "qonnx", notes or {}, domains=(DOMAIN,))
    checker.check_model(model)
    return model


class _Writer:
    """Nodes, constants, states, and the datatype of every tensor."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.states: list[State] = []
        self.types: dict[str, str] = {}
        self.known: set[str] = set()
        self.owners = weight_owners(graph)
        self.sources: dict[str, str] = {}  # tensor that carries an edge, where it is not its name

    def op(self, kind: str, inputs: list[str], output: str, datatype: str, **rest: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **rest))
        self.types[output] = datatype
        return output

    def constant(self, name: str, value: Any, datatype: str) -> str:
        if name not in self.known:
            array = np.array(value, dtype=np.float32, order="C") + np.float32(0)  # no "-0"
            self.initializers.append(numpy_helper.from_array(array, name))
            self.types[name] = datatype
            self.known.add(name)
        return name

    def number(self, value: int) -> str:
        return self.constant(f"const/{value}", value, _datatype(Domain(value, value, 1)))

    def quantize(self, edge: str, tensor: str, bits: int, *, signed: bool) -> None:
        """An IntQuant of scale 1: it changes no legal value, and says which are legal."""
        inputs = [tensor, self.number(1), self.number(0), self.number(bits)]
        kind = ("INT" if signed else "UINT") + str(bits) if bits > 1 or signed else "BINARY"
        self.types[tensor] = kind
        self.sources[edge] = self.op(
            "IntQuant",
            inputs,
            f"{tensor}/quantized",
            kind,
            domain=DOMAIN,
            signed=int(signed),
            narrow=0,
            rounding_mode="ROUND",
        )

    def read(self, edge: str) -> str:
        return self.sources.get(edge, edge)

    def weight(self, name: str, value: Array) -> str:
        if name in self.sources:  # of a copy, which has the same
            return self.sources[name]
        low, high = float(value.min(initial=0.0)), float(value.max(initial=0.0))
        wide = 1 << WEIGHT_BITS - 1
        bits = WEIGHT_BITS + (not -wide <= low <= high < wide)  # mantissas of 8 bits, and a sign
        tensor = self.constant(name, value, f"INT{bits}")
        self.quantize(name, tensor, bits, signed=True)
        return self.sources[name]

    def node(self, node: Node) -> None:
        op, kind = node.op, _datatype(node.output.domain)
        reads = [self.read(i) for i in node.inputs]
        if isinstance(op, Conv2d | Linear):
            self.synapse(node, op, reads[0], kind)
        elif isinstance(op, Scale):
            factor = self.weight(f"{node.name}/factor", op.factor)
            self.op("Mul", [reads[0], factor], node.name, kind)
        elif isinstance(op, Add):
            total = reads[0]
            for k, right in enumerate(reads[1:], start=2):
                name = node.name if k == len(reads) else f"{node.name}/{k}"
                total = self.op("Add", [total, right], name, kind)
        elif isinstance(op, Flatten):
            self.op("Flatten", reads, node.name, kind, axis=1)
        elif isinstance(op, MaxPool2d):
            pads = [*op.padding, *op.padding]
            rest = {"kernel_shape": op.kernel, "strides": op.stride, "pads": pads}
            self.op("MaxPool", reads, node.name, kind, **rest)
        elif isinstance(op, Neuron):
            self.neuron(node, reads[0])
        else:
            raise OnnxError(
                f"QONNX has no {type(op).__name__}",
                where=place(self.graph, node),
                remedy="run the pass lower_gates",
            )

    def synapse(self, node: Node, op: Conv2d | Linear, x: str, kind: str) -> None:
        sums, summed = node.name, kind
        if op.bias is not None:  # without it another range, perhaps with another sign
            sums = f"{node.name}/sums"
            read = self.graph.edge(node.inputs[0])
            summed = _datatype(replace(op, bias=None).infer(read)[1])
        if isinstance(op, Conv2d):
            weight = self.weight(f"{self.owners[node.name]}/weight", op.weight)
            rest: dict[str, Any] = {
                "kernel_shape": op.weight.shape[2:],
                "strides": op.stride,
                "pads": [*op.padding, *op.padding],
                "dilations": op.dilation,
                "group": op.groups,
            }
            self.op("Conv", [x, weight], sums, summed, **rest)
        else:
            weight = self.weight(f"{self.owners[node.name]}/weight", op.weight.T)
            self.op("MatMul", [x, weight], sums, summed)
        if op.bias is not None:
            span = Domain(float(op.bias.min()), float(op.bias.max()), 1)
            shape = (-1, 1, 1) if isinstance(op, Conv2d) else (-1,)
            bias = self.constant(f"{node.name}/bias", op.bias.reshape(shape), _datatype(span))
            self.op("Add", [sums, bias], node.name, kind)

    def neuron(self, node: Node, x: str) -> None:
        op, fixed = fixed_neuron(node)
        name, unit = node.name, membrane_unit(self.graph, node)
        if op.leaks:
            raise OnnxError(
                "a leak needs more bits than QONNX's float32 holds exactly",
                where=place(self.graph, node),
                found=op.details(),
                allowed="a decay of 0 or 1, and no synaptic current",
                remedy=Advice("use the integer golden model: {onnx}"),
            )
        counts = f"INT{fixed.width}"
        scale = (1 << fixed.fraction_bits) // unit
        low, high = (self.number(end // scale) for end in (-fixed.limit, fixed.limit))
        domain = self.graph.edge(node.inputs[0]).domain
        reach = max(-domain.lo, domain.hi, 0.0) * unit
        v = x
        if unit != 1:
            v = self.op("Mul", [x, self.number(unit)], f"{name}/current", _signed(reach))
        state = None
        if op.decay:
            start = round(op.initial * unit)
            state = State(
                name, f"{name}_v_in", f"{name}_v_out", "float32", node.output.shape, start
            )
            self.states.append(state)
            self.types[state.before] = counts
            most = reach + fixed.limit // scale  # it is clipped after it was summed
            v = self.op("Add", [state.before, v], f"{name}/sum", _signed(most))
        silent = state is not None and not op.fires
        held = state.after if silent and state else f"{name}/potential"
        v = self.op("Clip", [v, low, high], held, counts)
        if not op.fires:
            self.op("Identity", [v], name, counts)
            return
        threshold = self.per_channel(node, op.threshold * unit)
        table = self.constant(f"{name}/threshold", threshold.reshape(-1, 1), counts)
        rest = {"domain": DOMAIN, "out_dtype": "BINARY"}
        self.op("MultiThreshold", [v, table], name, "BINARY", **rest)
        if state is None:
            return
        if op.reset == "zero":
            kept = self.op("Sub", [self.number(1), name], f"{name}/silent", "BINARY")
            self.op("Mul", [v, kept], state.after, counts)
            return
        amount = self.constant(f"{name}/amount", op.amount * unit, counts)
        taken = self.op("Mul", [name, amount], f"{name}/taken", counts)
        self.op("Sub", [v, taken], state.after, counts)

    def per_channel(self, node: Node, threshold: Array) -> NDArray[np.float64]:
        """One threshold, or one for each value of the first axis: MultiThreshold knows no more."""
        full = np.broadcast_to(threshold, node.output.shape).reshape(node.output.shape[0], -1)
        if (full == full.flat[0]).all():
            return full[:1, :1]
        if not (full == full[:, :1]).all():
            raise OnnxError(
                "QONNX has thresholds by channel, not by neuron",
                where=place(self.graph, node),
                found=f"thresholds of shape {threshold.shape}",
                remedy="quantize with one scale per channel or per layer",
            )
        return full[:, :1]

    def delay(self, node: Node) -> None:
        steps = node.op.steps if isinstance(node.op, Delay) else 0
        if not isinstance(steps, int):
            raise OnnxError(
                "QONNX has one delay for all places of a layer",
                where=place(self.graph, node),
                found=node.op.details(),
                remedy=Advice("use the integer golden model: {onnx}"),
            )
        for n in range(1, steps + 1):
            before, after = f"{node.name}_d{n}_in", f"{node.name}_d{n}_out"
            state = State(node.name, before, after, "float32", node.output.shape, 0)
            self.states.append(state)
            self.types[state.before] = _datatype(node.output.domain)
        self.op("Identity", [self.states[-1].before], node.name, _datatype(node.output.domain))

    def advance(self, node: Node) -> None:
        line = [s for s in self.states if s.node == node.name]
        sources = [self.read(node.inputs[0]), *(s.before for s in line[:-1])]
        for source, state in zip(sources, line, strict=True):
            self.op("Identity", [source], state.after, _datatype(node.output.domain))


def _bits(domain: Domain) -> int:
    return 1 if domain <= SPIKE else 8


def _datatype(domain: Domain) -> str:
    """QONNX's name of the smallest type that holds the domain."""
    if domain <= SPIKE:
        return "BINARY"
    reach = max(domain.hi + 1, -domain.lo)
    if not reach <= EXACT:
        raise OnnxError("a tensor may leave what float32 holds exactly", found=str(domain))
    if domain.lo >= 0:
        return f"UINT{int(domain.hi).bit_length()}"
    return f"INT{int(np.ceil(np.log2(reach))) + 1}"


def _signed(reach: float) -> str:
    """QONNX's name of the signed type that holds a magnitude."""
    return f"INT{int(reach).bit_length() + 1}"


def _annotation(name: str, kind: str) -> TensorAnnotation:
    annotation = TensorAnnotation(tensor_name=name)
    entry = annotation.quant_parameter_tensor_names.add()
    entry.key, entry.value = "finn_datatype", kind
    return annotation


def _float(name: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, FLOAT, ["N", *shape])
