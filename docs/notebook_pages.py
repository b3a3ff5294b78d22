"""Notebooks as pages: run from top to bottom by nbclient, their outputs set into Markdown.

The notebooks of docs/notebooks/ are kept without outputs. `make docs` runs them, a test too; a cell
that fails ends both. No page needs a script for what a notebook shows: pictures are pictures, and
tables are those of the site.
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from functools import cache
from html import escape, unescape
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

SECONDS = 300  # for a cell, on a machine that does other things too
KINDS = ("image/svg+xml", "image/png", "text/html", "text/plain")  # the first that is there
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


@cache
def executed(path: Path) -> Any:
    """The notebook with its outputs; run in its own folder, by the Python that runs this.

    Raises:
        CellExecutionError: If a cell fails.
    """
    with tempfile.TemporaryDirectory() as own:  # nothing is left at home, and no port is opened
        client = NotebookClient(
            nbformat.read(path, as_version=4),
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": path.parent}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{own}/kernel"}}),
        )
        return client.execute(env={**os.environ, "IPYTHONDIR": own})


def page(path: Path) -> str:
    """The notebook as Markdown, with its outputs."""
    parts = []
    for cell in executed(path).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(_fenced(cell.source, "python"))
            alt = cell.metadata.get("alt", "What the cell draws")
            parts += [text for output in cell.outputs if (text := _shown(output, alt))]
    link = f"[The notebook]({path.name}) to run and to change: `docs/notebooks/{path.name}`."
    first, *rest = parts
    return "\n\n".join([first, link, *rest]) + "\n"


def _shown(output: Any, alt: str) -> str:
    if output.output_type == "stream":
        return _fenced(output.text.rstrip("\n"), "text") if output.name == "stdout" else ""
    if output.output_type not in ("display_data", "execute_result"):
        return ""
    kind = next((k for k in KINDS if k in output.data), "")
    return _box(kind, output.data[kind], alt) if kind else ""


def _box(kind: str, data: str, alt: str) -> str:
    if kind == "text/plain":
        return _fenced(data, "text")
    if kind == "text/html":
        # One line: an empty one would end the block of HTML.
        return f'<div class="output" tabindex="0">{" ".join(data.split())}</div>'
    title = _TITLE.search(data) if kind == "image/svg+xml" else None
    words = unescape(title[1].strip()) if title else alt
    coded = data if kind == "image/png" else base64.b64encode(data.encode()).decode()
    source = f"data:{kind};base64,{''.join(coded.split())}"
    return f'<div class="output" tabindex="0"><img alt="{escape(words)}" src="{source}"></div>'


def _fenced(text: str, language: str) -> str:
    ticks = max((len(t) for t in re.findall(r"`{3,}", text)), default=2) + 1
    return f"{'`' * ticks}{language}\n{text}\n{'`' * ticks}"
