"""What a command reads that is about a bundle or a report: no torch here."""

from __future__ import annotations

from pathlib import Path

from purespike.compiler.report.lookup import read_report
from purespike.compiler.report.report import Report
from purespike.targets.bundle.manifest import read_manifest, unreplaced


def load_report(path: Path) -> Report:
    """The report of a bundle, every hash checked, or a report.json on its own."""
    if not path.is_dir():
        return read_report(path)
    with unreplaced(path):
        read_manifest(path)
        return read_report(path / "report.json")
