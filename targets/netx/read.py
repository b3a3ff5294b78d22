"""netx files as graphs: our own exactly, those of lava-dl as far as the graph can say them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.domain import SPIKE, Domain
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import Edge, Graph, Node, Op, Shape, build
from purespike.compiler.ops import Conv2d, Flatten, Linear, Neuron
from purespike.compiler.ops.synapse import Pair
from purespike.compiler.ranges import bound_neurons
from purespike.targets.netx.document import DECAY, NEVER, Document, Field, Fields
from purespike.targets.netx.emit import FORMAT, to_document
from purespike.targets.netx.errors import NetxFileError
from purespike.targets.netx.synapse import survives
from purespike.targets.nir.guard import Format, Frame, parsed
from purespike.targets.spec import LOIHI2

NETX = Format("netx", NetxFileError)
LAYERS = 10_000
LARGEST = 1 << 26  # values that a layer may send
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, MemoryError)
_READ = {
    "input": {"type", "shape"},
    "flatten": {"type", "shape"},
    "dense": {"type", "shape", "weight", "bias"},
    "conv": {"type", "shape", "weight", "bias", "stride", "padding", "dilation", "groups"},
}
# netx does not use these, or they only repeat what is said elsewhere.
_IGNORED = {"inChannels", "outChannels", "kernelSize", "inFeatures", "outFeatures"}
_NEURON = {"type", "iDecay", "vDecay", "vThMant", "refDelay", "wgtExp", "gradedSpike"}


def read_netx(
    path: str | os.PathLike[str], *, steps: int | None = None, dt: float | None = None
) -> Graph:
    """The network in a netx file, in Loihi's fixed point as Lava runs it.

    The file is parsed in a child process with limits (`purespike.targets.nir.guard`). A file that
    purespike wrote comes back equal; it is refused if it was modified.

    Args:
        path: The file.
        steps: Time steps a sample, T; needed where the file has no ``simulation``.
        dt: Seconds a time step; needed for a file that purespike did not write.

    Raises:
        NetxFileError: For a damaged or hostile file, a layer that the graph cannot say exactly
            (delays, recurrence, graded spikes, other neurons), or steps and
            dt that are missing or differ from what the file says.
    """
    document = parsed(path, NETX, _document)
    try:
        if document.metadata:
            return _own(document, steps, dt)
        if dt is None:
            raise NetxFileError(
                "netx files do not say how long a time step is",
                remedy="state dt in seconds",
            )
        return _graph(document, _steps(document, steps), dt, {})
    except PurespikeError as e:
        where = f"{os.fspath(path)}: {e.where}" if e.where else os.fspath(path)
        raise NetxFileError(
            e.message, found=e.found, allowed=e.allowed, where=where, remedy=e.remedy
        ) from None
    except _BROKEN as e:
        raise NetxFileError(
            "the file does not have the form of a netx network",
            where=os.fspath(path),
            found=f"{type(e).__name__}: {str(e)[:80]}",
        ) from None


def _document(frame: Frame) -> Document:
    top = frame.tree["group"]
    layers = top["layer"]["group"]
    if not 1 <= len(layers) <= LAYERS or set(layers) != {str(i) for i in range(len(layers))}:
        raise NetxFileError(
            "the layers are not numbered from 0",
            where="layer",
            found=", ".join(sorted(layers))[:80],
            allowed=f"0, 1, 2, ... at most {LAYERS}",
        )
    found = [_fields(frame, layers[str(i)], f"layer/{i}") for i in range(len(layers))]
    simulation = _fields(frame, top.get("simulation", {"group": {}}), "simulation")
    metadata = top.get("purespike", {"text": ""})["text"]
    if not isinstance(metadata, str):
        raise NetxFileError("the purespike metadata is no text", where="purespike")
    return Document(tuple(found), simulation, metadata)


def _fields(frame: Frame, tree: Mapping[str, Any], where: str) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for name, value in tree["group"].items():
        if "group" in value:
            inner = _fields(frame, value, f"{where}/{name}")
            fields |= {f"{name}/{k}": v for k, v in inner.items()}
        elif "words" in value and len(value["words"]) == 1:
            fields[name] = str(value["words"][0])
        else:
            fields[name] = frame.field(value, f"{where}/{name}")
    return fields


def _own(document: Document, steps: int | None, dt: float | None) -> Graph:
    try:
        data = json.loads(document.metadata)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            _mismatch(f"no metadata of format {FORMAT}")
        if data["sha256"] != document.digest():
            raise NetxFileError(
                "the layers have been modified since purespike wrote the file",
                found="they do not have the SHA-256 that it states",
                remedy="use the original, or compile the network again",
            )
        said = float(data["dt"])
        if dt is not None and dt != said:
            raise NetxFileError("the file says another dt", found=f"{said} s", allowed=f"{dt} s")
        graph = _graph(document, _steps(document, steps), said, data)
        again = to_document(graph)
    except (*_BROKEN, RecursionError) as e:
        _mismatch(f"{type(e).__name__}: {str(e)[:80]}")
    if again.metadata != document.metadata:  # it holds the hash of the layers
        _mismatch("written again, the network is another")
    return graph


def _mismatch(found: str) -> NoReturn:
    raise NetxFileError(
        "the purespike metadata does not describe the layers of the file",
        found=found,
        remedy="use the original, or compile the network again",
    )


def _steps(document: Document, stated: int | None) -> int:
    said = None
    if {"Ts", "tSample"} <= document.simulation.keys():
        step, sample = (_number(document.simulation, k) for k in ("Ts", "tSample"))
        said = sample / step if step > 0 else 0.0
    if said is None and stated is None:
        raise NetxFileError(
            "the file does not say how many time steps a sample has", remedy="state steps"
        )
    steps = stated if said is None else said
    if steps is None or steps != int(steps) or not 1 <= steps <= 1 << 20:
        raise NetxFileError("an impossible number of time steps", found=str(steps))
    if stated is not None and stated != steps:
        raise NetxFileError(
            "the file says another number of steps", found=f"{steps:g}", allowed=str(stated)
        )
    return int(steps)


def _graph(document: Document, steps: int, dt: float, data: Mapping[str, Any]) -> Graph:
    """The layers as nodes; ``data`` gives names and what netx has no field for."""
    first = document.layers[0]
    if first.get("type") != "input" or "shape" not in first or "neuron/type" in first:
        raise NetxFileError(
            "the first layer must be an input of spikes with a shape and no neuron",
            where="layer/0",
            found=", ".join(sorted(first)),
            remedy="netx drives input neurons through their bias: encode on the host instead",
        )
    domain = Domain(*(float(x) for x in data["domain"])) if data else SPIKE
    source = Edge(str(data["input"]) if data else "input", _shape(first), domain)
    notes = list(data.get("nodes", ()))
    nodes: list[tuple[str, Op, tuple[str, ...]]] = []
    origins: dict[str, str] = {}
    last, shape = source.name, source.shape

    def put(op: Op, default: str, note: Mapping[str, Any]) -> None:
        nonlocal last
        name = str(note.get("name", default))
        nodes.append((name, op, (last,)))
        origins[name] = str(note.get("origin", ""))
        last = name

    for index, layer in enumerate(document.layers[1:], start=1):
        where = f"layer/{index}"
        kind = str(layer.get("type"))
        _check_fields(layer, kind, where)
        if kind == "input":
            raise NetxFileError("a second input", where=where)
        if kind == "flatten":
            put(Flatten(), f"flatten{index}", notes.pop(0) if notes else {})
            shape = (int(np.prod(shape)),)
            continue
        synapse = _synapse(layer, kind, where)
        put(synapse, f"{kind}{index}", notes.pop(0) if notes else {})
        shape, _ = synapse.infer(Edge("", shape, SPIKE))
        if shape != _shape(layer) or int(np.prod(shape)) > LARGEST:
            raise NetxFileError(
                "the shape is not what the weights make",
                where=where,
                found=f"{_shape(layer)}",
                allowed=f"{shape}",
            )
        note = notes.pop(0) if notes else {}
        put(_neuron(layer, note, where), f"neuron{index}", note)
    if notes:
        raise ValueError("more nodes than layers")
    graph = build((source,), nodes, (last,), steps, dt)
    _check_ranges(graph)
    return graph.rebuilt(_with_origin(graph, origins))


def _check_ranges(graph: Graph) -> None:
    """Where Lava's arithmetic would part from the graph's: its current wraps around."""
    limit = LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits
    for name, bounds in bound_neurons(graph, current_limit=LOIHI2.current_limit).items():
        node = graph.producer(name)
        # A readout without a neuron of its own integrates in the current, which does not saturate.
        integrates = node is not None and isinstance(node.op, Neuron) and not node.op.fires
        reach = max(abs(b) for b in bounds.membrane)
        if bounds.verdict == "may wrap" or (integrates and reach > limit):
            raise NetxFileError(
                "a current may wrap around in Lava",
                where=f"%{name}",
                found=f"{bounds.current[0]:g} to {bounds.current[1]:g} weights a step",
                allowed=f"+-{LOIHI2.current_limit}; readout: +-{limit:g} in {graph.steps} steps",
            )


def _with_origin(graph: Graph, origins: Mapping[str, str]) -> list[Node]:
    return [replace(n, origin=origins[n.name]) for n in graph.nodes]


def _check_fields(layer: Fields, kind: str, where: str) -> None:
    if kind not in _READ:
        raise NetxFileError(
            "netx cannot run this layer, or purespike cannot say it",
            where=where,
            found=kind,
            allowed=", ".join(_READ),
        )
    fields = {k for k in layer if not k.startswith("neuron/")}
    neuron = {k.removeprefix("neuron/") for k in layer if k.startswith("neuron/")}
    unknown = sorted(fields - _READ[kind] - _IGNORED) + sorted(neuron - _NEURON)
    if unknown:
        raise NetxFileError(
            "the graph cannot say all of this layer",
            where=where,
            found=", ".join(unknown),
            allowed=", ".join(sorted(_READ[kind] | {f"neuron/{k}" for k in _NEURON})),
        )


def _synapse(layer: Fields, kind: str, where: str) -> Conv2d | Linear:
    weight = _array(layer, "weight")
    if kind == "conv" and weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]  # SLAYER's convolutions are 3-D over time
    if kind == "dense" and weight.ndim == 1:
        weight = weight.reshape(_shape(layer)[0], -1)
    whole = np.trunc(weight).astype(np.int64)  # as netx does
    if kind == "dense" and not survives(whole):
        raise NetxFileError(
            "netx and Lava would change these weights",
            where=where,
            found=f"{whole.min(initial=0)} to {whole.max(initial=0)}",
            allowed="what a synapse of 8 bits holds",
            remedy="export again with quantized weights",
        )
    bias = np.trunc(_array(layer, "bias")) if "bias" in layer else None
    if kind == "dense":
        return Linear(whole, bias)
    if bias is not None and bias.ndim != 1:
        raise NetxFileError(
            "a bias for each neuron", where=where, found=f"{bias.shape}", allowed="(channels,)"
        )
    stride, padding, dilation = (_pair(layer, k) for k in ("stride", "padding", "dilation"))
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise NetxFileError(
            "impossible geometry", where=where, found=f"{stride}, {padding}, {dilation}"
        )
    groups = int(_number(layer, "groups"))
    if not 1 <= groups <= len(weight):
        raise NetxFileError("an impossible number of groups", where=where, found=str(groups))
    return Conv2d(whole, bias, stride, padding, dilation, groups)


def _neuron(layer: Fields, note: Mapping[str, Any], where: str) -> Neuron:
    kind = layer.get("neuron/type")
    # Without a neuron, netx integrates (iDecay 0, vDecay 4096); a bias would not be integrated.
    if kind is None and layer["type"] == "dense" and "bias" not in layer:
        return Neuron(np.array(NEVER), reset="none", fixed=LOIHI2.fixed)
    if kind not in ("LOIHI", "CUBA"):
        raise NetxFileError(
            "a neuron that the graph does not have",
            where=where,
            found=str(kind),
            allowed="LOIHI, CUBA",
        )
    current, decay, vth = (_number(layer, f"neuron/{k}") for k in ("iDecay", "vDecay", "vThMant"))
    if not (current.is_integer() and 1 <= current <= DECAY):  # Lava's du = iDecay - 1 has 12 bits
        raise NetxFileError(
            "iDecay is out of range",
            where=where,
            found=f"{current:g}",
            allowed=f"1 to {DECAY}: what a step takes of the current, in {DECAY}ths",
        )
    if current < DECAY and "bias" in layer and bool(_array(layer, "bias").any()):
        raise NetxFileError(
            "the bias goes past a current that fades, straight to the membrane",
            where=where,
            found=f"iDecay {current:g} and a bias",
            allowed=f"iDecay {DECAY}, or no bias: the graph's biases are part of the current",
        )
    if layer.get("neuron/gradedSpike") is not None and _number(layer, "neuron/gradedSpike"):
        raise NetxFileError("spikes are graded", where=where, allowed="binary spikes")
    if not (decay.is_integer() and 0 <= decay <= DECAY and vth.is_integer() and vth >= 0):
        raise NetxFileError(
            "vDecay or vThMant is out of range", where=where, found=f"{decay:g}, {vth:g}"
        )
    kept = 0.0 if note.get("memoryless") else 1 - decay / DECAY
    shape = tuple(int(n) for n in note.get("threshold_shape", ()))
    if "readout" in note:
        threshold = np.array([float(t) for t in note["readout"]]).reshape(shape)
        return Neuron(threshold, kept, reset="none", fixed=LOIHI2.fixed)
    # Lava fires on v > vth; the least that is more is a whole weight only where nothing fades.
    fades = kept not in (0.0, 1.0) or current < DECAY
    loose = np.full(shape, vth + (1 / 64 if fades else 1.0))
    return Neuron(loose, kept, current_decay=1 - current / DECAY, fixed=LOIHI2.fixed)


def _array(fields: Fields, name: str) -> NDArray[Any]:
    value = fields[name]
    if isinstance(value, str):
        raise TypeError(f"{name} is a text")
    return value


def _number(fields: Fields, name: str) -> float:
    value = _array(fields, name)
    if value.size != 1:
        raise ValueError(f"{name} has {value.size} values")
    return float(value.reshape(())[()])


def _pair(fields: Fields, name: str) -> Pair:
    value = _array(fields, name).reshape(-1)
    if value.size not in (1, 2):
        raise ValueError(f"{name} has {value.size} values")
    return int(value[0]), int(value[-1])


def _shape(fields: Fields) -> Shape:
    shape = tuple(int(n) for n in np.atleast_1d(_array(fields, "shape")))
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or int(np.prod(shape)) > LARGEST:
        raise ValueError(f"shape {shape}")
    return shape
