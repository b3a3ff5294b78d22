"""The golden model: a quantized graph as integer ONNX, bit for bit what the interpreter computes.

Two forms of one program. The *step* form is one time step: inputs and states in, outputs and
states out. The *sequence* form puts that step into a Scan over the T steps of a sample. Both have
the same names; the batch size N is free, because a golden model is run on single samples in a test
bench and on batches over a test set.

Only integer and bool tensors occur: spikes uint8, weights int8, currents and membranes int32,
logic bool (int64 inside a leak). Weights that need more than a byte are refused, not split: this is
what the quantizer promises, and a wider weight would need a second synapse on the chip too. How the
byte says Loihi's wider mantissas stands in `weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, checker

from purespike.compiler.choices import Form, require_choice
from purespike.compiler.files.writing import write_file
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.targets.copies import weight_owners
from purespike.targets.onnx.body import BOOL, I32, U8, Body, tensor
from purespike.targets.onnx.legality import check
from purespike.targets.onnx.metadata import stamp
from purespike.targets.onnx.neuron import emit_neuron
from purespike.targets.onnx.qonnx import qonnx_model
from purespike.targets.onnx.scan import wrap
from purespike.targets.onnx.taps import tapped
from purespike.targets.onnx.weights import stored


def step_model(
    graph: Graph, *, taps: bool = False, notes: Mapping[str, Any] | None = None
) -> ModelProto:
    """One time step of ``graph``.

    Args:
        graph: A quantized graph.
        taps: Also give every neuron's spikes (``<node>``) and membrane (``<node>_v``).
        notes: What else the file shall carry as metadata, such as ``scales`` and ``boundaries``:
            values that JSON can say.

    Returns:
        Inputs: the graph's inputs, uint8 (N, *shape), and the states ``<node>_v_in`` (int32; the
        membrane after the reset), ``<node>_u_in`` (int32; a synaptic current in counts of the
        membrane) and, for each step of a delay, ``<node>_d<n>_in``. Outputs:
        the graph's outputs (spikes uint8, currents and membranes int32), and the states
        ``_out`` in the order of the inputs. The metadata says where states start, and how many
        counts of each membrane make one weight (`membrane_units`).

    Raises:
        OnnxError: If the graph is not quantized, or holds what this target cannot say.
    """
    return _checked(_model(graph, "step", taps, notes))


def sequence_model(
    graph: Graph, *, taps: bool = False, notes: Mapping[str, Any] | None = None
) -> ModelProto:
    """All T time steps of ``graph``: :func:`step_model` inside a Scan.

    Args and errors as there. Inputs and outputs have a leading axis of T steps, (T, N, *shape);
    states have none: the first goes in, the last comes out.
    """
    return _checked(_model(graph, "sequence", taps, notes))


def write_onnx(
    graph: Graph,
    path: str | Path,
    form: Form = "step",
    *,
    taps: bool = False,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write the golden model: one file, no external data, same graph same bytes.

    The file appears whole or not at all. Arguments as for :func:`step_model`; the form ``qonnx``
    is :func:`purespike.targets.onnx.qonnx.qonnx_model`, which has no taps.

    Raises:
        OnnxError: If the graph cannot be said.
        UsageError: If there is no such form.
        OutputError: If the file cannot be written.
    """
    require_choice("onnx", Form, form)
    if form == "qonnx":
        content = qonnx_model(graph, notes=notes).SerializeToString(deterministic=True)
    else:
        content = _model(graph, form, taps, notes).SerializeToString(deterministic=True)
        checker.check_model(content, full_check=True)  # the model is gone: they are large
    write_file(Path(path), content)


def _model(graph: Graph, form: Form, taps: bool, notes: Mapping[str, Any] | None) -> ModelProto:
    check(graph)
    model = ModelProto()
    body = Body(model.graph)
    step = main = _step(graph, body)
    if taps:
        main = tapped(main, graph)
    if form == "sequence":
        main = wrap(main, [s.before for s in body.states], graph.steps)
    if main is not step:
        model = ModelProto(graph=main)
    stamp(model, graph, body.states, form, notes or {})
    return model


def _checked(model: ModelProto) -> ModelProto:
    checker.check_model(model, full_check=True)
    return model


def _step(graph: Graph, body: Body) -> GraphProto:
    body.owners = weight_owners(graph)
    for edge in graph.inputs:
        body.claim(body.declare(edge, U8))
    late = [n for n in graph.nodes if isinstance(n.op, Delay)]
    lines = {n.name: _emit_delay(body, n, n.op) for n in late if isinstance(n.op, Delay)}
    for node in graph.nodes:
        if not isinstance(node.op, Delay):
            _EMIT[type(node.op)](body, graph, node)
    for node in late:
        _advance(body, node, lines[node.name])
    inputs = [tensor(e.name, U8, e.shape) for e in graph.inputs]
    outputs = []
    for name in dict.fromkeys(graph.outputs):
        body.read(name, body.home(name))
        outputs.append(tensor(name, body.home(name), graph.edge(name).shape))
    return body.graph(inputs, outputs)


