"""Questions about an ONNX file that the report asks: which types, which operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, shape_inference

from purespike.targets.onnx.body import OnnxError

_INTEGER_OR_BOOL = {
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
}


def float_tensors(model: ModelProto) -> list[str]:
    """Every tensor that is not integer or bool, as ``name: TYPE``; empty in a golden model.

    Inputs, outputs, constants and everything between, inside subgraphs too. A tensor whose type
    cannot be inferred counts as not integer: what was not measured does not pass.
    """
    return sorted(set(_offenders(model.graph, model)))


def operators(model: ModelProto) -> Counter[str]:
    """How often each operator stands in the model, subgraphs included."""
    return Counter(n.op_type for g in graphs(model.graph) for n in g.node)


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and every graph in an attribute of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for sub in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from graphs(sub)


def external(graph: GraphProto) -> Iterator[bool]:
    """For every tensor: does it lie in another file?"""
    for part in graphs(graph):
        for tensor in part.initializer:
            yield tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0
        for node in part.node:
            for attribute in node.attribute:
                yield attribute.t.data_location == TensorProto.EXTERNAL


def _offenders(graph: GraphProto, model: ModelProto) -> Iterator[str]:
    for sub in graphs(graph):
        yield from _own_offenders(sub, model)


def _own_offenders(graph: GraphProto, model: ModelProto) -> Iterator[str]:
    # Inference leaves no types inside a subgraph, so each is typed as a model of its own.
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        typed = shape_inference.infer_shapes(alone).graph
    except Exception as e:
        raise OnnxError("the types of the model cannot be inferred", found=str(e)) from e
    kinds = {t.name: t.data_type for t in typed.initializer}
    for value in (*typed.input, *typed.output, *typed.value_info):
        kinds[value.name] = value.type.tensor_type.elem_type
    names = [v.name for v in (*typed.input, *typed.initializer)]
    for node in typed.node:
        names += [o for o in node.output if o]
        for attribute in node.attribute:
            held = [attribute.t] if attribute.type == AttributeProto.TENSOR else attribute.tensors
            for tensor in held:
                kinds[f"{node.name}.{attribute.name}"] = tensor.data_type
                names.append(f"{node.name}.{attribute.name}")
    for name in names:
        kind = kinds.get(name, TensorProto.UNDEFINED)
        if kind not in _INTEGER_OR_BOOL:
            yield f"{name}: {TensorProto.DataType.Name(kind)}"
