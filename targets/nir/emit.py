"""A finished graph as NIR: plain nodes for other tools, and metadata for an exact way back."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from purespike.compiler.files.writing import write_file
from purespike.compiler.ir.graph import Graph, Node, Shape
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Neuron,
    RectifiedNeuron,
    Scale,
)
from purespike.compiler.ir.verify import verify
from purespike.compiler.wording import Advice
from purespike.targets.nir.describe import OPS, describe
from purespike.targets.nir.document import JSON, KEY, Document, Fields, canonical, sealed
from purespike.targets.nir.errors import NirError
from purespike.targets.nir.membrane import grid, inert, narrow, neuron_fields
from purespike.targets.nir.pack import nir_node, pack
from purespike.targets.nir.schema import check
from purespike.targets.nir.shapes import shapes

REMEDY = {
    "RectifiedNeuron": "run the pass strip_auxiliary",
    "BatchNorm": "run the pass fuse_batchnorm",
    "AvgPool2d": "run the pass fold_scales: the pool becomes part of the weights after it",
    "MaxPool2d": "run the pass fold_scales: on spikes, max pooling becomes an OR",
    "TimeMean": "run the pass fold_scales: the mean goes into the readout's weights",
    "Gate": "run the pass lower_gates: a gate becomes a threshold neuron",
    "Levels": "run the pass unroll_levels: a count becomes a spike for each level",
    "Relu": "put a spiking neuron in its place",
}


def to_nir(
    graph: Graph, *, strict: bool = False, extra: Mapping[str, JSON] | None = None
) -> nir.NIRGraph:
    """The graph as a NIR graph in memory.

    Args:
        graph: A graph that the passes have finished with: convolutions, linear layers, one-to-one
            synapses, sums, neurons, flattening, delays.
        strict: Say everything that decides about spikes with plain nodes, or refuse: soft reset
            becomes ``I -> Threshold -> Scale(-amount) -> I``, a loop that carries one step (NIR
            has no soft reset). The loop is bit-equal on integers; on real numbers the order of
            additions differs. Without ``strict``, metadata says it.
        extra: JSON to keep in the metadata under ``extra`` (scales of quantization and the like).

    Returns:
        ``metadata["purespike"]`` is one JSON text: see `describe`. The NIR graph is built without
        nir 1.0.8's type check, which refuses grouped and non-square convolutions; read such files
        with ``nir.read(path, type_check=False)``. Our own check has run.

    Raises:
        NirError: If NIR cannot say the graph; it names the module.
        IRError: If the graph is not well formed.
    """
    document = to_document(graph, strict=strict, extra=extra)
    sends = shapes(document)
    nodes = {name: nir_node(name, f, sends) for name, f in document.nodes.items()}
    return nir.NIRGraph(
        nodes, list(document.edges), metadata={KEY: document.metadata}, type_check=False
    )


def write_nir(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    strict: bool = False,
    extra: Mapping[str, JSON] | None = None,
) -> None:
    """Write the graph to ``path``: the same graph gives the same bytes, and all or nothing.

    Args and errors: see `to_nir`. OutputError if the file cannot be written; what stood at ``path``
    before is then still there.
    """
    content = _packed(graph, strict, extra)
    write_file(Path(path), content.getbuffer())


def to_bytes(
    graph: Graph, *, strict: bool = False, extra: Mapping[str, JSON] | None = None
) -> bytes:
    """The NIR file; see `to_nir`."""
    return _packed(graph, strict, extra).getvalue()


def _packed(graph: Graph, strict: bool, extra: Mapping[str, JSON] | None) -> io.BytesIO:
    document = to_document(graph, strict=strict, extra=extra)
    buffer = io.BytesIO()
    pack(document, shapes(document), buffer)
    return buffer


def to_document(
    graph: Graph, *, strict: bool = False, extra: Mapping[str, JSON] | None = None
) -> Document:
    """The graph as the plain content of a NIR file; see `to_nir`."""
    verify(graph)
    _check_connected(graph)
    extra = _json(extra or {})
    draft = _Draft(strict)
    for edge in graph.inputs:
        _check_shape(edge.shape, f"input %{edge.name}")
        draft.add(edge.name, {"type": "Input", "shape": _ints(*edge.shape)}, sends=edge.name)
    for node in graph.nodes:
        _check_node(graph, node)
        if not isinstance(node.op, Add):
            _add_node(draft, graph, node)
    terms = _terms(graph)
    for node in graph.nodes:
        if not isinstance(node.op, Add):
            draft.join(node.inputs[0], draft.entry[node.name], graph, terms)
    outputs = []
    for i, name in enumerate(graph.outputs):
        label = "output" if len(graph.outputs) == 1 else f"output_{i}"
        shape = _ints(*graph.edge(name).shape)
        outputs.append(draft.add(label, {"type": "Output", "shape": shape}))
        draft.join(name, outputs[-1], graph, terms)
    document = Document(draft.nodes, tuple(draft.edges))
    check(document)
    data = describe(graph, draft.exit, outputs, draft.feedback, strict, extra)
    return sealed(document, data)


@dataclass
class _Draft:
    """The NIR graph while it grows. ``entry`` and ``exit``: NIR node by our edge's name."""

    strict: bool
    nodes: dict[str, Fields] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    feedback: list[tuple[str, str]] = field(default_factory=list)
    entry: dict[str, str] = field(default_factory=dict)
    exit: dict[str, str] = field(default_factory=dict)
    times: dict[tuple[str, int], str] = field(default_factory=dict)

    def add(self, wanted: str, fields: Fields, sends: str = "") -> str:
        """Add a node under a legal name near ``wanted``; it sends our edge ``sends``."""
        plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", wanted)[:150]
        base = plain if re.match(r"[A-Za-z0-9_]", plain) else f"_{plain}"
        name, count = base, 1
        while name in self.nodes:
            count += 1
            name = f"{base}_{count}"
        self.nodes[name] = fields
        if sends:
            self.entry[sends] = self.exit[sends] = name
        return name

    def join(
        self, edge: str, reader: str, graph: Graph, terms: Mapping[str, Mapping[str, int]]
    ) -> None:
        """NIR edges from every term of one of our edges; NIR has no double edges."""
        for source, count in terms[edge].items():
            if count >= 2**31:
                raise NirError(
                    "a sum takes the same spikes too many times",
                    found=f"%{source}, {count} times",
                    where=f"%{edge} (module {graph.origin(edge)})",
                    allowed="below 2**31",
                )
            if count == 1:
                self.edges.append((self.exit[source], reader))
                continue
            node = graph.producer(source)
            current = node is not None and isinstance(node.op, SYNAPSES)
            if current:  # the rest comes from a twin: a Scale would multiply a current
                self.edges.append((self.exit[source], reader))
            if (source, count) not in self.times:
                fields = (
                    _more(node, count - 1, graph)
                    if node is not None and current
                    else _fields(Scale(np.array(float(count))), (), graph.edge(source).shape, 0.0)
                )
                name = self.add(f"{self.exit[source]}.times{count}", fields)
                self.times[source, count] = name
                if node is not None and current:
                    self.join(node.inputs[0], name, graph, terms)
                else:
                    self.edges.append((self.exit[source], name))
            self.edges.append((self.times[source, count], reader))


