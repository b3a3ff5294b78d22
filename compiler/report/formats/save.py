"""A report as a file, in the format that the file's suffix names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from purespike.compiler.choices import as_path
from purespike.compiler.errors import UsageError
from purespike.compiler.files.writing import write_file
from purespike.compiler.report.formats.junit import to_junit
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.sarif import to_sarif
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.page.page import to_html

if TYPE_CHECKING:
    from purespike.compiler.report.report import Report

WRITERS: dict[str, Callable[[Report], str]] = {
    ".html": to_html,
    ".json": lambda r: r.to_json(),
    ".md": to_markdown,
    ".sarif": to_sarif,
    ".txt": to_text,
    ".xml": to_junit,
}


def save_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a report as HTML, JSON, Markdown, SARIF, text or JUnit XML; whole or not at all.

    Args:
        report: The report.
        path: Where; a file there is replaced. The suffix is one of `WRITERS`.

    Raises:
        UsageError: If the suffix names no format.
        OutputError: If it cannot be written.
    """
    path = as_path(path, "path")
    if path.suffix.lower() not in WRITERS:
        raise UsageError(
            "no format of a report has this suffix",
            where=str(path),
            found=path.suffix or "none",
            allowed=", ".join(WRITERS),
        )
    write_file(path, WRITERS[path.suffix.lower()](report))
