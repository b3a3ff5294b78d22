"""Graphs to write as NIR, a structural comparison, and an executor of NIR of its own.

The executor shares no code with purespike: it reads objects of the nir package, fires on strict
``>``, adds up edges, and computes a convolution offset by offset.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import nir
import numpy as np
from hypothesis import strategies as st

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale

# ---- comparison -------------------------------------------------------------------------------


def differences(a: Graph, b: Graph) -> list[str]:
    """Everything in which two graphs differ; an integrator's threshold counts, too."""
    found = []
    for name in ("inputs", "outputs", "steps", "dt"):
        if getattr(a, name) != getattr(b, name):
            found.append(name)
    if [n.name for n in a.nodes] != [n.name for n in b.nodes]:
        return [*found, "names of the nodes"]
    for m, n in zip(a.nodes, b.nodes, strict=True):
        if (m.inputs, m.output, m.role, m.origin) != (n.inputs, n.output, n.role, n.origin):
            found.append(f"node {m.name}")
        found += [f"node {m.name}: {p}" for p in op_differences(m.op, n.op)]
    return found


def op_differences(a: Op, b: Op) -> list[str]:
    if type(a) is not type(b):
        return ["type"]
    found = []
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "amount" and a.reset != "subtract":
            continue
        if field.name in ("kept", "run"):  # how a weight lies in memory; `weight` says what it is
            continue
        if isinstance(x, np.ndarray):
            same = (
                x.shape == y.shape and x.dtype == y.dtype and np.array_equal(x, y, equal_nan=True)
            )
        else:
            same = type(x) is type(y) and x == y
        if not same:
            found.append(field.name)
    return found


# ---- an executor of NIR -----------------------------------------------------------------------


