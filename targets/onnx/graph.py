"""A golden model as a graph again: what `write_onnx` wrote, read from its ONNX nodes.

Weights, thresholds, resets and states are taken from the nodes and constants of the file; its
metadata only names the graph's nodes, modules and units. The graph is then written once more: it
is refused unless that gives the very same ONNX graph, so a file is understood whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

from purespike.compiler.choices import Form
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, SPIKE, TERNARY, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.join import GateKind
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.emit import sequence_model, step_model
from purespike.targets.onnx.metadata import OPSET, is_own, metadata
from purespike.targets.onnx.read import parse_onnx, read_onnx
from purespike.targets.onnx.scan import step_graph

_FORMS = re.compile(r"/(bool|uint8|int32|int64)\Z")
_GATES: dict[str, GateKind] = {"And": "and", "Or": "or", "Xor": "xor"}
_RANGE = re.compile(r"(int|grid|analog)\[(\S+), (\S+)\](?: by (\S+))?\Z")
_BROKEN = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
FIXED = FixedPoint()


def is_golden(path: str | Path) -> bool:
    """Does the file say that purespike wrote it? See `step` for files of other tools."""
    return is_own(parse_onnx(path))


def read_graph(path: str | Path) -> Graph:
    """The integer network in a golden model, step or sequence form.

    What a neuron that never fires would compare with is not in the file: its threshold comes back
    infinite. A graph's order of nodes comes back as the file has it, delays first.

    Raises:
        OnnxError: If the file cannot be trusted (see `read_onnx`), or holds more than the graph
            that can be read from it.
    """
    model = read_onnx(path)
    try:
        said = metadata(model)
        parsed = _Parser(step_graph(model.graph), said).graph()
        again = _emit(parsed, said["form"])
    except OnnxError as e:
        e.where = f"{path}: {e.where}" if e.where else str(path)
        raise
    except (*_BROKEN, PurespikeError) as e:
        raise OnnxError(
            "no network can be read from the golden model",
            where=str(path),
            found=f"{type(e).__name__}: {str(e).splitlines()[0][:100] if str(e) else ''}",
            remedy="read the NIR file of the same bundle",
        ) from None
    if again.SerializeToString(deterministic=True) != _bare(model):
        raise OnnxError(
            "the golden model says more than the network that was read from it",
            where=str(path),
            remedy="read the NIR file of the same bundle",
        )
    return parsed


def _emit(graph: Graph, form: Form) -> GraphProto:
    if form not in ("step", "sequence"):
        raise OnnxError(
            "this form of the golden model is not read back",
            found=str(form),
            allowed="step, sequence",
            remedy="read model.onnx or model.nir of the same bundle",
        )
    model = step_model(graph) if form == "step" else sequence_model(graph)
    return model.graph


def _bare(model: ModelProto) -> bytes:
    return bytes(model.graph.SerializeToString(deterministic=True))


def _edge(tensor: str) -> str:
    """The graph's edge that a tensor carries, in whatever element type."""
    return _FORMS.sub("", tensor)


def _domain(text: str) -> Domain:
    if text in ("spike", "ternary", "analog"):
        return {"spike": SPIKE, "ternary": TERNARY, "analog": ANALOG}[text]
    found = _RANGE.match(text)
    if not found:
        raise ValueError(f"no domain: {text[:40]}")
    kind, low, high, by = found.groups()
    return Domain(float(low), float(high), 0.0 if kind == "analog" else float(by or 1))


