"""What NIR cannot say about a graph, as JSON, and the graph back from JSON and NIR nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape
from purespike.compiler.ir.ops import Add, Conv2d, Delay, FixedPoint, Flatten, Linear, Neuron, Scale
from purespike.targets.nir.document import JSON, Fields
from purespike.targets.nir.membrane import grid, loose_threshold

FORMAT = 1
CONVENTIONS: dict[str, JSON] = {
    "comparison": "a node fires on v > threshold; 'threshold_step' is what the threshold was "
    "lowered by from the graph's v >= threshold (0: the next float64 below)",
    "order": "v <- decay * v + x, then fire, then reset, at every step; an edge takes no time; "
    "all edges into a node add up",
    "feedback": "an edge listed under 'feedback' carries what its source sent one step before, "
    "zero at the first step",
    "r": "IF and I add r * x once a step, r = 1; LIF and LI: tau = dt / (1 - decay), r = tau / dt",
    "reset": "'zero': v <- 0 where it fired; 'subtract': v <- v - amount (null: the graph's "
    "threshold), whatever v_reset says; 'none': never fires, the output is v",
    "start": "v = 'initial' (in units of the input) at the start of each sample",
    "fixed": "v counts in units of 2**-fraction_bits, saturates at +-(2**(width - 1) - 1), and "
    "decay * v is rounded towards zero",
}
CURRENT = (
    "'current_decay': u <- current_decay * u + x, and then v <- decay * v + u with this u; u "
    "starts at 0, and counts and rounds as v does; tau_syn = dt / (1 - current_decay), w_in = "
    "tau_syn / dt"
)
OPS: tuple[type[Op], ...] = (Conv2d, Linear, Scale, Add, Neuron, Flatten, Delay)


def describe(
    graph: Graph,
    names: Mapping[str, str],
    outputs: list[str],
    feedback: list[tuple[str, str]],
    strict: bool,
    extra: Mapping[str, JSON],
) -> dict[str, JSON]:
    """The metadata of a graph, without its hash.

    Args:
        graph: The graph.
        names: NIR node that sends what each edge carries; sums have none.
        outputs: NIR Output node of each of the graph's outputs.
        feedback: NIR edges that carry the step before.
        strict: Whether soft reset was lowered to plain nodes.
        extra: What else to keep, JSON only.
    """
    nodes: list[JSON] = []
    conventions = dict(CONVENTIONS)
    if any(isinstance(n.op, Neuron) and n.op.current_decay for n in graph.nodes):
        conventions["current"] = CURRENT
    for node in graph.nodes:
        record = _edge(node.output)
        record |= {"op": type(node.op).__name__, "inputs": list(node.inputs)}
        record |= {"origin": node.origin, "role": node.role}
        record |= _parameters(node.op, *(graph.edge(i) for i in node.inputs))
        if node.name in names:
            record["node"] = names[node.name]
        nodes.append(record)
    return {
        "format": FORMAT,
        "dt": graph.dt,
        "steps": graph.steps,
        "strict": strict,
        "conventions": conventions,
        "inputs": [_edge(e) | {"node": names[e.name]} for e in graph.inputs],
        "nodes": nodes,
        "outputs": [{"name": e, "node": o} for e, o in zip(graph.outputs, outputs, strict=True)],
        "boundaries": {
            "inputs": [e.name for e in graph.inputs],
            "outputs": list(graph.outputs),
            "host": [n.name for n in graph.nodes if n.role == "host"],
        },
        "feedback": [list(e) for e in feedback],
        "extra": dict(extra),
    }


def restore(data: Mapping[str, Any], nodes: Mapping[str, Fields]) -> Graph:
    """The graph that `describe` described; its arrays come from the NIR ``nodes``.

    The JSON may be anything: a wrong type or a missing key raises KeyError, TypeError, ValueError
    or a PurespikeError. Whether the result is what the file says, only emitting it again can tell.
    """
    inputs = tuple(_edge_back(e) for e in data["inputs"])
    known = {e.name: e for e in inputs} | {n["name"]: _edge_back(n) for n in data["nodes"]}
    drafts = []
    for record in data["nodes"]:
        fields = nodes[record["node"]] if "node" in record else {}
        op = _op(record, fields)
        reads = tuple(str(i) for i in record["inputs"])
        for name in reads:
            known[name]  # a KeyError names the edge
        drafts.append(Node(op, reads, known[record["name"]], record["role"], record["origin"]))
    outputs = tuple(o["name"] for o in data["outputs"])
    return Graph(inputs, tuple(drafts), outputs, int(data["steps"]), float(data["dt"]))


def _edge(edge: Edge) -> dict[str, JSON]:
    d = edge.domain
    return {
        "name": edge.name,
        "shape": list(edge.shape),
        "domain": [_number(d.lo), _number(d.hi), _number(d.step)],
    }


def _edge_back(data: Mapping[str, Any]) -> Edge:
    return Edge(str(data["name"]), _shape(data["shape"]), Domain(*map(float, data["domain"])))


def _shape(data: list[Any]) -> Shape:
    return tuple(int(n) for n in data)


def _number(x: float) -> JSON:
    """A float; infinity and NaN, which JSON lacks, as text."""
    return float(x) if np.isfinite(x) else str(float(x))


def _array(x: Array) -> JSON:
    return {"shape": list(x.shape), "values": [_number(float(v)) for v in x.ravel()]}


def _array_back(data: Mapping[str, Any]) -> Array:
    values = np.array([float(v) for v in data["values"]], dtype=np.float64)
    return values.reshape(_shape(data["shape"]))


def _parameters(op: Op, *inputs: Edge) -> dict[str, JSON]:
    if isinstance(op, Conv2d):
        return {"bias": op.bias is not None}
    if isinstance(op, Scale):
        return {"factor_shape": list(op.factor.shape)}
    if isinstance(op, Delay):
        return {"delay": op.steps if isinstance(op.steps, int) else _array(op.steps)}
    if not isinstance(op, Neuron):
        return {}
    data: dict[str, JSON] = {
        "decay": op.decay,
        "reset": op.reset,
        "initial": op.initial,
        "fixed": asdict(op.fixed) if op.fixed else None,
    }
    if op.current_decay:
        data["current_decay"] = op.current_decay
    if not op.fires:  # the threshold of an integrator means nothing, but it is part of the graph
        return data | {"threshold": _array(op.threshold)}
    step = grid(op, inputs[0].domain)
    data |= {"threshold_shape": list(op.threshold.shape), "threshold_step": step}
    if op.reset == "subtract":
        own = not np.array_equal(op.amount, op.threshold)
        data["amount"] = _array(op.amount) if own else None
    return data


def _op(record: Mapping[str, Any], fields: Fields) -> Op:
    kind = record["op"]
    if kind == "Conv2d":
        bias = _field(fields, "bias") if record["bias"] else None
        stride, padding, dilation = (
            _pair(_field(fields, k)) for k in ("stride", "padding", "dilation")
        )
        groups = int(_field(fields, "groups"))
        return Conv2d(_field(fields, "weight"), bias, stride, padding, dilation, groups)
    if kind == "Linear":
        bias = _field(fields, "bias") if fields["type"] == "Affine" else None
        return _linear(_field(fields, "weight"), bias)
    if kind == "Scale":
        return Scale(_shrunk(_field(fields, "scale"), _shape(record["factor_shape"])))
    if kind == "Delay":
        steps = record["delay"]
        return Delay(_array_back(steps) if isinstance(steps, dict) else int(steps))
    if kind == "Neuron":
        return _neuron(record, fields)
    return {"Add": Add, "Flatten": Flatten}[kind]()


def _linear(weight: NDArray[Any], bias: NDArray[Any] | None) -> Linear:
    """The layer; whole weights that inputs in a row share are kept once, as before the writing."""
    if weight.ndim != 2 or weight.dtype.kind not in "iu" or 0 in weight.shape:
        return Linear(weight, bias)
    run = weight.shape[1]
    for row in weight:
        run = int(np.gcd.reduce(np.flatnonzero(row[1:] != row[:-1]) + 1, initial=run))
        if run == 1:
            return Linear(weight, bias)
    return Linear.shared(np.asarray(weight[:, ::run], np.float64), bias, run)


def _neuron(record: Mapping[str, Any], fields: Fields) -> Neuron:
    fixed = record["fixed"]
    rest: dict[str, Any] = {
        "decay": float(record["decay"]),
        "initial": float(record["initial"]),
        "current_decay": float(record.get("current_decay", 0.0)),
        "fixed": FixedPoint(**{k: _bits(v) for k, v in fixed.items()}) if fixed else None,
    }
    if record["reset"] == "none":
        return Neuron(_array_back(record["threshold"]), reset="none", **rest)
    full = _field(fields, "threshold" if fields["type"] == "Threshold" else "v_threshold")
    shape = _shape(record["threshold_shape"])
    threshold = loose_threshold(
        _shrunk(full, shape).astype(np.float64), float(record["threshold_step"])
    )
    if record["reset"] == "subtract" and record["amount"] is not None:
        rest["amount"] = _array_back(record["amount"])
    return Neuron(threshold, reset=record["reset"], **rest)


def _bits(n: Any) -> int:
    if not 0 <= int(n) <= 64:
        raise ValueError(f"no chip has {n} bits")
    return int(n)


def _field(fields: Fields, name: str) -> Array:
    value = fields[name]
    if isinstance(value, str):
        raise TypeError(f"field {name} is a text")
    return value


def _pair(x: Array) -> tuple[int, int]:
    first, second = (int(n) for n in x)
    return first, second


def _shrunk(full: Array, shape: Shape) -> Array:
    """The array of ``shape`` that was broadcast to ``full``."""
    lead = full.ndim - len(shape)
    return full[(0,) * lead + tuple(slice(0, n) for n in shape)].reshape(shape)
