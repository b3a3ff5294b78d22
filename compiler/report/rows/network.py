"""The network as it is drawn, where its classes are written, and the file that it came from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, field

from purespike.compiler.ir.graph import Edge, Graph, Op
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.report.rows.basic import Choice, Domain, Number, Role, Row, Whole, finite

MOST = 4096  # thresholds of a layer that a report lists; a layer has one for each channel


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
    threshold_of: Annotated[
        tuple[Number | None, ...],
        Meta(description="of each place of threshold_shape; empty where all are one, or too many"),
    ] = ()
    threshold_shape: Annotated[
        tuple[int, ...],
        Meta(description="broadcasts to the shape, as (C, 1, 1): one threshold for each channel"),
    ] = ()
    reset: Annotated[
        Literal["zero", "subtract", "none"] | None,
        Meta(description="what a spike does to the membrane; none: it never fires"),
    ] = None
    amount: Annotated[
        tuple[Number | None, Number | None] | None,
        Meta(description="lowest and highest that a spike takes off; absent for the threshold"),
    ] = None
    decay: Annotated[
        Number | None, Meta(description="factor of the membrane a step; 1 keeps all of it")
    ] = None
    current_decay: Annotated[
        Number | None, Meta(description="factor of the synaptic current a step; absent where none")
    ] = None


class Network(Row, frozen=True, omit_defaults=True):
    """The graph as it is drawn, without weights."""

    stage: Annotated[str, Meta(description="the pass whose result is drawn")]
    steps: int
    inputs: tuple[EdgeRow, ...]
    outputs: tuple[str, ...]
    nodes: tuple[NodeRow, ...]
    dt: Annotated[
        Number | None, Meta(description="seconds per time step; absent in older reports")
    ] = None

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
                **_membrane(n.op),
                **_thresholds(n.op),
                **edge(n.output),
            )
            for n in graph.nodes
        ]
        inputs = tuple(EdgeRow(**edge(e)) for e in graph.inputs)
        return cls(
            stage=stage,
            steps=graph.steps,
            inputs=inputs,
            outputs=graph.outputs,
            nodes=tuple(nodes),
            dt=graph.dt,
        )


def _membrane(op: Op) -> dict[str, Any]:
    if not isinstance(op, Neuron):
        return {}
    more: dict[str, Any] = {"current_decay": op.current_decay} if op.current_decay else {}
    if op.reset == "subtract" and not np.array_equal(op.amount, op.threshold):
        more["amount"] = finite(float(op.amount.min())), finite(float(op.amount.max()))
    return {"reset": op.reset, "decay": op.decay, **more}


def _thresholds(op: Op) -> dict[str, Any]:
    if not (isinstance(op, Neuron) and op.fires):
        return {}
    every = op.threshold
    ends = finite(float(every.min())), finite(float(every.max()))
    if every.min() == every.max() or every.size > MOST:
        return {"thresholds": ends}
    return {
        "thresholds": ends,
        "threshold_of": tuple(finite(float(x)) for x in every.ravel()),
        "threshold_shape": every.shape,
    }


class Source(Row, frozen=True):
    """Where the class of a module is written."""

    class_: str = field(name="class")
    file: str
    line: Whole


Format = Literal["NIR", "ONNX", "QONNX", "netx", "torch.export"]


class NetworkFile(Row, frozen=True, omit_defaults=True):
    """The file that a network came from, and how what it leaves open was settled."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    format: Format
    stated: Annotated[dict[str, Choice], Meta(description="what the user answered, by option")] = {}  # noqa: RUF012
    assumed: Annotated[
        dict[str, Choice],
        Meta(description="what neither the file nor the user says, and was taken all the same"),
    ] = {}  # noqa: RUF012
    taken: Annotated[
        tuple[str, ...], Meta(description="what was read out of the file where it could be asked")
    ] = ()

    @property
    def title(self) -> str:
        """Its name, with what was taken."""
        return self.name + (f" ({'; '.join(self.taken)})" if self.taken else "")
