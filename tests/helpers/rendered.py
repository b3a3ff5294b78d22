"""All that a command prints of a report, as one thing that a console can print."""

from __future__ import annotations

from rich.console import Group, RenderableType

from purespike.cli.console import tables, verdict
from purespike.cli.shown import SHOWN
from purespike.compiler.report.report import Report


def render(report: Report, most: int | None = SHOWN) -> RenderableType:
    """The verdict and its tables; of findings the first rows, None for all."""
    return Group(verdict(report), tables(report, most))
