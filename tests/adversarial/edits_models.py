"""Edits of model files and recordings, written again so that each file's own hash is right."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from adversarial.edits import MANIFEST, Change, Inapplicable, Random, edit
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Conv2d, Linear, Neuron
from purespike.targets.bundle.bundle import read_golden
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.read import read_extra, read_nir
from purespike.targets.onnx.metadata import content_hash

# model.nir: written again by purespike's own writer, so that its own hash is right.


def network(
    choose: Callable[[Graph], list[Node]], change: Callable[[Random, Node], Node]
) -> Change:
    """One node of the network changed."""

    def do(r: Random, folder: Path) -> None:
        path = folder / "model.nir"
        graph, extra = read_nir(path), read_extra(path)
        nodes = choose(graph)
        if not nodes:
            raise Inapplicable
        node = nodes[r.integers(len(nodes))]
        other = change(r, node)
        strict = json.loads((folder / MANIFEST).read_text())["options"]["nir_strict"]
        nodes = [other if n is node else n for n in graph.nodes]
        path.write_bytes(to_bytes(graph.rebuilt(nodes), strict=strict, extra=extra))

    return do


def synapses(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if isinstance(n.op, Conv2d | Linear)]


def firing(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]


def moved(r: Random, values: NDArray[Any], most: float = np.inf) -> NDArray[Any]:
    """One value by one."""
    found = np.array(values)
    k = r.integers(found.size)
    if found.dtype.kind in "iu":
        most = min(most, np.iinfo(found.dtype).max)
    found.flat[k] += 1 if int(found.flat[k]) + 1 <= most else -1
    return found


def exchanged(values: NDArray[Any]) -> NDArray[Any]:
    """Two rows that differ, exchanged."""
    for k in range(1, len(values)):
        if not np.array_equal(values[0], values[k]):
            found = np.array(values)
            found[[0, k]] = found[[k, 0]]
            return found
    raise Inapplicable


edit("a weight by one", "model.nir")(
    network(
        synapses,
        lambda r, n: replace(n, op=replace(n.op, weight=moved(r, n.op.weight, 127))),
    )
)
edit("two output channels exchanged", "model.nir")(
    network(
        synapses,
        lambda r, n: replace(n, op=replace(n.op, weight=exchanged(n.op.weight))),
    )
)
edit("a bias by one", "model.nir")(
    network(
        lambda g: [n for n in synapses(g) if getattr(n.op, "bias", None) is not None],
        lambda r, n: replace(n, op=replace(n.op, bias=moved(r, n.op.bias))),
    )
)
edit("a threshold by one", "model.nir")(
    network(firing, lambda r, n: replace(n, op=replace(n.op, threshold=n.op.threshold + 1)))
)
edit("another reset", "model.nir")(
    network(
        lambda g: [n for n in firing(g) if n.op.decay],
        lambda r, n: replace(
            n,
            op=replace(
                n.op,
                reset="zero" if n.op.reset == "subtract" else "subtract",
                amount=np.ceil(np.atleast_1d(n.op.threshold).max()),
            ),
        ),
    )
)


@edit("a scale in the notes", "model.nir")
def _(r: Random, folder: Path) -> None:
    path = folder / "model.nir"
    graph, extra = read_nir(path), read_extra(path)
    scales: Any = extra["scales"]
    name = sorted(scales)[r.integers(len(scales))]
    scales[name] *= 2
    path.write_bytes(to_bytes(graph, extra=extra))


# model.onnx, model.qonnx.onnx: the content hash is redone.


def model(name: str, change: Callable[[Random, ModelProto], None]) -> Change:
    def do(r: Random, folder: Path) -> None:
        path = folder / name
        if not path.is_file():
            raise Inapplicable
        proto = onnx.load(path)
        change(r, proto)
        for prop in proto.metadata_props:
            if prop.key == "purespike.content_sha256":
                prop.value = json.dumps(content_hash(proto))
        path.write_bytes(proto.SerializeToString(deterministic=True))

    return do


def constant(r: Random, proto: ModelProto, wanted: str) -> None:
    tensors = [t for t in proto.graph.initializer if wanted in t.name]
    if not tensors:
        raise Inapplicable
    tensor = tensors[r.integers(len(tensors))]
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(moved(r, values, 127), tensor.name))


def fact(r: Random, proto: ModelProto) -> None:
    props = [
        p for p in proto.metadata_props if p.key.removeprefix("purespike.") in ("scales", "dt")
    ]
    prop = props[r.integers(len(props))]
    prop.value = re.sub(r"\d", lambda m: str((int(m[0]) + 1) % 10), prop.value, count=1)


def more(r: Random, proto: ModelProto) -> None:
    prop = proto.metadata_props.add()
    prop.key, prop.value = "accuracy", "99.9"


for _file in ("model.onnx", "model.qonnx.onnx"):
    edit("a weight by one", _file)(model(_file, lambda r, m: constant(r, m, "/weight")))
    edit("a fact of the metadata", _file)(model(_file, fact))
edit("a threshold or limit by one", "model.onnx")(
    model("model.onnx", lambda r, m: constant(r, m, "const/int32"))
)
edit("a fact more", "model.onnx")(model("model.onnx", more))


# Archives of arrays.


def archive(name: str, change: Callable[[Random, dict[str, NDArray[Any]]], None]) -> Change:
    def do(r: Random, folder: Path) -> None:
        path = folder / name
        with np.load(path) as file:
            arrays = {n: file[n].copy() for n in file.files}
        change(r, arrays)
        buffer = io.BytesIO()
        save: Any = np.savez_compressed if name != "lava/arrays.npz" else np.savez
        save(buffer, **arrays)
        path.write_bytes(buffer.getvalue())

    return do


def one_by_one(*endings: str) -> Callable[[Random, dict[str, NDArray[Any]]], None]:
    def change(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
        names = [n for n in sorted(arrays) if n.endswith(endings) and arrays[n].size]
        if not names:
            raise Inapplicable
        name = names[r.integers(len(names))]
        arrays[name] = moved(r, arrays[name], 127 if arrays[name].dtype == np.int8 else np.inf)

    return change


def one_bit(start: str, ending: str = "") -> Callable[[Random, dict[str, NDArray[Any]]], None]:
    def change(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
        names = [n for n in sorted(arrays) if n.startswith(start) and n.endswith(ending)]
        array = arrays[names[r.integers(len(names))]]
        array.flat[r.integers(array.size)] ^= 1

    return change


def same_shape(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
    """Two arrays of one shape and type, exchanged."""
    names = sorted(arrays)
    pairs = [
        (a, b)
        for k, a in enumerate(names)
        for b in names[k + 1 :]
        if arrays[a].shape == arrays[b].shape
        and arrays[a].dtype == arrays[b].dtype
        and not np.array_equal(arrays[a], arrays[b])
    ]
    if not pairs:
        raise Inapplicable
    a, b = pairs[r.integers(len(pairs))]
    arrays[a], arrays[b] = arrays[b], arrays[a]


def dropped(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
    del arrays[sorted(arrays)[r.integers(len(arrays))]]


def samples_turned(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        arrays[name] = np.roll(array, 1, axis=0 if name == "labels" else 1)


def sample_dropped(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        arrays[name] = array[:-1] if name == "labels" else array[:, :-1]


def another_type(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
    name = sorted(arrays)[r.integers(len(arrays))]
    arrays[name] = arrays[name].astype(np.int16)


edit("a weight by one", "golden_network.npz")(archive("golden_network.npz", one_by_one("/weight")))
edit("a threshold by one", "golden_network.npz")(
    archive("golden_network.npz", one_by_one("/threshold"))
)
edit("two arrays exchanged", "golden_network.npz")(archive("golden_network.npz", same_shape))
edit("an array dropped", "golden_network.npz")(archive("golden_network.npz", dropped))
edit("a spike", "golden.npz")(archive("golden.npz", one_bit("spikes/")))
edit("a membrane by one", "golden.npz")(archive("golden.npz", one_bit("membranes/")))
edit("an input spike", "golden.npz")(archive("golden.npz", one_bit("inputs")))
edit("two recordings exchanged", "golden.npz")(archive("golden.npz", same_shape))
edit("a recording dropped", "golden.npz")(archive("golden.npz", dropped))
edit("samples in another order", "golden.npz")(archive("golden.npz", samples_turned))
edit("a sample dropped", "golden.npz")(archive("golden.npz", sample_dropped))
edit("another type of numbers", "golden.npz")(archive("golden.npz", another_type))
edit("a weight by one", "lava/arrays.npz")(archive("lava/arrays.npz", one_by_one(".weight")))
edit("an input spike", "lava/arrays.npz")(archive("lava/arrays.npz", one_bit("", ".spikes")))
edit("two arrays exchanged", "lava/arrays.npz")(archive("lava/arrays.npz", same_shape))


@edit("a label that was right", "golden.npz")
def _(r: Random, folder: Path) -> None:
    golden = read_golden(folder / "golden.npz")
    graph = read_nir(folder / "model.nir")
    decided = golden.membranes[graph.outputs[0]][-1].reshape(len(golden.labels), -1).argmax(1)
    right = np.flatnonzero(decided == golden.labels)

    def change(r: Random, arrays: dict[str, NDArray[Any]]) -> None:
        k = right[r.integers(len(right))]
        arrays["labels"][k] = (arrays["labels"][k] + 1) % 4

    archive("golden.npz", change)(r, folder)


@edit("a byte of a value", "model.net")
def _(r: Random, folder: Path) -> None:
    path = folder / "model.net"
    if not path.is_file():
        raise Inapplicable
    with h5py.File(path, "r+") as file:
        layer = file["layer/1"]
        weight = layer["weight"][()]
        del layer["weight"]
        layer["weight"] = moved(r, weight, 127)
