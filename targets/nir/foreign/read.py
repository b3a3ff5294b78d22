"""NIR graphs of other tools, under conventions that NIR leaves open and the caller states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from purespike.compiler.ir.domain import ANALOG
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape
from purespike.compiler.ir.ops import Add, Delay, Neuron, Scale
from purespike.compiler.wording import Advice
from purespike.targets.nir.document import Document
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.conventions import CUBA, WHY
from purespike.targets.nir.foreign.conventions import Conventions as Conventions
from purespike.targets.nir.foreign.loops import biased, spikes_wait
from purespike.targets.nir.foreign.meaning import operation
from purespike.targets.nir.foreign.order import feedback_edges, sorted_nodes
from purespike.targets.nir.foreign.signals import has_signals, on_images
from purespike.targets.nir.foreign.soft_reset import merged
from purespike.targets.nir.foreign.ties import can_tie
from purespike.targets.nir.membrane import grid, loose_threshold


def from_foreign(document: Document, sends: Mapping[str, Shape], stated: Conventions) -> Graph:
    """The graph of a checked document without purespike metadata.

    Args:
        document: Checked by `purespike.targets.nir.schema.check`.
        sends: The shape that each node sends.
        stated: What NIR leaves open; the metadata of the tool may say some of it.

    Raises:
        NirFileError: If a convention is missing or the graph has no exact counterpart here.
    """
    stated = stated.filled(document)
    dt, steps = stated.require(document)
    document = merged(document, dt, stated.feedback is not None)
    late = feedback_edges(document, stated.feedback is not None)
    _check_use(stated, bool(biased(document, late)))
    if stated.recurrent_bias == "always":
        document, sends = spikes_wait(document, sends, late, dt)
        late = feedback_edges(document, True)
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
        op, gain = operation(name, fields, takes, dt, stated)
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
    graph = Graph(inputs, tuple(draft.nodes), tuple(outputs), steps, dt)
    graph = _typed(on_images(graph) if has_signals(document, sends) else graph)
    if stated.fires is None and (tie := can_tie(graph)):
        stated.require(document, tie=tie)
    if stated.fires == "at":
        return graph
    return replace(graph, nodes=tuple(_fires_above(n, graph) for n in graph.nodes))


def _check_use(stated: Conventions, needed: bool) -> None:
    """Is it stated exactly where a loop needs it when its bias begins?"""
    if needed and stated.recurrent_bias is None:  # `require` has asked, where it could tell
        raise NirFileError(
            "a loop carries a bias, and NIR does not say when it begins",
            open={"recurrent_bias": WHY["recurrent_bias"]},
        )
    if stated.recurrent_bias is not None and not needed:
        raise NirFileError(
            Advice("{recurrent_bias} is stated, and nothing needs it"),
            found="no loop with a bias that is without a Delay node",
            remedy="leave it out",
        )


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
    return graph


def _fires_above(node: Node, graph: Graph) -> Node:
    """``v > threshold`` as the graph says it, ``v >=`` the next value that a membrane can have.

    On an integer membrane ``v > 3`` is ``v >= 4``, which quantized targets can hold.
    """
    if not isinstance(node.op, Neuron) or not node.op.fires:
        return node
    threshold = loose_threshold(node.op.threshold, grid(node.op, graph.edge(node.inputs[0]).domain))
    # Without an amount of its own, a neuron takes its threshold.
    amount: Any = node.op.amount if node.op.reset == "subtract" else None
    return replace(node, op=replace(node.op, threshold=threshold, amount=amount))
