"""Every neuron's spikes and membrane as extra outputs of a step."""

from __future__ import annotations

from onnx import GraphProto

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.targets.onnx.body import BOOL, I32, U8, Body, OnnxError, cast_name, tensor
from purespike.targets.onnx.neuron import emit_reset, fixed_neuron, membrane_unit


def tapped(step: GraphProto, graph: Graph) -> GraphProto:
    """The step with ``<node>`` (spikes) and ``<node>_v`` (membrane) of every neuron as outputs.

    Where a neuron keeps a synaptic current, ``<node>_u`` too.
    The nodes that are there stay as they are, so a file can be observed without being rebuilt.
    A memoryless neuron keeps no membrane; its reset is written here, for the comparison with the
    interpreter's.

    Args:
        step: The graph of one time step, as this target writes it.
        graph: The graph that it was written from.

    Raises:
        OnnxError: If a neuron of ``graph`` is not found in ``step``.
    """
    body = Body()
    body.adopt(step)
    there = {v.name for v in step.output}
    writers = {n.output[0]: n for n in step.node}
    new = []
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        op, _ = fixed_neuron(node)
        name, fires, kept = node.name, cast_name(node.name, BOOL), f"{node.name}_v_out"
        if (fires if op.fires else name) not in writers:
            raise OnnxError("the file has no such neuron: it is of another graph", where=f"%{name}")
        if op.fires and name not in writers:
            body.op("Cast", [fires], name, to=U8)
        if name not in there:
            new.append(tensor(name, U8 if op.fires else I32, node.output.shape))
        if op.current_decay and f"{name}_u" not in there:
            new.append(tensor(f"{name}_u", I32, node.output.shape))
            body.op("Identity", [f"{name}_u_out"], f"{name}_u")
        if (membrane := f"{name}_v") in there:
            continue
        if kept in writers:
            body.op("Identity", [kept], membrane)
        elif op.fires:
            potential = writers[fires].input[0]
            emit_reset(body, node, potential, fires, membrane_unit(graph, node), membrane)
        else:
            body.op("Identity", [name], membrane)
        new.append(tensor(membrane, I32, node.output.shape))
    return body.graph(list(step.input), [*step.output, *new])
