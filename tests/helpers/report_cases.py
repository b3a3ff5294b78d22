"""Reports as plain data, which tests change at will, and back."""

from __future__ import annotations

from typing import Any

from purespike.compiler.ir.interpret import Trace
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report, ReportError

Data = dict[str, Any]
typed = Report.from_data


def mistakes(data: object) -> list[str]:
    """What reading says is wrong; nothing for a report."""
    try:
        Report.from_data(data)
    except ReportError as e:
        return [e.found]
    return []


def page_of(data: Data, trace: Trace | None = None) -> str:
    """The page of a report, with rasters and traces of the golden samples, where there are any."""
    return to_html(typed(data), trace)
