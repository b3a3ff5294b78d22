"""A NIR file as plain data: what is written, what is read, and what is hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as default
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

JSON: TypeAlias = bool | int | float | str | list["JSON"] | dict[str, "JSON"] | None
Field: TypeAlias = NDArray[Any] | str
Fields: TypeAlias = dict[str, Field]

KEY = "purespike"  # of the graph's metadata


@dataclass(frozen=True, eq=False)
class Document:
    """The nodes and edges of one flat NIR graph, and what purespike adds to them.

    Attributes:
        nodes: By name: the field ``type`` and the fields of that type, each an array or a text.
        edges: Pairs of node names, in the order of the file.
        metadata: The JSON text under the key ``purespike``; empty where another tool wrote it.
        said: What another tool says in the metadata, by our names: dt in seconds, reset.
        taken: What was taken where shapes of another tool are not those of NIR, in words.
    """

    nodes: Mapping[str, Fields]
    edges: tuple[tuple[str, str], ...]
    metadata: str = ""
    said: Mapping[str, float | str] = default(default_factory=dict)
    taken: tuple[str, ...] = ()

    def of_type(self, kind: str) -> Iterator[str]:
        """Names of the nodes of one type, in order."""
        return (name for name, fields in self.nodes.items() if fields["type"] == kind)


def canonical(data: Mapping[str, JSON]) -> str:
    """The one JSON text of ``data``: sorted keys, no spaces, no NaN; floats round-trip exactly."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(document: Document, metadata: Mapping[str, JSON]) -> str:
    """SHA-256 of everything that a purespike file says, in hexadecimal.

    Hashed in this order, each item preceded by its length in 8 bytes (little endian): for every
    node by name: the name, then for every field by name: the field's name, its dtype and shape
    (``<i4[3, 4]``) or ``text``, and its bytes (C order, little endian, or UTF-8); then the
    edges in order; then the canonical JSON of ``metadata`` without its key ``sha256``. HDF5's own
    packing and the NIR version string are left out, so a lossless rewrite keeps the hash. The
    hash finds damage and careless edits; it is not a signature.
    """
    sha = hashlib.sha256()

    def add(item: str | memoryview) -> None:
        raw = item.encode() if isinstance(item, str) else item
        sha.update(len(raw).to_bytes(8, "little"))
        sha.update(raw)

    for name, fields in sorted(document.nodes.items()):
        add(name)
        add(str(len(fields)))
        for field, value in sorted(fields.items()):
            add(field)
            if isinstance(value, str):
                add("text")
                add(value)
            else:
                plain = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
                add(f"{plain.dtype.str}{list(value.shape)}")
                add(plain.reshape(-1).view(np.uint8).data)  # a view: weights may be large
    for edge in document.edges:
        add(edge[0])
        add(edge[1])
    add(canonical({k: v for k, v in metadata.items() if k != "sha256"}))
    return sha.hexdigest()


def sealed(document: Document, metadata: Mapping[str, JSON]) -> Document:
    """The document with ``metadata`` and the hash of everything in it."""
    digest = content_hash(document, metadata)
    return replace(document, metadata=canonical({**metadata, "sha256": digest}))


def difference(a: Document, b: Document) -> str:
    """Where two documents differ first; empty if they say the same, to the bit."""
    for name in sorted(a.nodes.keys() ^ b.nodes.keys()):
        return f"node {name!r} is in one of them only"
    for name, fields in a.nodes.items():
        other = b.nodes[name]
        for field in sorted(fields.keys() | other.keys()):
            if not _same(fields.get(field), other.get(field)):
                return f"node {name!r}, field {field!r}"
    if a.edges != b.edges:
        return "the edges"
    return "" if a.metadata == b.metadata else "the metadata"


def _same(a: Field | None, b: Field | None) -> bool:
    if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
        return isinstance(a, str) and isinstance(b, str) and a == b
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
