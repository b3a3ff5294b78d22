"""The child process that parses an HDF5 file: ``python -I hdf5.py FILE SECONDS LAYOUT``.

libhdf5 crashes and hangs on damaged files, and HDF5 can point at other files. So it runs here
alone, under limits that the process sets on itself before it loads the library. Of the formats
(NIR, lava-dl's netx) it knows no more than the names at the top. It writes one frame to standard
output: 8 bytes with the length of a JSON header (little endian), the header, then the raw bytes of
the arrays that the header places.

Only numpy and h5py are needed, so that ``-I`` (no environment, no current folder) suffices.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from typing import IO, Any

MEMORY = 4 << 30  # bytes of address space
OUTPUT = 2 << 30  # bytes that it may write
OBJECTS = 200_000
DEPTH = 12  # groups within groups
NO_ROOM = 3  # exit code: what the file says cannot be written for the parent
AXES = 8
ONE = 1 << 29  # bytes that one dataset may declare
ALL = 1 << 30  # bytes that the file may declare
# Deflate packs at most 1032 to 1: a dataset that declares more than that has chunks missing.
RATIO, SMALL = 2000, 1 << 20
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
# By layout: the names that the top level must have, and those that it may have.
TOP = {"NIR": ({"node", "version"}, set()), "netx": ({"layer"}, {"purespike", "simulation"})}
SAID = ("dt", "reset_mechanism")  # what other tools say beside a NIR graph
METADATA = {f"node/metadata/{key}" for key in ("purespike", *SAID)}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}\Z")


class Refused(Exception):
    """(message, where, found, allowed): the parent makes an error of it."""


def limit(seconds: int) -> None:
    """No more than this much processor time, memory, output; no core file."""
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


class Parser:
    """Walks the file once; counts what it has seen."""

    def __init__(self) -> None:
        self.objects = 0
        self.declared = 0
        self.seen: set[Any] = set()
        self.blobs: list[bytes] = []
        self.offset = 0

    def group(self, group: Any, where: str, depth: int, keep: bool) -> dict[str, Any]:
        """The tree below a group; hard links only, each group once."""
        import h5py

        if depth > DEPTH:
            raise Refused("groups are nested too deeply", where, "", f"{DEPTH} levels")
        address = h5py.h5o.get_info(group.id).addr
        if address in self.seen:
            raise Refused("a group is linked twice", where, "", "a tree")
        self.seen.add(address)
        tree: dict[str, Any] = {}
        for name in group:
            self.objects += 1
            if self.objects > OBJECTS:
                raise Refused("too many objects", where, "", f"{OBJECTS}")
            if not NAME.match(name):
                allowed = "letters, digits, _ . - (not first: . -), at most 200"
                raise Refused("an illegal name", where, repr(name[:40]), allowed)
            path = f"{where}/{name}"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise Refused("a link to elsewhere", path, type(link).__name__, "hard links")
            item = group[name]
            # Of the metadata, only what purespike wrote and what is in SAID is read at all.
            kept = (keep and not where.endswith("/metadata")) or path in METADATA
            if isinstance(item, h5py.Group):
                tree[name] = self.group(item, path, depth + 1, kept)
            elif isinstance(item, h5py.Dataset):
                self.inspect(item, path)
                tree[name] = self.load(item, path) if kept else {"skipped": True}
            else:
                raise Refused("an unexpected object", path, type(item).__name__, "data, groups")
        return {"group": tree}

    def inspect(self, data: Any, where: str) -> None:
        """Refuse what must not be read: data elsewhere, odd types and filters, declared bombs."""
        if data.external or data.is_virtual:
            raise Refused("data kept in another file", where, "external or virtual storage", "none")
        if data.ndim > AXES:
            raise Refused("too many axes", where, str(data.ndim), str(AXES))
        if not is_text(data) and (data.dtype.kind not in "iufb" or data.dtype.itemsize > 8):
            raise Refused("an unexpected element type", where, str(data.dtype), "numbers, texts")
        creation = data.id.get_create_plist()
        for i in range(creation.get_nfilters()):
            if (code := creation.get_filter(i)[0]) not in FILTERS:
                known = ", ".join(FILTERS.values())
                raise Refused("an unknown compression filter", where, str(code), known)
        declared = int(data.size) * (16 if is_text(data) else data.dtype.itemsize)
        stored = data.id.get_storage_size()
        self.declared += declared
        if declared > ONE or self.declared > ALL:
            raise Refused("too much data", where, f"{declared} bytes", f"{ONE}, {ALL} in all")
        if declared > max(SMALL, RATIO * stored):
            found = f"declares {declared} bytes, stores {stored}"
            raise Refused("data is missing", where, found, f"at most {RATIO} to 1")

    def load(self, data: Any, where: str) -> dict[str, Any]:
        """The value: a text, a table of texts, or a finite array placed among the blobs."""
        import numpy as np

        value = data[()]
        if is_text(data):
            if data.ndim == 0:
                return {"text": text(value, where)}
            if data.ndim == 1:
                return {"words": [text(v, where) for v in value]}
            if data.ndim != 2:
                raise Refused("expected a text or pairs of texts", where, f"{data.shape}", "(n, 2)")
            return {"texts": [[text(v, where) for v in row] for row in value]}
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        array = array.astype(array.dtype.newbyteorder("<"))
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refused("a value is not finite", where, "NaN or infinity", "finite numbers")
        place = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": self.offset}
        self.blobs.append(array.tobytes())
        self.offset += len(self.blobs[-1])
        return place


def is_text(data: Any) -> bool:
    """Is the dataset made of strings?"""
    import h5py

    return h5py.check_string_dtype(data.dtype) is not None


def text(value: Any, where: str) -> str:
    """A string in UTF-8."""
    try:
        return bytes(value).decode("utf-8")
    except (UnicodeDecodeError, TypeError):
        raise Refused("a text is not UTF-8", where, repr(value)[:40], "UTF-8") from None


def parse(path: str | IO[bytes], layout: str) -> tuple[dict[str, Any], list[bytes]]:
    """(header, blobs) of a file."""
    import h5py

    parser = Parser()
    required, optional = TOP[layout]
    try:
        file = h5py.File(path, "r")
    except OSError as e:
        raise Refused("not a readable HDF5 file", "", str(e)[:120], "") from None
    with file:
        if not required <= set(file) <= required | optional:
            found = ", ".join(sorted(file))[:120]
            allowed = ", ".join(sorted(required | optional))
            raise Refused(f"not a {layout} file", "", f"top level: {found}", allowed)
        if layout != "NIR":
            return parser.group(file["/"], "", 0, True), parser.blobs
        for name, kind in (("node", h5py.Group), ("version", h5py.Dataset)):
            link = isinstance(file.get(name, getlink=True), h5py.HardLink)
            if not link or not isinstance(file[name], kind):
                raise Refused("not a NIR file", name, "", f"a {kind.__name__.lower()}")
        parser.inspect(file["version"], "version")
        version = parser.load(file["version"], "version")
        return {"version": version, **parser.group(file["node"], "node", 0, True)}, parser.blobs


def answer(path: str, layout: str) -> tuple[dict[str, Any], list[bytes]]:
    """(header, blobs) of a file; one that is refused has a header that says so, and no blobs."""
    try:
        return parse(path, layout)
    except Refused as e:
        header = {"refused": list(e.args)}
    except MemoryError:
        header = {"refused": ["the file needs too much memory", "", "", f"{MEMORY} bytes"]}
    except RecursionError:
        header = {"refused": ["groups are nested too deeply", "", "", f"{DEPTH} levels"]}
    except Exception as e:  # whatever h5py makes of a damaged file
        header = {"refused": ["the file is damaged", "", f"{type(e).__name__}: {str(e)[:120]}", ""]}
    return header, []


def write(out: IO[bytes], header: dict[str, Any], blobs: list[bytes]) -> None:
    """The frame: the header's length, the header, the arrays."""
    raw = json.dumps(header).encode()
    out.write(len(raw).to_bytes(8, "little") + raw)
    for blob in blobs:
        out.write(blob)
    out.flush()


def main() -> None:
    """Parse the file named on the command line within the processor seconds, in the layout."""
    limit(int(sys.argv[2]))
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # load no filter plugins
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"  # read-only folders have no locks
    header, blobs = answer(sys.argv[1], sys.argv[3])
    try:
        write(sys.stdout.buffer, header, blobs)
    except OSError:
        os._exit(NO_ROOM)
    os._exit(0)  # leave libhdf5 no chance to crash while it tidies up


if __name__ == "__main__":
    main()
