"""netx files as graphs: our own exactly, those of lava-dl as far as the graph can say them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape, build
from purespike.compiler.ir.ops import Flatten, Linear, Neuron, Scale
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.targets.netx.delays import Steps, delayed, read_delay
from purespike.targets.netx.document import NEVER, Document, Field
from purespike.targets.netx.emit import FORMAT, to_document
from purespike.targets.netx.errors import NetxFileError
from purespike.targets.netx.layers import (
    check_fields,
    implied_source,
    number,
    read_encoder,
    read_neuron,
    read_source,
    read_synapse,
    shape_of,
)
from purespike.targets.nir.guard.guard import Format, Frame, parsed
from purespike.targets.spec import LOIHI2

NETX = Format("netx", NetxFileError)
LAYERS = 10_000
WHY = {
    "dt": "netx files do not say how long a time step is (seconds)",
    "steps": "the file does not say how many time steps a sample has",
}
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


def read_netx(
    path: str | os.PathLike[str],
    *,
    steps: int | None = None,
    dt: float | None = None,
    assumed: int | None = None,
    shape: tuple[int, ...] | None = None,
    assumed_shape: tuple[int, ...] | None = None,
) -> Graph:
    """The network in a netx file, in Loihi's fixed point as Lava runs it.

    The file is parsed in a child process with limits (`purespike.targets.nir.guard.guard`). A file
    that purespike wrote comes back equal; it is refused if it was modified.

    Args:
        path: The file.
        steps: Time steps per sample, T; needed where the file has no ``simulation``.
        dt: Seconds per time step; needed for a file that purespike did not write.
        assumed: Steps of a sample, where neither the file nor the caller says it.
        shape: Of the input, (C, H, W); needed where there is no input block and a convolution of
            a stride above 1 comes first.
        assumed_shape: The same, where neither the file nor the caller says it.

    Raises:
        NetxFileError: For a damaged or hostile file, a layer that the graph cannot say exactly
            (delays of single synapses, recurrence, graded spikes, other neurons), or steps and dt
            that are missing or differ from what the file says.
    """
    document = parsed(path, NETX, _document)
    try:
        if document.metadata:
            return _own(document, steps, dt)
        lasts = {"Ts", "tSample"} <= document.simulation.keys()
        steps = assumed if steps is None and not lasts else steps
        why = {"dt": "" if dt is not None else WHY["dt"]}
        why["steps"] = "" if lasts or steps is not None else WHY["steps"]
        source = None
        try:
            source = _source(document, shape, assumed_shape)
        except NetxFileError as e:
            if not e.open:
                raise
            why |= e.open
        missing = {name: reason for name, reason in why.items() if reason}
        if dt is None or source is None or missing:
            raise NetxFileError(
                "purespike did not write this file, and it leaves open: " + ", ".join(missing),
                open=missing,
            )
        return _graph(document, _steps(document, steps), dt, {}, source)
    except PurespikeError as e:
        where = f"{os.fspath(path)}: {e.where}" if e.where else os.fspath(path)
        raise NetxFileError(
            e.message, found=e.found, allowed=e.allowed, where=where, remedy=e.remedy, open=e.open
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
        raise NetxFileError("the purespike metadata is not text", where="purespike")
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
        source = _source(document, None, None)
        graph = _graph(document, _steps(document, steps), said, data, source)
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
        step, sample = (number(document.simulation, k) for k in ("Ts", "tSample"))
        said = sample / step if step > 0 else 0.0
    if said is None and stated is None:
        raise NetxFileError("the file leaves open: steps", open={"steps": WHY["steps"]})
    steps = stated if said is None else said
    if steps is None or steps != int(steps) or not 1 <= steps <= 1 << 20:
        raise NetxFileError("an impossible number of time steps", found=str(steps))
    if stated is not None and stated != steps:
        raise NetxFileError(
            "the file says another number of steps", found=f"{steps:g}", allowed=str(stated)
        )
    return int(steps)


def _source(document: Document, shape: Shape | None, assumed: Shape | None) -> tuple[Edge, bool]:
    """What goes in, and whether the first layer encodes it."""
    first = document.layers[0]
    if first.get("type") != "input":
        return implied_source(document.layers, shape, assumed), False
    source, encodes = read_source(first, "layer/0")
    if shape not in (None, source.shape):
        raise NetxFileError(
            "the file says another shape", found=f"{source.shape}", allowed=f"{shape}"
        )
    return source, encodes


def _graph(
    document: Document,
    steps: int,
    dt: float,
    data: Mapping[str, Any],
    takes: tuple[Edge, bool],
) -> Graph:
    """The layers as nodes; ``data`` gives names and what netx has no field for."""
    first = document.layers[0]
    source, encodes = takes
    begin = int(first.get("type") == "input")
    if data:
        domain = Domain(*(float(x) for x in data["domain"]))
        source = replace(source, name=str(data["input"]), domain=domain)
    notes = list(data.get("nodes", ()))
    nodes: list[tuple[str, Op, tuple[str, ...]]] = []
    origins: dict[str, str] = {}
    last, shape = source.name, source.shape
    waiting: Steps | None = None  # steps that the spikes of the last layer wait

    def put(op: Op, default: str, note: Mapping[str, Any]) -> None:
        nonlocal last
        name = str(note.get("name", default))
        nodes.append((name, op, (last,)))
        origins[name] = str(note.get("origin", ""))
        last = name

    if encodes:
        put(Scale(np.array(1.0)), "bias_mant0", {})  # 1 x what drives each neuron
        put(read_encoder(first, "layer/0"), "neuron0", {})
    for index, layer in enumerate(document.layers[begin:], start=begin):
        where = f"layer/{index}"
        kind = str(layer.get("type", ""))
        check_fields(layer, kind, where)
        if kind == "input":
            raise NetxFileError("a second input", where=where)
        if kind == "flatten" and len(shape) == 1:
            continue  # as in netx, which flattens what a layer makes
        if kind == "flatten":
            put(Flatten(), f"flatten{index}", notes.pop(0) if notes else {})
            shape = (int(np.prod(shape)),)
            continue
        synapse = read_synapse(layer, kind, where)
        before: Steps = np.zeros(1, np.int64)
        behind: Steps | None = None
        if "delay" in layer:
            before, behind = read_delay(layer, kind, synapse, where)
        waits = before if waiting is None else before + waiting
        note = notes.pop(0) if notes else {}
        size, (shape, _) = shape, synapse.infer(Edge("", shape, SPIKE))
        if waits.any() and isinstance(synapse, Linear):
            parts = delayed(synapse, np.broadcast_to(waits, size), last, f"{kind}{index}")
            for name, op, reads in parts:
                nodes.append((name, op, reads))
                origins[name] = ""
            last = parts[-1][0]
        elif waits.any():
            _undelivered(where)
        else:
            put(synapse, f"{kind}{index}", note)
        waiting = behind if behind is not None and behind.any() else None
        said = shape_of(layer)
        if kind == "dense":  # (C,), or (C, 1, 1)
            said = (int(np.prod(said)),)
        if shape != said:
            raise NetxFileError(
                "the shape is not what the weights make",
                where=where,
                found=f"{said}",
                allowed=f"{shape}",
            )
        note = notes.pop(0) if notes else {}
        last_layer = index == len(document.layers) - 1
        neuron = read_neuron(layer, note, where, last=last_layer)
        put(neuron, f"neuron{index}", note)
        if waiting is not None and last_layer:
            _undelivered(where)
    if notes:
        raise ValueError("more nodes than layers")
    graph = build((source,), nodes, (last,), steps, dt)
    _check_ranges(graph)
    return graph.rebuilt(_with_origin(graph, origins))


def _undelivered(where: str) -> NoReturn:
    raise NetxFileError(
        "spikes that wait are read by no dense layer",
        where=where,
        allowed="delays, of 0 steps or more, in front of a dense layer",
        remedy="train the network without these delays",
    )


def _check_ranges(graph: Graph) -> None:
    """Where Lava's arithmetic would part from the graph's: its current wraps around."""
    for name, bounds in bound_neurons(graph, current_limit=LOIHI2.current_limit).items():
        node = graph.producer(name)
        # A readout without a neuron of its own integrates in the current, which does not saturate;
        # any other would fire.
        integrates = node is not None and isinstance(node.op, Neuron) and not node.op.fires
        reach = max(abs(b) for b in bounds.membrane)
        if bounds.verdict == "may wrap" or (integrates and reach > NEVER):
            raise NetxFileError(
                "a current may wrap around in Lava, or a readout fire",
                where=f"%{name}",
                found=f"{bounds.current[0]:g} to {bounds.current[1]:g} weights per step",
                allowed=f"+-{LOIHI2.current_limit}; readout: +-{NEVER} in {graph.steps} steps",
            )


def _with_origin(graph: Graph, origins: Mapping[str, str]) -> list[Node]:
    return [replace(n, origin=origins[n.name]) for n in graph.nodes]


def same_netx(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Do two files say the same, however HDF5 packs it?

    Raises:
        NetxFileError: If one of them cannot be read.
    """
    a, b = (parsed(path, NETX, _document) for path in (one, other))
    return a.digest() == b.digest() and a.metadata == b.metadata
