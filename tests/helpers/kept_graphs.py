"""Networks on which two executors once differed, kept in tests/data/graphs for ever.

The form is plain JSON of the graph's own fields, which shares nothing with what is tested.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.random_graphs import Sample
from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Edge, Graph, Node
from purespike.compiler.passes.quantize.grid import Grid

KEPT = Path(__file__).parents[1] / "data" / "graphs"


@dataclass(frozen=True)
class Kept:
    """A network with its input, and what was seen on it.

    Attributes:
        sample: Both.
        kind, seed: What it was shrunk from: `numbered.KINDS[kind](seed)`.
        between: The two that differed.
        said: Where, on this network.
    """

    sample: Sample
    kind: str
    seed: int
    between: tuple[str, str]
    said: str


def save(kept: Kept, folder: Path = KEPT) -> Path:
    """Write a network; its name tells kind, seed and who differed."""
    name = f"{kept.kind}-{kept.seed}-{kept.between[1]}".replace(" ", "_").replace(",", "")
    graph, x = kept.sample.graph, kept.sample.x
    others = {f.name: getattr(kept.sample, f.name) for f in dataclasses.fields(Sample)[2:]}
    data = {
        "kind": kept.kind,
        "seed": kept.seed,
        "between": list(kept.between),
        "said": kept.said,
        "steps": graph.steps,
        "dt": graph.dt,
        "inputs": [_packed(e) for e in graph.inputs],
        "outputs": list(graph.outputs),
        "nodes": [_packed(n) for n in graph.nodes],
        "x": _packed(x),
        "sample": {name: _packed(value) for name, value in others.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Kept:
    """The network in a file of `save`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    graph = Graph(
        tuple(_unpacked(e) for e in data["inputs"]),
        tuple(_unpacked(n) for n in data["nodes"]),
        tuple(data["outputs"]),
        data["steps"],
        data["dt"],
    )
    others = {name: _unpacked(value) for name, value in data["sample"].items()}
    sample = Sample(graph, _unpacked(data["x"]), **others)
    return Kept(sample, data["kind"], data["seed"], tuple(data["between"]), data["said"])


_CLASSES: dict[str, Any] = {c.__name__: c for c in (Edge, Node, Domain, Grid)} | {
    name: value for name, value in vars(ops).items() if dataclasses.is_dataclass(value)
}


def _packed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        flat = [int(v) if float(v).is_integer() else float(v) for v in value.ravel()]
        return {"shape": list(value.shape), "values": flat}
    if isinstance(value, tuple):
        return {"tuple": [_packed(v) for v in value]}
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {"class": type(value).__name__} | {k: _packed(v) for k, v in fields.items()}
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "shape" in value and "values" in value:
        return np.array(value["values"], np.float64).reshape(value["shape"])
    if "tuple" in value:
        return tuple(_unpacked(v) for v in value["tuple"])
    fields = {k: _unpacked(v) for k, v in value.items() if k != "class"}
    return _CLASSES[value["class"]](**fields)
