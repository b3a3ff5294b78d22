"""The network as it is drawn, and where its classes are written."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from purespike.compiler.ir.graph import Edge, Graph, Op
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.report.rows.basic import Domain, Number, Role, Row, Whole, finite


class EdgeRow(Row, frozen=True):
    """An input of the network."""

    name: str
    shape: tuple[int, ...]
    domain: Domain


class NodeRow(EdgeRow, frozen=True, omit_defaults=True):
    """An operation, and the edge that it writes."""

    operation: str
    reads: tuple[str, ...]
    role: Role
    origin: str
    fires: bool
    thresholds: Annotated[
        tuple[Number | None, Number | None] | None,
        Meta(description="lowest and highest, in units of the current; absent where none fires"),
    ] = None


class Network(Row, frozen=True):
    """The graph as it is drawn, without weights."""

    stage: Annotated[str, Meta(description="the pass whose result is drawn")]
    steps: int
    inputs: tuple[EdgeRow, ...]
    outputs: tuple[str, ...]
    nodes: tuple[NodeRow, ...]

    @classmethod
    def of(cls, graph: Graph, stage: str) -> Network:
        """Of a graph, and which stage of the compiler it is."""

        def edge(e: Edge) -> dict[str, Any]:
            return {"name": e.name, "shape": e.shape, "domain": str(e.domain)}

        nodes = [
            NodeRow(
                operation=type(n.op).__name__,
                reads=n.inputs,
                role=n.role,
                origin=n.origin,
                fires=isinstance(n.op, Neuron) and n.op.fires,
                thresholds=_thresholds(n.op),
                **edge(n.output),
            )
            for n in graph.nodes
        ]
        inputs = tuple(EdgeRow(**edge(e)) for e in graph.inputs)
        return cls(
            stage=stage, steps=graph.steps, inputs=inputs, outputs=graph.outputs, nodes=tuple(nodes)
        )


def _thresholds(op: Op) -> tuple[Number | None, Number | None] | None:
    if not (isinstance(op, Neuron) and op.fires):
        return None
    return finite(float(op.threshold.min())), finite(float(op.threshold.max()))


class Source(Row, frozen=True):
    """Where the class of a module is written."""

    class_: str = field(name="class")
    file: str
    line: Whole
