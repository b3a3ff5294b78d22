"""In which files of a bundle a layer is, and as what: each file is read by its own library."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from purespike.compiler.files.archives import DAMAGED
from purespike.compiler.files.reading import opened, read_text
from purespike.targets.bundle.manifest import BundleError

_FILE = "a file of the bundle"
_LARGEST_TEXT = 1 << 28  # bytes of a JSON file
_LARGEST_GOLDEN = 1 << 32  # bytes of golden.npz, of which only the list of arrays is read


def files_with(folder: Path, name: str) -> dict[str, tuple[str, ...]]:
    """The files that hold a layer under its name, and what each calls it.

    Args:
        folder: A bundle; its hashes were checked.
        name: Of the layer.

    Raises:
        BundleError: If a file cannot be read.
    """
    readers = {
        "model.nir": _nir,
        "model.onnx": _onnx,
        "model.qonnx.onnx": _onnx,
        "lava/program.json": _program,
        "golden_network.json": _golden_network,
        "golden.npz": _golden,
    }
    found = {}
    for file, read in readers.items():
        path = folder / file
        if path.is_file():
            try:
                found[file] = tuple(dict.fromkeys(read(path, name)))
            except DAMAGED as e:
                raise BundleError(
                    "a file of the bundle cannot be read",
                    where=str(path),
                    found=str(e) or type(e).__name__,
                    remedy="copy the bundle again, or compile again",
                ) from e
    return {file: parts for file, parts in found.items() if parts}


def _nir(path: Path, name: str) -> Iterator[str]:
    from purespike.targets.nir.foreign.conventions import Conventions
    from purespike.targets.nir.read import read_both

    _, document = read_both(path, Conventions())
    if name in document.nodes:
        yield f"node {name} ({document.nodes[name]['type']})"


def _onnx(path: Path, name: str) -> Iterator[str]:
    from purespike.targets.onnx.read import parse_onnx

    yield from _onnx_graph(parse_onnx(path).graph, name)


def _onnx_graph(graph: Any, name: str) -> Iterator[str]:
    own = {name, f"{name}_v_in", f"{name}_v_out"}
    for kind, items in (("input", graph.input), ("output", graph.output)):
        yield from (f"{kind} {x.name}" for x in items if x.name in own)
    for node in graph.node:
        if any(o in own or o.startswith(f"{name}/") for o in node.output):
            yield f"node {node.name} ({node.op_type})"
        for attribute in node.attribute:  # the loop over time steps holds a graph of its own
            if attribute.HasField("g"):
                yield from _onnx_graph(attribute.g, name)
    yield from (f"tensor {t.name}" for t in graph.initializer if t.name.startswith(f"{name}/"))


def _json(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(read_text(path, _LARGEST_TEXT, BundleError, _FILE))
    return data


def _program(path: Path, name: str) -> Iterator[str]:
    program = _json(path)
    yield from (
        f"process {p['name']} ({p['kind']})" for p in program["processes"] if p["name"] == name
    )
    for key, words in (("record", "spikes recorded"), ("record_v", "membranes recorded")):
        if name in program[key]:
            yield words


def _golden_network(path: Path, name: str) -> Iterator[str]:
    network = _json(path)
    if name == network["input"]:
        yield f"input {name}"
    yield from (f"node {n['name']} ({n['op']})" for n in network["nodes"] if n["name"] == name)


def _golden(path: Path, name: str) -> Iterator[str]:
    with opened(path, _LARGEST_GOLDEN, BundleError, _FILE) as file, zipfile.ZipFile(file) as held:
        arrays = {n.removesuffix(".npy") for n in held.namelist()}
    yield from (k for k in (f"spikes/{name}", f"membranes/{name}") if k in arrays)
