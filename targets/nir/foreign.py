"""NIR graphs of other tools, under conventions that NIR leaves open and the caller states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.domain import ANALOG, Array, Domain
from purespike.compiler.ir import Edge, Graph, Node, Op, Shape
from purespike.compiler.ops import Add, AvgPool2d, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.targets.nir.document import Document, Fields
from purespike.targets.nir.errors import NirError, NirFileError
from purespike.targets.nir.membrane import grid, loose_threshold
from purespike.targets.nir.order import feedback_edges, sorted_nodes
from purespike.targets.nir.schema import array, conv_padding, pair

KINDS = (
    "Input",
    "Output",
    "Affine",
    "Linear",
    "Scale",
    "Conv2d",
    "SumPool2d",
    "AvgPool2d",
    "Flatten",
    "Delay",
    "Threshold",
    "I",
    "IF",
    "LI",
    "LIF",
    "CubaLI",
    "CubaLIF",
)
CUBA = {"CubaLI", "CubaLIF"}
WHY = {
    "dt": "NIR is written in continuous time and names no time step (seconds)",
    "steps": "NIR does not say how many time steps a sample lasts",
    "reset": "NIR files do not say reliably what a spike does to the membrane (zero or subtract)",
    "if_r": "tools disagree: IF and I add r * x a step ('step') or dt * r * x ('dt')",
    "current": "tools disagree: the membrane of CubaLI and CubaLIF takes the synaptic current "
    "after it was updated in a step ('new') or before ('previous')",
}


@dataclass(frozen=True)
class Conventions:
    """What the caller states about a file; see `purespike.targets.nir.read.read_nir`."""

    dt: float | None = None
    reset: Literal["zero", "subtract"] | None = None
    if_r: Literal["step", "dt"] | None = None
    steps: int | None = None
    domain: Domain | None = None
    feedback: Literal["previous"] | None = None
    current: Literal["new", "previous"] | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("reset", ("zero", "subtract")),
            ("if_r", ("step", "dt")),
            ("feedback", ("previous",)),
            ("current", ("new", "previous")),
        ):
            if (value := getattr(self, name)) is not None and value not in allowed:
                raise NirError(f"unknown {name}", found=repr(value), allowed=", ".join(allowed))
        if self.dt is not None and not 0 < self.dt < math.inf:
            raise NirError("dt is a time", found=f"{self.dt}", allowed="more than 0 s")
        if self.steps is not None and self.steps < 1:
            raise NirError("a sample lasts whole time steps", found=f"{self.steps}", allowed=">= 1")

    def require(self, document: Document) -> tuple[float, int]:
        """(dt, steps); raises NirFileError that lists all that this file needs and nobody said."""
        kinds = {str(f["type"]) for f in document.nodes.values()}
        needs = {
            "dt": True,
            "steps": True,
            "reset": bool(kinds & {"IF", "LIF", "CubaLIF"}),
            "if_r": bool(kinds & {"IF", "I"}),
            "current": bool(kinds & CUBA),
        }
        missing = [n for n, needed in needs.items() if needed and getattr(self, n) is None]
        if self.dt is None or self.steps is None or missing:
            raise NirFileError(
                "purespike did not write this file, and it leaves open: " + ", ".join(missing),
                found="; ".join(f"{n}: {WHY[n]}" for n in missing),
                remedy="state " + ", ".join(f"{n}=..." for n in missing) + " as the tool meant it",
            )
        return self.dt, self.steps

    def agree(self, graph: Graph) -> None:
        """Raise NirFileError if a purespike file states something else than the caller."""
        resets = {n.op.reset for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires}
        clashes = {
            "dt": (self.dt, graph.dt, self.dt == graph.dt),
            "steps": (self.steps, graph.steps, self.steps == graph.steps),
            "reset": (self.reset, ", ".join(sorted(resets)), resets <= {self.reset}),
            "if_r": (self.if_r, "step", self.if_r == "step"),
            "current": (self.current, "new", self.current == "new"),
            "domain": (
                self.domain,
                ", ".join(str(e.domain) for e in graph.inputs),
                all(e.domain == self.domain for e in graph.inputs),
            ),
        }
        for name, (stated, written, same) in clashes.items():
            if stated is not None and not same:
                raise NirFileError(
                    f"the file states another {name}",
                    found=f"stated {stated}, written {written}",
                    remedy=f"leave {name} out: purespike wrote the file, and it says all",
                )


def from_foreign(document: Document, sends: Mapping[str, Shape], stated: Conventions) -> Graph:
    """The graph of a checked document without purespike metadata.

    Args:
        document: Checked by `purespike.targets.nir.schema.check`.
        sends: The shape that each node sends.
        stated: What NIR leaves open.

    Raises:
        NirFileError: If a convention is missing or the graph has no exact counterpart here.
    """
    for name, fields in document.nodes.items():
        if fields["type"] not in KINDS:
            raise NirFileError(
                f"purespike does not read {fields['type']} nodes",
                where=f"node {name!r}",
                allowed=", ".join(KINDS),
            )
    dt, steps = stated.require(document)
    late = feedback_edges(document, stated.feedback is not None)
    draft = _Draft(document)
    for source in dict.fromkeys(a for a, _ in late):
        draft.helper(f"{source}.late", Delay(1), (source,), sends[source])
    sources: dict[str, list[str]] = {}
    shape_in: dict[str, Shape] = {}
    for a, b in document.edges:
        shape_in[b] = sends[a]
        sources.setdefault(b, []).append(f"{a}.late" if (a, b) in late else a)
    tail, outputs = [], []
    for name in sorted_nodes(document, late):
        fields = document.nodes[name]
        if fields["type"] == "Input":
            continue
        reads, takes = sources[name], shape_in[name]
        if len(reads) > 1:
            total = (f"{name}.sum", Add(), tuple(reads), takes)
            if fields["type"] == "Delay":  # a delay may read what is written later, a sum may not
                tail.append(total)
            else:
                draft.helper(*total)
            reads = [f"{name}.sum"]
        if fields["type"] == "Output":
            outputs.append(reads[0])
            continue
        op, gain = _op(name, fields, takes, dt, stated)
        if fields["type"] in CUBA and stated.current == "previous":
            draft.helper(f"{name}.before", Delay(1), tuple(reads), takes)
            reads = [f"{name}.before"]
        if gain is not None:
            draft.helper(f"{name}.gain", Scale(gain), tuple(reads), takes)
            reads = [f"{name}.gain"]
        draft.add(name, op, tuple(reads), sends[name])
    for total in tail:
        draft.helper(*total)
    inputs = tuple(
        Edge(n, sends[n], ANALOG if stated.domain is None else stated.domain)
        for n in document.of_type("Input")
    )
    return _typed(Graph(inputs, tuple(draft.nodes), tuple(outputs), steps, dt))


@dataclass
class _Draft:
    document: Document
    nodes: list[Node] = field(default_factory=list)

    def add(self, name: str, op: Op, reads: tuple[str, ...], shape: Shape) -> None:
        self.nodes.append(Node(op, reads, Edge(name, shape, ANALOG), origin=name))

    def helper(self, name: str, op: Op, reads: tuple[str, ...], shape: Shape) -> None:
        """A node that the file does not have."""
        if name in self.document.nodes:
            raise NirFileError(
                "the name of a node is needed for a sum, gain or delay",
                where=f"node {name!r}",
                remedy="rename the node",
            )
        self.add(name, op, reads, shape)


def _typed(graph: Graph) -> Graph:
    """Domains from the inputs on; an edge that is read before it is written starts as ANALOG.

    Each round can only make domains smaller, and is sound because the round before was; when a
    round changes nothing, every op agrees with every edge.
    """
    rounds = 3 + sum(n.op.delays for n in graph.nodes)
    for _ in range(rounds):
        typed = graph.rebuilt(graph.nodes)
        if all(a.output == b.output for a, b in zip(graph.nodes, typed.nodes, strict=True)):
            break
        graph = typed
    whole = [_whole_threshold(n, graph) for n in graph.nodes]
    return replace(graph, nodes=tuple(whole))


def _whole_threshold(node: Node, graph: Graph) -> Node:
    """On an integer membrane ``v > 3`` is ``v >= 4``, which quantized targets can hold."""
    if not isinstance(node.op, Neuron) or not node.op.fires:
        return node
    strict = np.nextafter(node.op.threshold, -np.inf)
    # Without an amount of its own, a neuron takes its threshold.
    amount: Any = node.op.amount if node.op.reset == "subtract" else None
    op = replace(node.op, threshold=strict, amount=amount)
    step = grid(op, graph.edge(node.inputs[0]).domain)
    if not step:
        return node
    return replace(node, op=replace(op, threshold=loose_threshold(strict, step), amount=amount))


def _op(
    name: str, fields: Fields, takes: Shape, dt: float, stated: Conventions
) -> tuple[Op, Array | None]:
    """(op, factor of its input or None) of one NIR node."""
    kind, where = str(fields["type"]), f"node {name!r}"
    if kind in ("Affine", "Linear"):
        bias = array(fields, "bias") if kind == "Affine" else None
        return Linear(array(fields, "weight"), bias), None
    if kind == "Scale":
        return Scale(_compact(array(fields, "scale"))), None
    if kind in ("Conv2d", "SumPool2d", "AvgPool2d"):
        return _window(where, fields, takes), None
    if kind == "Flatten":
        first, last = (int(array(fields, k)) % len(takes) for k in ("start_dim", "end_dim"))
        if (first, last) != (0, len(takes) - 1):
            raise NirFileError(
                "only flattening of all axes has a counterpart",
                where=where,
                found=f"start_dim {first}, end_dim {last} on {takes}",
                allowed="start_dim 0, end_dim -1",
                remedy="NIR shapes have no batch axis: write start_dim = 0",
            )
        return Flatten(), None
    if kind == "Delay":
        count = array(fields, "delay").astype(np.float64) / dt
        wrong = (np.rint(count) < 1) | (np.abs(count - np.rint(count)) > 1e-6)
        if bool(wrong.any()):
            raise NirFileError(
                "a delay is no whole number of time steps",
                where=where,
                found=f"{count[wrong][0]:g} steps of {dt:g} s",
                allowed="1, 2, ...",
            )
        return Delay(_compact(np.rint(count))), None
    return _neuron(where, fields, dt, stated)


def _window(where: str, fields: Fields, takes: Shape) -> Op:
    stride, padding = pair(array(fields, "stride")), conv_padding(where, fields)
    if fields["type"] == "Conv2d":
        bias = array(fields, "bias")
        return Conv2d(
            array(fields, "weight"),
            bias if bool(bias.any()) else None,
            stride,
            padding,
            pair(array(fields, "dilation")),
            int(array(fields, "groups")),
        )
    kernel = pair(array(fields, "kernel_size"))
    if fields["type"] == "SumPool2d":
        ones = np.ones((takes[0], 1, *kernel))
        return Conv2d(ones, None, stride, padding, groups=takes[0])
    if any(padding):
        raise NirFileError(
            "NIR does not say whether padding counts in an average",
            where=where,
            found=f"padding {padding}",
            allowed="0",
            remedy="write a SumPool2d and a Scale",
        )
    return AvgPool2d(kernel, stride)


def _neuron(
    where: str, fields: Fields, dt: float, stated: Conventions
) -> tuple[Neuron, Array | None]:
    kind = fields["type"]
    if kind == "Threshold":
        return Neuron(_loose(array(fields, "threshold")), decay=0.0), None
    for zero in ("v_leak", "v_reset"):
        if zero in fields and bool(array(fields, zero).any()):
            raise NirFileError(
                f"a {zero} other than 0 has no counterpart",
                where=where,
                remedy="shift thresholds and biases so that the membrane rests at 0",
            )
    r, decay = array(fields, "r").astype(np.float64), 1.0
    rest: dict[str, Any] = {}
    if kind in CUBA:
        decay, part = _decay(where, "tau_mem", fields, dt)
        rest["current_decay"], share = _decay(where, "tau_syn", fields, dt)
        # All is linear, so the current can be held in what it adds to the membrane.
        gain = r * part * array(fields, "w_in").astype(np.float64) * share
    elif kind in ("LI", "LIF"):
        decay, part = _decay(where, "tau", fields, dt)
        gain = r * part
    else:
        gain = r * dt if stated.if_r == "dt" else r
    # tau and r were rounded when they were written: a few units in the last place are a 1.
    gain = _compact(np.where(np.abs(gain - 1) <= 8 * np.finfo(float).eps, 1.0, gain))
    factor = None if gain.shape == () and gain == 1 else gain
    if kind in ("I", "LI", "CubaLI"):
        return Neuron(np.zeros(()), decay=decay, reset="none", **rest), factor
    strict = array(fields, "v_threshold").astype(np.float64)
    if stated.reset == "subtract":
        return Neuron(_loose(strict), decay, "subtract", _compact(strict), **rest), factor
    return Neuron(_loose(strict), decay, "zero", **rest), factor


def _decay(where: str, name: str, fields: Fields, dt: float) -> tuple[float, float]:
    """(what a step leaves, what it takes) for the time constant ``name``."""
    tau = _uniform(where, name, array(fields, name))
    if tau < dt:
        raise NirFileError(
            "the time step is longer than the time constant",
            where=where,
            found=f"dt {dt:g} s, {name} {tau:g} s",
            allowed=f"dt <= {name}",
            remedy="check the unit of dt: NIR's time constants are in seconds",
        )
    return 1 - dt / tau, dt / tau


def _loose(strict: NDArray[Any]) -> Array:
    return loose_threshold(_compact(strict.astype(np.float64)), 0.0)


def _compact(x: NDArray[Any]) -> Array:
    """One number where all values are equal."""
    return np.array(x.flat[0], np.float64) if bool((x == x.flat[0]).all()) else x.astype(np.float64)


def _uniform(where: str, name: str, x: NDArray[Any]) -> float:
    if not bool((x == x.flat[0]).all()):
        raise NirFileError(
            f"{name} differs between the neurons of a node",
            where=where,
            found=f"{x.min():g} to {x.max():g}",
            allowed="one value a node",
            remedy="split the node",
        )
    return float(x.flat[0])
