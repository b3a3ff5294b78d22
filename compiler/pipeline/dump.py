"""The graph as text after each pass, and what each pass changed: to see where something goes wrong.

A folder holds ``graphs.json`` (the passes in order, size and sha256 of every file),
``00_captured.txt``, and for each pass ``01_strip_auxiliary.txt``, the graph after it, and
``01_strip_auxiliary.diff``: first the parameters that changed, which a printed graph does not
show, then a unified diff against the printed graph before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

from purespike.compiler.files.kinds import GRAPHS
from purespike.compiler.files.writing import staged_folder
from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline.changes import changed_parameters


class GraphDump:
    """Keeps the text of every graph that it is shown; ``watch`` of `compile_graph` may be one.

    A pass that breaks its promise, or that a later one refuses, is seen too: the text is taken
    before the graph is held to anything.
    """

    def __init__(self) -> None:
        self._last: Graph | None = None
        self._passes: list[dict[str, Any]] = []
        self._files: dict[str, str] = {}

    def __call__(self, name: str, graph: Graph) -> None:
        """Take the next graph.

        Args:
            name: The pass that made it.
            graph: What it made.
        """
        stem = f"{len(self._passes):02}_{name}"
        self._files[f"{stem}.txt"] = f"{graph}\n"
        entry = {"name": name, "nodes": len(graph.nodes), "graph": f"{stem}.txt"}
        if self._last is not None:
            changed = "\n".join(_changes(self._last, graph, str(entry["graph"])))
            self._files[f"{stem}.diff"] = f"{changed}\n" if changed else ""
            entry |= {"changes": f"{stem}.diff", "changed": bool(changed)}
        self._passes.append(entry)
        self._last = graph

    def write(self, folder: str | Path) -> None:
        """Write all that was seen.

        Args:
            folder: Where; an older dump there is replaced.

        Raises:
            OutputError: If the folder holds something else or cannot be written.
        """
        files = {name: text.encode() for name, text in self._files.items()}
        listed = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
        manifest = {**GRAPHS.mark, "passes": self._passes, "files": listed}
        with staged_folder(Path(folder), GRAPHS) as stage:
            for name, content in files.items():
                (stage / name).write_bytes(content)
            (stage / GRAPHS.manifest).write_text(json.dumps(manifest, indent=1) + "\n")


def _changes(before: Graph, after: Graph, name: str) -> Iterator[str]:
    """What differs between two graphs, line by line; nothing where they are equal."""
    if after is before:
        return
    for node in after.nodes:
        old = before.producer(node.name)
        if old is not None and type(old.op) is type(node.op):
            for words in changed_parameters(old.op, node.op):
                yield f"%{node.name}: {words}"
    yield from unified_diff(
        str(before).splitlines(), str(after).splitlines(), "before", name, lineterm=""
    )