def _more(node: Node, times: int, graph: Graph) -> Fields:
    """A synapse whose weights and bias are ``times`` those of another."""
    op: Any = node.op
    changes = {k: v * float(times) for k, v in op.arrays().items()}
    return _fields(
        replace(op, **changes), graph.edge(node.inputs[0]).shape, node.output.shape, graph.dt
    )


def _terms(graph: Graph) -> dict[str, Counter[str]]:
    """What each edge is the sum of: every edge but a sum's is itself, once."""
    terms = {e.name: Counter({e.name: 1}) for e in graph.edges()}
    for node in graph.nodes:
        if isinstance(node.op, Add):
            terms[node.name] = sum((terms[i] for i in node.inputs), Counter())
    return terms


def _add_node(draft: _Draft, graph: Graph, node: Node) -> None:
    op, shape, x = node.op, node.output.shape, graph.edge(node.inputs[0])
    if not isinstance(op, Neuron):
        fields = _fields(op, x.shape, shape, graph.dt)
        draft.add(node.name, fields, sends=node.name)
        return
    if draft.strict:
        _check_plain(graph, node, op)
    step = grid(op, x.domain) if op.fires else 0.0
    if not (draft.strict and op.reset == "subtract" and op.decay > 0):
        draft.add(node.name, neuron_fields(op, shape, graph.dt, step), sends=node.name)
        return
    # Soft reset in plain nodes: u(t) = decay * u(t-1) + x(t) - decay * amount * s(t-1).
    fires = Neuron(op.threshold, decay=0.0)
    holds = Neuron(op.threshold, decay=op.decay, reset="none")
    spike = draft.add(node.name, neuron_fields(fires, shape, graph.dt, step), sends=node.name)
    membrane = draft.add(f"{spike}.membrane", neuron_fields(holds, shape, graph.dt, step))
    amount = narrow(np.broadcast_to(-op.decay * op.amount, shape), first=8)
    reset = draft.add(f"{spike}.reset", {"type": "Scale", "scale": amount})
    draft.entry[node.name] = membrane
    draft.edges += [(membrane, spike), (spike, reset), (reset, membrane)]
    draft.feedback.append((reset, membrane))