def _emit_synapse(body: Body, graph: Graph, node: Node) -> None:
    op, x = node.op, graph.edge(node.inputs[0])
    bias_shape: tuple[int, ...]
    if isinstance(op, Conv2d):
        kind, weight, bias_shape = "ConvInteger", op.weight, (-1, 1, 1)
        attributes: dict[str, Any] = {
            "kernel_shape": op.weight.shape[2:],
            "strides": op.stride,
            "pads": [*op.padding, *op.padding],
            "dilations": op.dilation,
            "group": op.groups,
        }
    elif isinstance(op, Linear):
        kind, weight, bias_shape, attributes = "MatMulInteger", op.kept.T, (-1,), {}
    else:
        raise TypeError(f"%{node.name} is not a synapse")
    reads, repeat = [body.read(x.name, U8)], op.run if isinstance(op, Linear) else 1
    held = stored(weight, unsigned=x.domain.hi > 128)
    if held is None:
        raise TypeError(f"%{node.name}: the weights were not checked")
    owner = body.owners[node.name]
    weights = f"{owner}/weight"
    if owner == node.name:
        body.constant(weights, held.values, held.dtype, repeat)
    reads.append(weights)
    if held.zero:
        reads += [body.number(0, U8), body.number(held.zero, U8)]
    output = body.declare(node.output, I32)
    sums = output if op.bias is None else f"{node.name}/sums"
    if held.times == 1:
        body.op(kind, reads, sums, **attributes)
    else:
        half = body.op(kind, reads, f"{node.name}/half", **attributes)
        body.op("Add", [half, half], sums)
    if op.bias is not None:
        bias = body.constant(f"{node.name}/bias", op.bias.reshape(bias_shape), np.int32)
        body.op("Add", [sums, bias], output)


def _emit_scale(body: Body, graph: Graph, node: Node) -> None:
    factor = node.op.arrays()["factor"]
    if factor.ndim == 0:
        weight = body.number(round(float(factor)))
    else:
        weight = body.constant(f"{node.name}/factor", factor, np.int32)
    spikes = body.read(node.inputs[0], BOOL)
    body.op("Where", [spikes, weight, body.number(0)], body.declare(node.output, I32))


def _emit_add(body: Body, graph: Graph, node: Node) -> None:
    _chain(body, "Add", node, I32)


def _emit_gate(body: Body, graph: Graph, node: Node) -> None:
    op = node.op
    if not isinstance(op, Gate):
        raise TypeError(f"%{node.name} is not a gate")
    if op.kind == "iand":
        first, second = (body.read(i, BOOL) for i in node.inputs)
        silent = body.op("Not", [first], f"{node.name}/not")
        body.op("And", [silent, second], body.declare(node.output, BOOL))
    else:
        _chain(body, {"and": "And", "or": "Or", "xor": "Xor"}[op.kind], node, BOOL)


def _chain(body: Body, kind: str, node: Node, dtype: int) -> None:
    """Fold the inputs from the left with an operator of two inputs."""
    reads = [body.read(i, dtype) for i in node.inputs]
    y = reads[0]
    for k, right in enumerate(reads[1:], start=2):
        output = body.declare(node.output, dtype) if k == len(reads) else f"{node.name}/{k}"
        y = body.op(kind, [y, right], output)


def _emit_flatten(body: Body, graph: Graph, node: Node) -> None:
    dtype = body.home(node.inputs[0])
    body.op("Flatten", [body.read(node.inputs[0], dtype)], body.declare(node.output, dtype), axis=1)


def _emit_max_pool(body: Body, graph: Graph, node: Node) -> None:
    op = node.op
    if not isinstance(op, MaxPool2d):
        raise TypeError(f"%{node.name} is not a pool")
    x = body.read(node.inputs[0], U8)
    if any(op.padding):  # in words, since executors differ in what they pad a maximum with
        pads = np.array([0, 0, *op.padding, 0, 0, *op.padding])
        border = body.constant(f"{node.name}/pads", pads, np.int64)
        x = body.op("Pad", [x, border, body.number(0, U8)], f"{node.name}/padded")
    output = body.declare(node.output, U8)
    body.op("MaxPool", [x], output, kernel_shape=op.kernel, strides=op.stride)


def _emit_delay(body: Body, node: Node, op: Delay) -> list[str]:
    """A delay is wiring: what it got n steps ago is state n; each place reads the one it waits for.

    Where all wait equally long, the oldest state is the output.
    """
    dtype, shape = U8 if node.output.domain <= SPIKE else I32, node.output.shape
    line = [body.state(node.name, f"d{n}", dtype, shape).before for n in range(1, op.longest + 1)]
    lengths = [int(n) for n in np.unique(op.steps)]
    y = line[lengths.pop() - 1]
    for n in lengths:
        mask = body.constant(f"{node.name}/waits{n}", op.steps == n, np.bool_)
        output = body.declare(node.output, dtype) if n == lengths[-1] else f"{node.name}/{n}"
        y = body.op("Where", [mask, line[n - 1], y], output)
    if not lengths:
        body.op("Identity", [y], body.declare(node.output, dtype))
    return line


def _advance(body: Body, node: Node, line: list[str]) -> None:
    dtype = body.home(node.name)
    sources = [body.read(node.inputs[0], dtype), *line[:-1]]
    for source, before in zip(sources, line, strict=True):
        body.op("Identity", [source], f"{before.removesuffix('_in')}_out")


_EMIT: dict[type, Callable[[Body, Graph, Node], None]] = {
    Conv2d: _emit_synapse,
    Linear: _emit_synapse,
    Scale: _emit_scale,
    Add: _emit_add,
    Gate: _emit_gate,
    Flatten: _emit_flatten,
    MaxPool2d: _emit_max_pool,
    Neuron: emit_neuron,
}
