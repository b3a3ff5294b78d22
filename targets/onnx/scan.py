"""The sequence form: the step's graph as the body of a Scan over time, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import GraphProto, ValueInfoProto, helper

_PREFIX = "step/"  # tensors inside the Scan: a subgraph may not reuse an outer name


def wrap(step: GraphProto, states: Sequence[str], steps: int) -> GraphProto:
    """The graph that runs ``step`` for ``steps`` time steps.

    Args:
        step: One time step; its outputs that end in ``_out`` and pair with ``states`` are states.
        states: Names of the step's inputs that are states (``..._in``).
        steps: T.

    Returns:
        A graph with the names of ``step``; whatever is not a state has a leading axis of T.
    """
    after = [s.removesuffix("_in") + "_out" for s in states]
    state_in, flow_in = _parted(step.input, states)
    state_out, flow_out = _parted(step.output, after)
    body = helper.make_graph(
        step.node, "step", state_in + flow_in, state_out + flow_out, step.initializer
    )
    _rename(body, lambda name: _PREFIX + name)
    scan = helper.make_node(
        "Scan",
        [v.name for v in state_in + flow_in],
        [v.name for v in state_out + flow_out],
        name="time",
        body=body,
        num_scan_inputs=len(flow_in),
    )
    return helper.make_graph(
        [scan],
        "sequence",
        [_over_time(v, steps) for v in flow_in] + state_in,
        [_over_time(v, steps) for v in flow_out] + state_out,
    )


def unwrap(sequence: GraphProto) -> GraphProto:
    """The step inside a sequence: what :func:`wrap` was given."""
    (scan,) = sequence.node
    attributes = {a.name: a for a in scan.attribute}
    flows = attributes["num_scan_inputs"].i
    body = GraphProto()
    body.CopyFrom(attributes["body"].g)
    _rename(body, lambda name: name.removeprefix(_PREFIX))
    states = len(body.input) - flows
    inputs, outputs = list(body.input), list(body.output)
    return helper.make_graph(
        body.node,
        "step",
        inputs[states:] + inputs[:states],
        outputs[states:] + outputs[:states],
        body.initializer,
    )


def step_graph(graph: GraphProto) -> GraphProto:
    """The graph of one step, whichever form the file has."""
    is_sequence = len(graph.node) == 1 and graph.node[0].op_type == "Scan"
    return unwrap(graph) if is_sequence else graph


def _parted(
    values: Sequence[ValueInfoProto], states: Sequence[str]
) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    by_name = {v.name: v for v in values}
    chosen = set(states)
    return [by_name[s] for s in states], [v for v in values if v.name not in chosen]


def _over_time(value: ValueInfoProto, steps: int) -> ValueInfoProto:
    kind = value.type.tensor_type
    shape = [d.dim_param or d.dim_value for d in kind.shape.dim]
    return helper.make_tensor_value_info(value.name, kind.elem_type, [steps, *shape])


def _rename(graph: GraphProto, new: Callable[[str], str]) -> None:
    """Give every tensor of the graph a new name, in place."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = new(value.name)
    for node in graph.node:
        node.input[:] = [new(i) if i else i for i in node.input]
        node.output[:] = [new(o) for o in node.output]
