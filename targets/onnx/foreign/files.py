"""ONNX files of other tools: what of them is not opened, and whose a file is."""

from __future__ import annotations

from collections.abc import Collection

from onnx import GraphProto, ModelProto, ValueInfoProto

from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.naming import label
from purespike.targets.onnx.inspect import external, graphs

LOOPS = ("Loop", "Scan", "If", "SequenceMap")
OPSETS = range(11, 29)
KNOWN_NEURON = (
    "use a neuron whose step is one of these forms: Leaky of snnTorch, LIFCell, LIFBoxCell or "
    "IAFCell of Norse, a leaky integrate-and-fire cell of your own"
)
PYTORCH = "compile the PyTorch module itself (`package.module:factory`), or write it as NIR"


def refuse_programs(
    model: ModelProto, domains: Collection[str] = (), opsets: range = OPSETS
) -> None:
    """Raise OnnxError if a file is more than one list of ONNX's own operators with its constants.

    That is: subgraphs, functions, operators of other domains, tensors in other files, or an
    operator set whose definitions are not those that are read here.

    Args:
        model: The file.
        domains: Of other operators that are known.
        opsets: Versions of ONNX whose operators are known.
    """
    graph = model.graph
    if any(external(graph)):
        raise OnnxError(
            "its tensors lie in other files",
            found="external data",
            remedy="save it as one file: onnx.save(model, path) without external data",
        )
    for part in graphs(graph):
        for node in part.node:
            if node.op_type in LOOPS or node.domain not in ("", "ai.onnx", *domains):
                kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
                raise OnnxError(
                    "an operator runs a program of its own",
                    where=label(node),
                    found=kind,
                    allowed="one time step, in ONNX's own operators",
                    remedy="export one step with its states as inputs and outputs; the loop over "
                    "time is left to purespike",
                )
    said = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    if model.functions or graph.sparse_initializer or said.get("ai.onnx", 0) not in opsets:
        raise OnnxError(
            "the file has parts that are not read",
            found=f"{len(model.functions)} functions, {len(graph.sparse_initializer)} sparse "
            f"tensors, operator set {said.get('ai.onnx', 'none')}",
            allowed=f"none of the former, operator sets {opsets[0]} to {opsets[-1]}",
            remedy="export it again with opset_version=20",
        )


def inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The graph's inputs that are not constants."""
    constants = {t.name for t in graph.initializer}
    return [v for v in graph.input if v.name not in constants]
