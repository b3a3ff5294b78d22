"""ONNX files of other tools: why a network cannot be read from them, said of the node at fault.

ONNX has no spiking operator and no convention for state. What frameworks export of a neuron with a
hidden state (such as snnTorch with ``init_hidden=True``) is a graph whose membrane is a
constant zero: it answers, and it is another network. That is told apart from a graph that hands
its states in and out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.inspect import external, graphs
from purespike.targets.onnx.metadata import is_own
from purespike.targets.onnx.read import parse_onnx

COMPARE = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LOOPS = ("Loop", "Scan", "If", "SequenceMap")
PYTORCH = "compile the PyTorch module itself (`package.module:factory`), or write it as NIR"


def require_own(path: str | Path) -> ModelProto:
    """The file, if purespike wrote it.

    Raises:
        OnnxError: If it did not: with the node that has no meaning for a compiler, and why.
    """
    model = parse_onnx(path)
    if is_own(model):
        return model
    where, found, why = reason(model)
    raise OnnxError(
        f"no network can be read from this ONNX file: {why}",
        where=f"{path}: {where}" if where else str(path),
        found=found,
        allowed="golden models that purespike wrote",
        remedy=PYTORCH,
    )


def reason(model: ModelProto) -> tuple[str, str, str]:
    """(node, what was found, why it is refused), the most telling reason first."""
    graph = model.graph
    if any(external(graph)):
        return "", "external data", "its tensors lie in other files"
    for node in _nodes(graph):
        if node.op_type in LOOPS or node.domain not in ("", "ai.onnx"):
            kind = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            return _name(node), kind, "an operator runs a program of its own"
    pairs = state_pairs(graph)
    for node in graph.node:
        if node.op_type not in COMPARE:
            continue
        if not pairs:
            found = f"{node.op_type} over {', '.join(node.input)}; inputs {_names(inputs(graph))}"
            return (
                _name(node),
                found,
                "a threshold without a state pair. Its membrane does not come in and go out, so it "
                "is frozen at its start, and the file is not the network that was trained",
            )
        if not _depends(graph, node, {before for before, _ in pairs}):
            return (
                _name(node),
                f"states {', '.join(b for b, _ in pairs)}",
                "a threshold that depends on no state that the graph takes in",
            )
    if not any(n.op_type in COMPARE for n in graph.node):
        return "", ", ".join(sorted({n.op_type for n in graph.node})), "nothing in it fires"
    return (
        "",
        "; ".join(f"{b} -> {a}" for b, a in pairs),
        "its states are explicit, but no metadata says what they start at, how long a sample is, "
        "and when a spike resets them",
    )


def inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The graph's inputs that are no constants."""
    constants = {t.name for t in graph.initializer}
    return [v for v in graph.input if v.name not in constants]


def state_pairs(graph: GraphProto) -> list[tuple[str, str]]:
    """(input, output) of every tensor that one step may hand to the next.

    An input and an output are taken for a pair if they have one shape and type, in order, the
    first input and the first output being data; whether they are one is for a reader to prove.
    """
    outputs = list(graph.output)[1:]
    pairs = []
    for value in inputs(graph)[1:]:
        same = next((o for o in outputs if _type(o) == _type(value)), None)
        if same is not None:
            outputs.remove(same)
            pairs.append((value.name, same.name))
    return pairs


def _depends(graph: GraphProto, node: NodeProto, sources: set[str]) -> bool:
    made = {o: n for n in graph.node for o in n.output}
    todo, seen = list(node.input), set(node.input)
    while todo:
        name = todo.pop()
        if name in sources:
            return True
        for other in made[name].input if name in made else ():
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return False


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for part in graphs(graph):
        yield from part.node


def _type(value: ValueInfoProto) -> tuple[int, tuple[object, ...]]:
    kind = value.type.tensor_type
    return kind.elem_type, tuple(d.dim_param or d.dim_value for d in kind.shape.dim)


def _name(node: NodeProto) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def _names(values: Sequence[ValueInfoProto]) -> str:
    return ", ".join(v.name for v in values)