def _fields(op: object, x: Shape, shape: Shape, dt: float) -> Fields:
    if isinstance(op, Conv2d):
        bias = np.zeros(shape[0]) if op.bias is None else op.bias
        geometry: Fields = {k: _ints(*getattr(op, k)) for k in ("stride", "padding", "dilation")}
        return {
            "type": "Conv2d",
            "input_shape": _ints(*x[1:]),
            **geometry,
            "groups": np.array(op.groups, "<i8"),
            "weight": narrow(op.weight, first=8),
            "bias": narrow(bias),
        }
    if isinstance(op, Linear):
        weight = op.spread(narrow(op.kept, first=8))
        if op.bias is None:
            return {"type": "Linear", "weight": weight}
        return {"type": "Affine", "weight": weight, "bias": narrow(op.bias)}
    if isinstance(op, Scale):
        return {"type": "Scale", "scale": narrow(np.broadcast_to(op.factor, shape), first=8)}
    if isinstance(op, Flatten):
        return {
            "type": "Flatten",
            "input_type": _ints(*x),
            "start_dim": np.array(0, "<i8"),
            "end_dim": np.array(-1, "<i8"),
        }
    if isinstance(op, Delay):
        return {"type": "Delay", "delay": np.full(shape, np.multiply(op.steps, dt), "<f8")}
    raise TypeError(f"{type(op).__name__} is in OPS but has no NIR node")


def _ints(*values: int) -> NDArray[Any]:
    return np.array(values, "<i8")


def _check_node(graph: Graph, node: Node) -> None:
    where = f"%{node.name} (module {graph.origin(node.name)})"
    kind = type(node.op).__name__
    if not isinstance(node.op, OPS) or isinstance(node.op, RectifiedNeuron):
        raise NirError(
            f"NIR has no node for {kind}",
            where=where,
            found=str(node),
            allowed=", ".join(o.__name__ for o in OPS),
            remedy=REMEDY.get(kind, ""),
        )
    if node.role == "auxiliary":
        raise NirError(
            "an auxiliary node would become part of the network",
            where=where,
            remedy="run the pass strip_auxiliary",
        )
    _check_shape(node.output.shape, where)
    parameters = {"weight": node.op.kept} if isinstance(node.op, Linear) else node.op.arrays()
    for name, values in parameters.items():
        if not bool(np.isfinite(values).all()):
            raise NirError("a parameter is not finite", where=where, found=name)


def _check_shape(shape: Shape, where: str) -> None:
    if not shape or min(shape) < 1:
        raise NirError(
            "NIR needs at least one axis, and none empty", where=where, found=f"shape {shape}"
        )


def _check_plain(graph: Graph, node: Node, op: Neuron) -> None:
    """Strict: whatever plain NIR cannot say is refused."""
    where = f"%{node.name} (module {graph.origin(node.name)})"
    if op.initial != 0:
        raise NirError(
            "plain NIR has no initial membrane",
            where=where,
            found=f"{op.initial:g}",
            allowed="0",
            remedy=Advice("write without {nir_strict}: the metadata keeps it"),
        )
    if op.current_decay and op.reset == "subtract":
        raise NirError(
            "plain NIR has no soft reset behind a synaptic current",
            where=where,
            found=f"current decay {op.current_decay:g}",
            allowed="0, or a reset to zero",
            remedy=Advice("write without {nir_strict}: the metadata keeps it"),
        )
    if not inert(op, graph.edge(node.inputs[0]).domain, graph.steps):
        raise NirError(
            "plain NIR has no fixed-point arithmetic, and here it can round or saturate",
            where=where,
            found=f"decay {op.decay:g}, {op.fixed}",
            allowed="decay 0 or 1, and a membrane that stays within the width over T steps",
            remedy=Advice("write without {nir_strict}: the metadata keeps it"),
        )


def _check_connected(graph: Graph) -> None:
    """No loose ends: readers of NIR silently turn them into inputs and outputs."""
    useful = graph.ancestors(graph.outputs)
    fed = {e.name for e in graph.inputs}
    grown = True
    while grown:  # more than one round only where a loop is written before what feeds it
        new = {n.name for n in graph.nodes if n.name not in fed and not fed.isdisjoint(n.inputs)}
        fed |= new
        grown = bool(new)
    for edge in graph.edges():
        problem = "leads to no output" if edge.name not in useful else "depends on no input"
        if edge.name not in useful or edge.name not in fed:
            raise NirError(
                f"%{edge.name} {problem}; NIR would make it an input or output of the network",
                where=f"module {graph.origin(edge.name)}",
                remedy="run the pass strip_auxiliary, or declare it as an output",
            )


def _json(extra: Mapping[str, JSON]) -> dict[str, JSON]:
    try:
        canonical(extra)
    except (TypeError, ValueError) as e:
        raise NirError("extra metadata must be JSON", found=str(e)) from None
    return dict(extra)