@dataclass
class _Parser:
    step: GraphProto
    said: dict[str, Any]

    def __post_init__(self) -> None:
        self.made: dict[str, NodeProto] = {n.output[0]: n for n in self.step.node}
        self.values: dict[str, NDArray[Any]] = {
            t.name: numpy_helper.to_array(t) for t in self.step.initializer
        }
        typed = shape_inference.infer_shapes(
            helper.make_model(self.step, opset_imports=[helper.make_opsetid("", OPSET)])
        ).graph
        tensors = (*typed.input, *typed.value_info, *typed.output)
        self.shapes = {_edge(v.name): _shape(v) for v in tensors}

    def graph(self) -> Graph:
        states = {s["before"] for s in self.said["states"]}
        after = {s["after"] for s in self.said["states"]}
        inputs = tuple(
            Edge(v.name, _shape(v), _domain(self.said["domains"][v.name]))
            for v in self.step.input
            if v.name not in states
        )
        names = self.said["nodes"]
        delays = dict.fromkeys(s["node"] for s in self.said["states"] if "_d1_in" in s["before"])
        written = (_edge(n.output[0]) for n in self.step.node)
        order = dict.fromkeys([*delays, *(n for n in written if n in names)])
        if order.keys() != names.keys():
            raise ValueError("nodes that are named and not there")
        nodes = [self._node(n, names[n]) for n in order]
        outputs = tuple(v.name for v in self.step.output if v.name not in after)
        graph = Graph(inputs, tuple(nodes), outputs, int(self.said["T"]), float(self.said["dt"]))
        for _ in range(2 + len(delays)):  # what delays carry is known a round later
            graph = graph.rebuilt(graph.nodes)
        return graph

    def _node(self, name: str, about: dict[str, str]) -> Node:
        op, reads = getattr(self, f"_{about['op'].lower()}")(name)
        edge = Edge(name, self.shapes[name], _domain(self.said["domains"][name]))
        return Node(op, tuple(_edge(r) for r in reads), edge, "main", str(about["origin"]))

    def _conv2d(self, name: str) -> tuple[Op, list[str]]:
        sums, bias = self._sums(name)
        node, weight = self._synapse(sums)
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        stride, pads, dilation = (tuple(a[k]) for k in ("strides", "pads", "dilations"))
        return Conv2d(weight, bias, stride, pads[:2], dilation, int(a["group"])), [node.input[0]]

    def _linear(self, name: str) -> tuple[Op, list[str]]:
        sums, bias = self._sums(name)
        node, weight = self._synapse(sums)
        return Linear(weight.T, bias), [node.input[0]]

    def _sums(self, name: str) -> tuple[NodeProto, Array | None]:
        """(what adds up or doubles the weighted spikes, bias)."""
        node = self._written(name)
        if node.op_type != "Add" or node.input[0] == node.input[1]:
            return node, None
        return self.made[node.input[0]], self.values[node.input[1]].reshape(-1).astype(np.float64)

    def _synapse(self, node: NodeProto) -> tuple[NodeProto, Array]:
        """(operator, weights); a sum that is added to itself has twice the weights."""
        times = 1.0
        if node.op_type == "Add":
            node, times = self.made[node.input[0]], 2.0
        weight = self.values[node.input[1]].astype(np.float64)
        zero = float(self.values[node.input[3]]) if len(node.input) == 4 else 0.0
        return node, np.asarray((weight - zero) * times)

    def _scale(self, name: str) -> tuple[Op, list[str]]:
        spikes, factor, _ = self._written(name).input
        return Scale(self.values[factor].astype(np.float64)), [spikes]

    def _add(self, name: str) -> tuple[Op, list[str]]:
        return Add(), self._folded(name, self._written(name).output[0])

    def _gate(self, name: str) -> tuple[Op, list[str]]:
        output = f"{name}/bool"
        node = self.made[output]
        first = self.made.get(node.input[0])
        if first is not None and first.output[0] == f"{name}/not":
            return Gate("iand"), [first.input[0], node.input[1]]
        return Gate(_GATES[node.op_type]), self._folded(name, output)

    def _folded(self, name: str, output: str) -> list[str]:
        """The inputs of a chain of operators of two inputs, from the left."""
        left, right = self.made[output].input
        step = re.fullmatch(re.escape(name) + r"/\d+", left)
        return [*(self._folded(name, left) if step else [left]), right]

    def _flatten(self, name: str) -> tuple[Op, list[str]]:
        return Flatten(), [self._written(name).input[0]]

    def _maxpool2d(self, name: str) -> tuple[Op, list[str]]:
        node = self._written(name)
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        source, padding = node.input[0], (0, 0)
        if source == f"{name}/padded":
            pads = self.values[self.made[source].input[1]]
            padding = (int(pads[2]), int(pads[3]))
            source = self.made[source].input[0]
        return MaxPool2d(tuple(a["kernel_shape"]), tuple(a["strides"]), padding), [source]

    def _delay(self, name: str) -> tuple[Op, list[str]]:
        longest = sum(s["node"] == name for s in self.said["states"])
        source = self.made[f"{name}_d1_out"].input[0]
        masks = {
            n: self.values[f"{name}/waits{n}"]
            for n in range(1, longest)
            if f"{name}/waits{n}" in self.values
        }
        if not masks:
            return Delay(longest), [source]
        steps = np.full(next(iter(masks.values())).shape, longest)
        for n, mask in masks.items():
            steps[mask] = n
        return Delay(steps), [source]

    def _neuron(self, name: str) -> tuple[Op, list[str]]:
        unit = int(self.said["membrane_units"][name])
        fires = f"{name}/bool" in self.made
        state = f"{name}_v_in" if f"{name}_v_out" in self.made else ""
        current = self.made[f"{name}/sum"].input[1] if state else self._potential(name)
        if unit > 1:
            current = self.made[f"{name}/current"].input[0]
        decay = self._decay(name, 1.0 if state else 0.0)
        start = next((s["initial"] for s in self.said["states"] if s["before"] == state), 0)
        op = Neuron(
            np.array(np.inf),
            decay,
            "none",
            initial=start / unit,
            fixed=FIXED,
            current_decay=self._decay(f"{name}/u", 0.0),
        )
        if not fires:
            return op, [current]
        threshold = self.values[self.made[f"{name}/bool"].input[1]] / unit
        op = replace(op, threshold=threshold, reset="zero")
        if f"{name}/left" in self.made:
            amount = self.values[self.made[f"{name}/left"].input[1]] / unit
            op = replace(op, reset="subtract", amount=amount)
        return op, [current]

    def _decay(self, name: str, otherwise: float) -> float:
        """The factor of a membrane or current; without a product none is written."""
        if f"{name}/product" not in self.made:
            return otherwise
        return float(self.values[self.made[f"{name}/product"].input[1]]) / (1 << FIXED.decay_bits)

    def _potential(self, name: str) -> str:
        """What a neuron without a state compares: its current, clipped where it may saturate."""
        tensor = str(self._written(name).input[0])
        return str(self.made[tensor].input[0]) if tensor == f"{name}/potential" else tensor

    def _written(self, name: str) -> NodeProto:
        """What computes an edge: zeros and ones may bear another name than their spikes' form."""
        return next(n for t in _tensors(name) if (n := self.made.get(t)) and n.op_type != "Cast")


def _tensors(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}/{kind}" for kind in ("bool", "uint8", "int32"))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim[1:])
