"""An HDF5 file as plain data, without libhdf5 in this process: NIR's, and netx's."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.storage import temporary
from purespike.targets.nir.document import KEY, Document, Field, Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.nested import Level, flattened
from purespike.targets.nir.guard import hdf5

FILE = 1 << 30  # bytes
SECONDS, SPEED, MOST = 8, 1 << 20, 120  # processor time: so much, a second for so many bytes
PATIENCE = 30  # wall clock per processor second, which is the limit: the machine may be busy
DTYPES = {f"<{k}{n}" for k in "iuf" for n in (2, 4, 8)} | {"|i1", "|u1", "|b1"}
DAMAGED = "the file is damaged or hostile; get it again from where it came"


T = TypeVar("T")


@dataclass(frozen=True)
class Format:
    """A file format in HDF5.

    Attributes:
        name: In messages, and for `hdf5.TOP`.
        error: What is raised for a bad file.
    """

    name: Literal["NIR", "netx"]
    error: type[PurespikeError]


@dataclass(frozen=True)
class Frame:
    """What the child wrote: a tree, and the place of every array in ``out``."""

    tree: dict[str, Any]
    form: Format
    out: IO[bytes]
    start: int
    total: int

    def field(self, value: dict[str, Any], where: str) -> Field:
        """A leaf of the tree: a text or an array."""
        if isinstance(value.get("text"), str):
            return str(value["text"])
        if "dtype" not in value:
            found = ", ".join(value)
            raise self.form.error("expected numbers or a text", where=where, found=found)
        if value["dtype"] not in DTYPES:
            found = str(value["dtype"])
            raise self.form.error("an unexpected element type", where=where, found=found)
        dtype, shape = np.dtype(value["dtype"]), tuple(int(n) for n in value["shape"])
        begin, length = self.start + int(value["offset"]), prod(shape) * dtype.itemsize
        if min(shape, default=1) < 0 or begin < self.start or begin + length > self.total:
            raise ValueError("an array lies outside the frame")
        self.out.seek(begin)
        return np.frombuffer(self.out.read(length), dtype).reshape(shape)


NIR = Format("NIR", NirFileError)


def load(path: str | os.PathLike[str]) -> Document:
    """Read a NIR file in a child process with limits; nothing but the file is opened.

    The result is plain but unchecked: `purespike.targets.nir.schema.check` is the next step.

    Raises:
        NirFileError: If the file is missing, too large, no HDF5, damaged, points outside itself,
            holds anything that NIR does not have, or takes the child too long.
    """
    return parsed(path, NIR, _document)


def read_back(content: bytes) -> Document:
    """The document in a file that this process has just made, so that nothing has to be feared.

    Raises:
        NirFileError: If it holds what a file from elsewhere may not hold either.
    """
    try:
        tree, blobs = hdf5.parse(io.BytesIO(content), "NIR")
    except hdf5.Refused as e:
        message, where, found, allowed = e.args
        raise NirFileError(message, where=where, found=found, allowed=allowed) from None
    arrays = b"".join(blobs)
    return _document(Frame(tree, NIR, io.BytesIO(arrays), 0, len(arrays)))


def parsed(path: str | os.PathLike[str], form: Format, build: Callable[[Frame], T]) -> T:
    """What ``build`` makes of a file that a child process has parsed; every error names it."""
    path = Path(path)
    size = _size(path, form)
    with temporary(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as out:
        _run(path, min(SECONDS + size // SPEED, MOST), out, form)
        try:
            header, start, total = _header(out)
            if "refused" in header:
                message, where, found, allowed = header["refused"]
                raise form.error(message, where=where, found=found, allowed=allowed)
            return build(Frame(header, form, out, start, total))
        except PurespikeError as e:
            if not e.where.startswith(str(path)):
                e.where = f"{path}: {e.where}" if e.where else str(path)
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
            raise form.error(
                f"the file does not have the form of a {form.name} graph",
                where=str(path),
                found=f"{type(e).__name__}: {str(e)[:80]}",
                remedy=DAMAGED,
            ) from None


def _size(path: Path, form: Format) -> int:
    try:
        status = path.stat()
        with path.open("rb") if stat.S_ISREG(status.st_mode) else tempfile.TemporaryFile():
            pass
    except OSError as e:
        raise form.error(
            f"the {form.name} file cannot be read", where=str(path), found=e.strerror or ""
        ) from None
    if not stat.S_ISREG(status.st_mode) or status.st_size > FILE:
        raise form.error(
            f"the {form.name} file is not a regular file of legal size",
            where=str(path),
            found=f"{status.st_size} bytes",
            allowed=f"a file of at most {FILE} bytes",
        )
    return status.st_size


def _run(path: Path, seconds: int, out: IO[bytes], form: Format) -> None:
    # One thread: each would reserve address space, which is limited.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-I", hdf5.__file__, str(path.absolute()), str(seconds), form.name]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            timeout=PATIENCE * seconds,
            env=environment,
            cwd=os.sep,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise form.error(
            "the file was not parsed in time",
            where=str(path),
            found=f"more than {PATIENCE * seconds:.3g} s by the clock",
            allowed=f"{seconds} s of processor time",
            remedy=f"the machine may be busy: try again; if that is not it, {DAMAGED}",
        ) from None
    if done.returncode == 0:
        return
    if done.returncode == hdf5.NO_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    raise form.error(
        "the file cannot be parsed",
        where=str(path),
        found=f"the reading process ended with code {done.returncode}",
        allowed=f"{seconds} s of processor time",
        remedy=DAMAGED,
    )


def _header(out: IO[bytes]) -> tuple[dict[str, Any], int, int]:
    total = out.seek(0, os.SEEK_END)
    out.seek(0)
    length = int.from_bytes(out.read(8), "little")
    if not 0 < length <= total - 8:
        raise ValueError("the reading process wrote no header")
    header = json.loads(out.read(length))
    if not isinstance(header, dict):
        raise TypeError("the header is not an object")
    return header, 8 + length, total


def _document(frame: Frame) -> Document:
    header = frame.tree
    version = header["version"].get("text")
    if not isinstance(version, str) or not version.startswith(("0.", "1.")):
        raise NirFileError(
            "unknown NIR version", found=repr(version)[:40], allowed="a text, 0.x or 1.x"
        )
    root = header["group"]
    level = _level(frame, root, "node")
    metadata = root.get("metadata", {"group": {}})["group"].get(KEY, {"text": ""})
    if not isinstance(metadata.get("text"), str):
        raise NirFileError("the purespike metadata is not text", where=f"node/metadata/{KEY}")
    said = {} if metadata["text"] else _said(frame, root.get("metadata", {"group": {}})["group"])
    return Document(level.nodes, level.edges, metadata["text"], said)


def _said(frame: Frame, metadata: dict[str, Any]) -> dict[str, float | str]:
    """What other tools are known to write beside a graph; a value of another form says nothing."""
    leaves = {k: v for k, v in metadata.items() if k in hdf5.SAID and "group" not in v}
    said: dict[str, float | str] = {}
    dt = frame.field(leaves["dt"], "dt") if "dtype" in leaves.get("dt", {}) else ""
    if not isinstance(dt, str) and dt.size == 1 and float(dt.reshape(())) > 0:
        said["dt"] = float(dt.reshape(()))
    if (reset := leaves.get("reset_mechanism", {}).get("text")) in ("zero", "subtract"):
        said["reset"] = str(reset)
    return said


def _level(frame: Frame, root: dict[str, Any], where: str) -> Level:
    """One graph of the file, those within it made flat."""
    unknown = sorted(root.keys() - {"type", "nodes", "edges", "metadata"})
    missing = sorted({"type", "nodes", "edges"} - root.keys())
    if root.get("type") != {"text": "NIRGraph"} or unknown or missing:
        raise NirFileError(
            "this is not a NIR graph",
            where=where,
            found=f"type {str(root.get('type'))[:40]}, unknown {unknown[:5]}, missing {missing}",
            allowed="type NIRGraph with nodes, edges, metadata",
        )
    if "group" not in root["nodes"]:
        raise NirFileError("the nodes are not a group", where=f"{where}/nodes")
    nodes: dict[str, Fields] = {}
    inner: dict[str, Level] = {}
    for name, node in root["nodes"]["group"].items():
        if "group" not in node:
            raise NirFileError("a node is not a group", where=f"node {name!r}")
        if node["group"].get("type") == {"text": "NIRGraph"}:
            inner[name] = _level(frame, node["group"], f"{where}/nodes/{name}")
            continue
        nodes[name] = {
            k: frame.field(v, f"node {name!r}, field {k!r}")
            for k, v in node["group"].items()
            if k != "metadata"
        }
    return flattened(nodes, _edges(root["edges"], f"{where}/edges"), inner)


def _edges(value: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    pairs = value.get("texts")
    if not pairs or any(len(p) != 2 for p in pairs):
        raise NirFileError(
            "the edges are not a list of pairs of names", where=where, allowed="(n, 2) texts"
        )
    return tuple((str(a), str(b)) for a, b in pairs)