def conv(x: Any, node: nir.Conv2d) -> Any:
    (sh, sw), (ph, pw), (dh, dw) = node.stride, node.padding, node.dilation
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    out, per_group, kh, kw = node.weight.shape
    rows = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    columns = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), out, rows, columns)) + np.asarray(node.bias, float)[None, :, None, None]
    for o in range(out):
        first = (o // (out // int(node.groups))) * per_group
        for i in range(per_group):
            for r in range(kh):
                for c in range(kw):
                    part = x[:, first + i, r * dh :: sh, c * dw :: sw][:, :rows, :columns]
                    y[:, o] += float(node.weight[o, i, r, c]) * part
    return y


def execute(
    graph: nir.NIRGraph, x: dict[str, Any], dt: float, *, metadata: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(values, membranes) by NIR node, each (T, B, *shape)."""
    said = json.loads(graph.metadata["purespike"]) if "purespike" in graph.metadata else {}
    feedback = {tuple(e) for e in said.get("feedback", [])}
    records = {n["node"]: n for n in said.get("nodes", []) if "node" in n} if metadata else {}
    reads: dict[str, list[str]] = {n: [] for n in graph.nodes}
    for a, b in graph.edges:
        reads[b].append(a)
    steps = len(next(iter(x.values())))
    batch = next(iter(x.values())).shape[1]
    values: list[dict[str, Any]] = []
    membranes: list[dict[str, Any]] = []
    v: dict[str, Any] = {}
    current: dict[str, Any] = {}

    def shape(name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in graph.nodes[name].output_type["output"])

    def send(name: str, t: int) -> Any:
        if t < 0:
            return np.zeros((batch, *shape(name)))
        if name not in values[t]:
            values[t][name] = fire(name, t)
        return values[t][name]

    def fire(name: str, t: int) -> Any:
        node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
        if kind == "Input":
            return x[name][t]
        if kind == "Delay":
            late = np.rint(np.asarray(node.delay) / dt).astype(int)
            return sum(
                np.where(late == n, sum(send(s, t - n) for s in reads[name]), 0.0)
                for n in np.unique(late).tolist()
            )
        total = sum(send(s, t - 1 if (s, name) in feedback else t) for s in reads[name])
        if kind in ("Output",):
            return total
        if kind == "Linear":
            return total @ node.weight.astype(float).T
        if kind == "Affine":
            return total @ node.weight.astype(float).T + node.bias
        if kind == "Conv2d":
            return conv(total, node)
        if kind == "Scale":
            return total * node.scale
        if kind == "Flatten":
            assert (int(node.start_dim), int(node.end_dim)) == (0, -1)
            return total.reshape(batch, -1)
        if kind == "Threshold":
            return (total > node.threshold).astype(float)
        record = records.get(name, {})
        before = v.get(name, np.full((batch, *shape(name)), float(record.get("initial", 0))))
        if kind in ("I", "IF"):
            now = before + node.r * total
        elif kind in ("LI", "LIF"):
            now = before + dt / node.tau * ((node.v_leak - before) + node.r * total)
        elif kind in ("CubaLI", "CubaLIF"):  # the current first, as the metadata says
            held = current.get(name, np.zeros((batch, *shape(name))))
            held = held + dt / node.tau_syn * (node.w_in * total - held)
            current[name] = held
            now = before + dt / node.tau_mem * ((node.v_leak - before) + node.r * held)
        else:
            raise TypeError(kind)
        if kind in ("I", "LI", "CubaLI"):
            v[name] = now
            return now
        spikes = now > node.v_threshold
        after = np.where(spikes, node.v_reset, now)
        if record.get("reset") == "subtract":
            said_amount = record["amount"]
            if said_amount is None:
                step = record["threshold_step"]
                up = np.asarray(node.v_threshold, float)
                amount = up + step if step else np.nextafter(up, np.inf)
            else:
                amount = np.array(said_amount["values"], float).reshape(said_amount["shape"])
            after = np.where(spikes, now - amount, now)
        v[name] = after
        return spikes.astype(float)

    for t in range(steps):
        values.append({})
        for name in graph.nodes:
            send(name, t)
        membranes.append(dict(v))
    stacked = {n: np.stack([s[n] for s in values]) for n in graph.nodes}
    return stacked, {n: np.stack([s[n] for s in membranes]) for n in v}


# ---- random graphs ----------------------------------------------------------------------------


@st.composite
def graphs(draw: Any, real: bool = False) -> Graph:
    """Small graphs of every kind of node; values on a dyadic grid, where sums are exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = draw(st.sampled_from([1, 16]))

    def numbers(low: float, high: float, shape: Any = ()) -> Any:
        if real:
            return rng.uniform(low, high, shape)
        return rng.integers(round(low * grid), round(high * grid), shape, endpoint=True) / grid

    shape = (draw(st.integers(1, 3)), draw(st.integers(3, 5)), draw(st.integers(3, 5)))
    inputs = [Edge("x", shape, SPIKE)]
    if draw(st.booleans()):
        inputs.append(Edge("y/2", shape, draw(st.sampled_from([SPIKE, ANALOG]))))
    edges = {e.name: e for e in inputs}
    drafts: list[Node] = []

    def add(op: Op, *reads: str, loop: str = "") -> str:
        name = loop or f"{type(op).__name__.lower()}.{len(drafts)}"
        edge = Edge(name, *op.infer(*(edges[r] for r in reads)))
        edges[name] = edge
        origin = draw(st.sampled_from(["", "net.block.0"]))
        drafts.append(Node(op, reads, edge, draw(st.sampled_from(["main", "host"])), origin))
        return name

    def neuron(edge: Edge) -> Neuron:
        per = draw(st.sampled_from(["one", "channel", "neuron"]))
        size = {"one": (), "channel": (edge.shape[0],) + (1,) * (len(edge.shape) - 1)}
        threshold = numbers(-1, 4, size.get(per, edge.shape))
        reset = draw(st.sampled_from(["zero", "subtract", "none"]))
        own = reset == "subtract" and draw(st.booleans())
        amount = {"amount": numbers(0, 3, draw(st.sampled_from([(), edge.shape])))} if own else {}
        decay = draw(st.sampled_from([1.0, 1.0, 0.0, 0.5, 0.75]))
        initial = float(numbers(-1, 1)) if draw(st.integers(0, 3)) == 0 else 0.0
        # Strict files have no soft reset behind a current.
        fades = draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])) if reset != "subtract" else 0.0
        return Neuron(threshold, decay, reset, initial=initial, current_decay=fades, **amount)

    for _ in range(draw(st.integers(1, 8))):
        edge = edges[draw(st.sampled_from(sorted(edges)))]
        kind = draw(st.sampled_from(["synapse", "neuron", "neuron", "add", "scale", "flatten",
                                     "delay", "loop"]))  # fmt: skip
        if kind == "synapse" and len(edge.shape) == 3:
            groups = draw(st.sampled_from([g for g in (1, 2, 3) if edge.shape[0] % g == 0]))
            kernel = [draw(st.integers(1, min(3, n))) for n in edge.shape[1:]]
            dilation = [draw(st.integers(1, 2)) if 2 * k - 1 <= n else 1
                        for k, n in zip(kernel, edge.shape[1:], strict=True)]  # fmt: skip
            out = groups * draw(st.integers(1, 2))
            weight = numbers(-3, 3, (out, edge.shape[0] // groups, *kernel))
            bias = numbers(-2, 2, out) if draw(st.booleans()) else None
            pairs = [
                (draw(st.integers(a, b)), draw(st.integers(a, b))) for a, b in ((1, 2), (0, 1))
            ]
            add(Conv2d(weight, bias, pairs[0], pairs[1], tuple(dilation), groups), edge.name)
        elif kind == "synapse":
            weight = numbers(-3, 3, (draw(st.integers(1, 4)), edge.shape[0]))
            bias = numbers(-2, 2, len(weight)) if draw(st.booleans()) else None
            add(Linear(weight, bias), edge.name)
        elif kind == "neuron":
            add(neuron(edge), edge.name)
        elif kind == "add":
            twins = sorted(e.name for e in edges.values() if e.shape == edge.shape)
            others = draw(st.lists(st.sampled_from(twins), min_size=1, max_size=3))
            add(Add(), edge.name, *others)
        elif kind == "scale":
            add(Scale(numbers(-2, 2, draw(st.sampled_from([(), edge.shape])))), edge.name)
        elif kind == "flatten":
            add(Flatten(), edge.name)
        elif kind == "delay" and edge.domain.holds(np.zeros(1)):
            by_place = rng.integers(1, 4, edge.shape)
            add(Delay(draw(st.sampled_from([1, 2, 3, by_place]))), edge.name)
        elif kind == "loop":
            name = f"loop.{len(drafts)}"
            edges[name] = Edge(name, edge.shape, SPIKE)
            late = add(Delay(draw(st.integers(1, 2))), name)
            current = add(Add(), edge.name, late)
            op = neuron(edge)
            add(op if op.fires else Neuron(op.threshold), current, loop=name)
    read = {r for n in drafts for r in n.inputs}
    inputs = [e for e in inputs if e.name in read] or inputs[:1]
    names = [e.name for e in inputs] + [n.name for n in drafts]
    # A loop reads itself, so its neuron would not be an output otherwise.
    outputs = tuple(n for n in names if n not in read or n.startswith("loop"))
    return Graph(tuple(inputs), tuple(drafts), outputs, draw(st.integers(1, 5)), 1e-3)


def samples(graph: Graph, batch: int = 3, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        e.name: rng.integers(0, 2, (graph.steps, batch, *e.shape)).astype(float)
        for e in graph.inputs
    }
