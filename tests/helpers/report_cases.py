"""Reports as plain data, which tests change at will, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def page_of(data: Data, spikes: Mapping[str, Any] | None = None) -> str:
    """The page of a report, with rasters where there are spikes."""
    return to_html(typed(data), spikes)
