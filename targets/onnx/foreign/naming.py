"""What nodes and tensors of other tools' ONNX files are called, in errors and in the graph."""

from __future__ import annotations

import re

from onnx import NodeProto

_IN = ("in", "input", "i", "old", "last", "prev", "previous", "before")
_OUT = ("out", "output", "o", "new", "next", "after")


def label(node: NodeProto) -> str:
    """The node in an error."""
    name = node.name or next(iter(node.output), "")
    return f"node {name!r} ({node.op_type})"


def title(node: NodeProto) -> str:
    """The module that a node came from, if it says: exporters write ``/block/lif/Greater``."""
    parts = [p for p in node.name.split("/") if p]
    if parts and parts[-1].split("_")[0] == node.op_type:
        parts.pop()
    return clean(".".join(parts))


def clean(name: str) -> str:
    """The name as every target takes it."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("._")[:100]


def fresh(name: str, taken: dict[str, int]) -> str:
    """The name, or with a number behind it where it is taken; ``taken`` counts them."""
    made = name
    while made in taken:
        taken[name] += 1
        made = f"{name}_{taken[name]}"
    taken[made] = 1
    return made


def core(name: str) -> tuple[str, ...]:
    """What is left of a tensor's name without the words that say whether it comes in or goes out.

    ``mem1``, ``mem1_in``, ``mem1_out``, ``next_mem1`` and ``new_mem1`` are one state.
    """
    words = [w for w in re.split(r"[^A-Za-z0-9]+", name.lower()) if w]
    return tuple(w for w in words if w not in _IN and w not in _OUT)
