"""A document in the words of the nir package: its nodes, and the file that it writes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, cast

import nir
import numpy as np

from purespike.compiler.ir.graph import Shape
from purespike.targets.nir.document import KEY, Document, Fields


def nir_node(name: str, fields: Fields, sends: Mapping[str, Shape]) -> Any:
    """The nir package's object for one node; nir 1.0.8 gets the types of convolutions wrong.

    Args:
        name: Of the node.
        fields: Its type and the fields of that type.
        sends: The shape that each node sends, by name.
    """
    values: dict[str, Any] = {  # nir.write cannot compress arrays without axes
        k: int(v) if isinstance(v, np.ndarray) and v.ndim == 0 else v
        for k, v in fields.items()
        if k != "type"
    }
    kind = str(fields["type"])
    if kind in ("Input", "Output"):
        return getattr(nir, kind)(values["shape"])
    if kind == "Flatten":
        return nir.Flatten({"input": values["input_type"]}, values["start_dim"], values["end_dim"])
    node = getattr(nir, kind)(**values)
    if kind == "Conv2d":
        channels = values["weight"].shape[1] * values["groups"]
        node.input_type = {"input": np.array([channels, *values["input_shape"]])}
        node.output_type = {"output": np.array(sends[name])}
    return node


def pack(document: Document, sends: Mapping[str, Shape], file: IO[bytes]) -> None:
    """Write the NIR file of a document, the same bytes as ``nir.write`` makes of a ``NIRGraph``.

    ``NIRGraph.to_dict`` copies the arrays of all nodes twice before the first is written; here each
    node is copied when its turn has come.
    """
    nir.write(file, cast(nir.NIRNode, _Graph(document, sends)))


class _Graph:
    """What ``nir.write`` asks of a graph."""

    def __init__(self, document: Document, sends: Mapping[str, Shape]) -> None:
        self.document, self.sends = document, sends

    def to_dict(self) -> dict[str, Any]:
        return {
            "metadata": {KEY: self.document.metadata},
            "nodes": _Nodes(self.document, self.sends),
            "edges": list(self.document.edges),
            "type": "NIRGraph",
        }


class _Nodes(dict[str, Any]):
    """The nodes of a document as plain values, each made when it is asked for."""

    def __init__(self, document: Document, sends: Mapping[str, Shape]) -> None:
        super().__init__(document.nodes)
        self.sends = sends

    def items(self) -> Any:
        fields = super().items()
        return ((name, nir_node(name, f, self.sends).to_dict()) for name, f in fields)
