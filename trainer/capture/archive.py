"""What stands in a ``.pt2`` file of ``torch.export.save``, read as data.

The file is a zip of JSON and raw weights. ``torch.export.load`` is not used: it unpickles the
sample inputs (and weights and constants marked for it), which can run whatever code the file names.
Here pickles are never opened, so that a file needs no trust.

Source: torch 2.13, torch/_export/serde/schema.py (schema 8) and torch/export/pt2_archive.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purespike.compiler.files.reading import opened
from purespike.trainer.errors import CheckpointError

__all__ = ["Archive", "Call", "read_archive"]

SCHEMA = 8  # the major version of the format
LARGEST = 1 << 32  # bytes of all that is read
_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 6: "<f2", 7: "<f4", 8: "<f8", 12: "?"}


@dataclass(frozen=True)
class Call:
    """One node of an exported program.

    Attributes:
        name: Of the node.
        target: ``aten.conv2d.default``.
        tensors: The arguments that are values of the program, by the names of the schema.
        options: The other arguments that are given.
        outputs: The values that it makes.
        path: The module in whose forward it stands.
        scope: That module and which of its calls.
        kind: The class of that module.
    """

    name: str
    target: str
    tensors: Mapping[str, str]
    options: Mapping[str, Any]
    outputs: tuple[str, ...]
    path: str
    scope: str
    kind: str


@dataclass(frozen=True)
class Archive:
    """An exported program.

    Attributes:
        calls: In the order in which they run.
        inputs: The values that the caller gives, by name.
        constants: Parameters, buffers and constants by the name of their value.
        outputs: What it returns: ``main`` if that is one tensor.
        sizes: Of every value; None for an axis that is not fixed.
    """

    calls: tuple[Call, ...]
    inputs: tuple[str, ...]
    constants: Mapping[str, Tensor]
    outputs: Mapping[str, str]
    sizes: Mapping[str, tuple[int | None, ...]]


def read_archive(path: Path) -> Archive:
    """Read the exported program in a file.

    Raises:
        CheckpointError: If the file is damaged, of another version, holds more than one program, or
            keeps something as a pickle.
    """
    try:
        with (
            opened(path, LARGEST, CheckpointError, "the exported program") as content,
            zipfile.ZipFile(content) as file,
        ):
            return _archive(file, str(path))
    except CheckpointError:
        raise
    except (
        OSError,
        zipfile.BadZipFile,
        ArithmeticError,
        AttributeError,
        LookupError,
        NotImplementedError,  # of zipfile: a compression or encryption that it does not know
        RecursionError,
        RuntimeError,  # of torch: a view that leaves its storage
        TypeError,
        ValueError,
    ) as e:
        found = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:120]
        raise _refused("the exported program cannot be read", path, found) from None


def _refused(what: str, where: object, found: str, allowed: str = "") -> CheckpointError:
    return CheckpointError(
        what,
        where=str(where),
        found=found,
        allowed=allowed or f"what torch.export.save of torch 2.13 writes (schema {SCHEMA})",
        remedy="export and save the model again",
    )


def _archive(file: zipfile.ZipFile, where: str) -> Archive:
    entries = {i.filename.partition("/")[2]: i for i in file.infolist()}
    packed = [i.filename for i in file.infolist() if i.compress_type != zipfile.ZIP_STORED]
    if packed or sum(i.file_size for i in file.infolist()) > LARGEST:
        found = f"{packed[0]} is compressed" if packed else "more than 4 GiB"
        raise _refused("the archive is not as torch writes it", where, found)
    programs = [n for n in entries if n.startswith("models/") and n.endswith(".json")]
    if len(programs) != 1:
        found = ", ".join(programs) or "no models/*.json: compiled code, or another format"
        raise _refused("the archive does not hold one exported program", where, found)
    model = programs[0].removeprefix("models/").removesuffix(".json")
    if "byteorder" in entries and file.read(entries["byteorder"]) != b"little":
        raise _refused("the weights have another byte order", where, "big", "little")
    program = json.loads(file.read(entries[programs[0]]))
    version = program["schema_version"]
    if version["major"] != SCHEMA:
        found = f"{version['major']}.{version['minor']}"
        raise _refused("the exported program has another version", where, found)
    stored: dict[str, Tensor] = {}
    for folder, kind in (("weights", "weights"), ("constants", "constants")):
        config = entries.get(f"data/{folder}/{model}_{kind}_config.json")
        if config is None:
            raise _refused("the weights are not stored as raw numbers", where, f"no {kind} config")
        for name, entry in json.loads(file.read(config))["config"].items():
            if entry["use_pickle"] or entry["tensor_meta"] is None:
                raise _refused(
                    f"{name} is stored as a pickle, which can run code",
                    where,
                    f"data/{folder}/{entry['path_name']}",
                    "plain tensors as parameters, buffers and constants",
                )
            raw = file.read(entries[f"data/{folder}/{entry['path_name']}"])
            stored[name] = _tensor(name, raw, entry["tensor_meta"], where)
    return _program(program["graph_module"], stored, where)


def _tensor(name: str, raw: bytes, meta: Mapping[str, Any], where: str) -> Tensor:
    kind = _TYPES.get(meta["dtype"])
    if kind is None:
        found = f"{name}: torch's scalar type number {meta['dtype']}"
        raise _refused("weights of this type are not read", where, found, "float16, 32, 64")
    flat = torch.from_numpy(np.frombuffer(raw, kind).copy())
    sizes, strides = _ints(meta["sizes"]), _ints(meta["strides"])
    if math.prod(sizes) > flat.numel() or meta["layout"] != 7:  # a strided tensor
        raise _refused(f"{name} does not fit its description", where, f"{sizes}")
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()


def _ints(items: list[Mapping[str, int]]) -> tuple[int, ...]:
    return tuple(item["as_int"] for item in items)


def _program(module: Mapping[str, Any], stored: Mapping[str, Tensor], where: str) -> Archive:
    graph, signature = module["graph"], module["signature"]
    constants: dict[str, Tensor] = {}
    inputs: list[str] = []
    for spec in signature["input_specs"]:
        ((kind, held),) = spec.items()
        if kind == "user_input":
            ((sort, value),) = held["arg"].items()
            inputs.append(value["name"] if sort == "as_tensor" else f"{sort} {value}")
        else:  # parameter, buffer, tensor_constant
            constants[held["arg"]["name"]] = stored[held[f"{kind}_name"]]
    returned = []
    for spec in signature["output_specs"]:
        ((kind, held),) = spec.items()
        if kind != "user_output":
            raise _refused(
                "the program changes its own buffers",
                where,
                json.dumps(spec)[:120],
                "a model that was exported in evaluation mode: model.eval()",
            )
        returned.append(held["arg"])
    sizes = {
        name: tuple(size.get("as_int") for size in value["sizes"])
        for name, value in graph["tensor_values"].items()
    }
    outputs = _outputs(module["module_call_graph"][0]["signature"]["out_spec"], returned, where)
    calls = tuple(_call(node) for node in graph["nodes"])
    return Archive(calls, tuple(inputs), constants, outputs, sizes)


def _outputs(out_spec: str, returned: list[Mapping[str, Any]], where: str) -> dict[str, str]:
    """What is returned, by key."""
    tree = json.loads(out_spec)[1]
    if tree["type"] is None:
        keys = ["main"]
    elif tree["type"] == "builtins.dict":
        keys = json.loads(tree["context"])
    else:
        keys = []
    leaves = all(child["type"] is None for child in tree["children_spec"])
    if "main" not in keys or not leaves or len(keys) != len(returned):
        raise _refused(
            "the program does not say which output is deployed",
            where,
            f"{tree['type']} {tree['context']}",
            "a tensor, or a dict of tensors with the entry 'main'",
        )
    given = zip(keys, returned, strict=True)
    return {key: value["as_tensor"]["name"] for key, value in given if "as_none" not in value}


def _call(node: Mapping[str, Any]) -> Call:
    tensors: dict[str, str] = {}
    options: dict[str, Any] = {}
    for given in node["inputs"]:
        ((sort, value),) = given["arg"].items()
        if sort == "as_tensor":
            tensors[given["name"]] = value["name"]
        elif sort == "as_tensors":
            tensors |= {f"{given['name']}[{k}]": v["name"] for k, v in enumerate(value)}
        else:
            options[given["name"]] = None if sort == "as_none" else value
    outputs = tuple(o["as_tensor"]["name"] for o in node["outputs"] if "as_tensor" in o)
    stack = node["metadata"].get("nn_module_stack", "")
    entries = [entry.split(",") for entry in stack.split(";")] if stack else []
    scope, path, kind = entries[-1] if entries else ("", "", "")
    return Call(
        str(node["name"] or ", ".join(outputs)),
        str(node["target"]).removeprefix("torch.ops."),
        tensors,
        options,
        outputs,
        path.partition("@")[0],
        scope,
        kind,
    )
