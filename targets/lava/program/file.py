"""A Lava program as a folder: `program.json` and `arrays.npz`, the same bytes for the same program.

The worker reads the same two files with nothing but json and numpy.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from purespike.compiler.files.archives import DAMAGED, arrays
from purespike.compiler.files.parsing import parsed
from purespike.compiler.files.reading import read_bytes
from purespike.compiler.files.writing import write_file
from purespike.targets.lava.program.check import ProgramError, check
from purespike.targets.lava.program.program import (
    KINDS,
    Array,
    Connection,
    Process,
    Program,
    Reshape,
    Source,
)

FORMAT = "purespike lava program"
VERSION = 1
PROGRAM = "program.json"
ARRAYS = "arrays.npz"
_LARGEST_TEXT, _LARGEST_ARRAYS = 1 << 28, 1 << 32  # bytes


def write(program: Program, folder: Path) -> None:
    """Writes the program into `folder`, which is made if need be.

    Each file appears whole or not at all. A `Source` without spikes refers to `<name>.npy`, which
    the caller puts beside.

    Args:
        program: The program; it is checked first.
        folder: Where to write.

    Raises:
        ProgramError: The program is not one that Lava can run.
    """
    check(program)
    text, packed = _content(program)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / ARRAYS, packed)
    write_file(folder / PROGRAM, text)


def same(one: Program, other: Program) -> bool:
    """Do two programs say the same, to the byte?"""
    return _content(one) == _content(other)


def _content(program: Program) -> tuple[bytes, bytes]:
    """The two files."""
    arrays: dict[str, Array] = {}
    text: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "steps": program.steps,
        "conv": program.conv,
        "record": list(program.record),
        "record_v": list(program.record_v),
        "record_v_interval": program.record_v_interval,
        "record_v_offset": program.record_v_offset,
        "processes": [_describe(process, arrays) for process in program.processes],
        "connections": [
            {
                "source": c.source,
                "destination": c.destination,
                "reshape": c.reshape if isinstance(c.reshape, str) else [int(n) for n in c.reshape],
            }
            for c in program.connections
        ],
    }
    packed = io.BytesIO()
    # numpy writes no times into the archive, so equal arrays give equal bytes.
    np.savez(packed, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    text["arrays_sha256"] = hashlib.sha256(packed.getvalue()).hexdigest()
    return (json.dumps(text, indent=1) + "\n").encode(), packed.getvalue()


def read(folder: Path) -> Program:
    """Reads a program back and checks it.

    Args:
        folder: Where `write` wrote it. Sources from files are memory-mapped, not read.

    Raises:
        ProgramError: A file is missing, damaged or of another format, or the program is not one
            that Lava can run.
    """
    try:
        what = "a file of the Lava program"
        text = json.loads(read_bytes(folder / PROGRAM, _LARGEST_TEXT, ProgramError, what))
        packed = read_bytes(folder / ARRAYS, _LARGEST_ARRAYS, ProgramError, what)
        if (text["format"], text["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {text['format']!r} version {text['version']!r}")
        if hashlib.sha256(packed).hexdigest() != text["arrays_sha256"]:
            raise ValueError(f"{ARRAYS} does not belong to this {PROGRAM}")
        archive = arrays(io.BytesIO(packed))
        processes = tuple(_restore(entry, archive) for entry in text["processes"])
        program = Program(
            processes=processes,
            connections=tuple(
                Connection(c["source"], c["destination"], _restore_reshape(c["reshape"]))
                for c in text["connections"]
            ),
            steps=text["steps"],
            record=tuple(text["record"]),
            record_v=tuple(text["record_v"]),
            record_v_interval=text["record_v_interval"],
            record_v_offset=text["record_v_offset"],
            conv=text["conv"],
        )
        check(replace(program, processes=tuple(_with_file(p, folder) for p in processes)))
    except DAMAGED as error:
        raise ProgramError(
            "this folder holds no Lava program that can be read",
            found=f"{type(error).__name__}: {error}",
            allowed=f"{PROGRAM} and {ARRAYS} of format version {VERSION}, and the sources' files",
            where=str(folder),
            remedy="compile the network again",
        ) from error
    return program


def _describe(process: Process, arrays: dict[str, Array]) -> dict[str, Any]:
    kind = next(kind for kind, cls in KINDS.items() if isinstance(process, cls))
    entry: dict[str, Any] = {"kind": kind}
    for item in fields(process):
        value = getattr(process, item.name)
        if isinstance(value, np.ndarray):
            key = f"{process.name}.{item.name}"
            # One byte order on every machine.
            arrays[key] = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
            value = {"array": key}
        elif isinstance(value, tuple):
            value = [int(n) for n in value]
        elif isinstance(value, np.integer):
            value = int(value)
        entry[item.name] = value
    return entry


def _restore(entry: dict[str, Any], archive: Any) -> Process:
    values = dict(entry)
    cls = KINDS[values.pop("kind")]
    for name, value in values.items():
        if isinstance(value, dict):
            values[name] = archive[value["array"]]
            values[name].flags.writeable = False
        elif isinstance(value, list):
            values[name] = tuple(value)
    return cls(**values)


def _restore_reshape(value: Any) -> Reshape:
    if isinstance(value, list):
        return tuple(int(n) for n in value)
    if value not in ("", "flatten"):
        raise ValueError(f"reshape {value!r}")
    return "flatten" if value else ""


def _with_file(process: Process, folder: Path) -> Process:
    if not isinstance(process, Source) or process.spikes is not None:
        return process
    path = folder / f"{process.name}.npy"
    frames = parsed(lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    return replace(process, spikes=frames)
