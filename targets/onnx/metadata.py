"""What a golden model knows about itself: its origin, its units, its states, its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from onnx import ModelProto, helper

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.targets.onnx.body import OnnxError, State
from purespike.targets.onnx.neuron import membrane_unit

IR_VERSION = 10
OPSET = 21
"""Pinned: onnx writes newer versions by default than the onnxruntime of its day reads."""

_PREFIX = "purespike."
_HASH = _PREFIX + "content_sha256"


def stamp(
    model: ModelProto,
    graph: Graph,
    states: Sequence[State],
    form: str,
    notes: Mapping[str, Any],
    *,
    domains: Sequence[str] = (),
) -> None:
    """Complete a model that holds a graph only; each entry is JSON under ``purespike.<key>``.

    Keys: form, T, dt (seconds), nodes (operation and module path by node), domains (by edge),
    states (see :class:`State`), membrane_units (counts of the file's membrane that make one
    weight), tool, content_sha256 (over the file with that entry left out), and the ``notes``.
    ``domains`` are the operator sets beside ONNX's own, each of version 1.

    Raises:
        OnnxError: If a note has a reserved key or is not what JSON can say.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "purespike", version("purespike")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.opset_import.extend(helper.make_opsetid(d, 1) for d in domains)
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    entries: dict[str, Any] = {
        "form": form,
        "T": graph.steps,
        "dt": graph.dt,
        "nodes": {
            n.name: {"op": type(n.op).__name__, "origin": graph.origin(n.name)} for n in graph.nodes
        },
        "domains": {e.name: str(e.domain) for e in graph.edges()},
        "states": [asdict(s) for s in states],
        "membrane_units": {n.name: membrane_unit(graph, n) for n in neurons},
        "tool": f"purespike {version('purespike')}",
    }
    if clash := sorted({*entries, "content_sha256"} & set(notes)):
        raise OnnxError("a note bears a reserved name", found=", ".join(clash))
    # Notes in order of their names: whoever reads them back and writes again gets the same file.
    for key, value in (entries | dict(sorted(notes.items()))).items():
        try:
            text = json.dumps(value, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as e:
            raise OnnxError(f"the note {key!r} is not JSON", found=str(e)) from None
        _put(model, _PREFIX + key, text)
    _put(model, _HASH, json.dumps(content_hash(model)))


def metadata(model: ModelProto) -> dict[str, Any]:
    """The entries that :func:`stamp` wrote, without prefix.

    Raises:
        OnnxError: If the file is not one of ours, or an entry is damaged.
    """
    entries: dict[str, Any] = {}
    for prop in model.metadata_props:
        if prop.key.startswith(_PREFIX):
            try:
                entries[prop.key.removeprefix(_PREFIX)] = json.loads(prop.value)
            except (ValueError, RecursionError) as e:
                raise OnnxError(f"the metadata {prop.key} is damaged", found=str(e)) from None
    missing = {"form", "T", "states", "membrane_units", "content_sha256"} - set(entries)
    if missing:
        raise OnnxError(
            "the file is not a golden model of purespike",
            found=f"metadata without {', '.join(sorted(missing))}",
            allowed="a file that write_onnx made",
        )
    return entries


def is_own(model: ModelProto) -> bool:
    """Does the file say that purespike wrote it?"""
    return any(prop.key == _HASH for prop in model.metadata_props)


def content_hash(model: ModelProto) -> str:
    """SHA-256 of the model without its own hash, in hexadecimal."""
    bare = model
    if is_own(model):
        bare = ModelProto()
        bare.CopyFrom(model)
        del bare.metadata_props[:]
        bare.metadata_props.extend(p for p in model.metadata_props if p.key != _HASH)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _put(model: ModelProto, key: str, value: str) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value
