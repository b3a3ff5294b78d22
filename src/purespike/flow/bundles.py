"""A bundle that was opened: what it says, and whether its files do what they should."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purespike.compiler.choices import Convolution
from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.formats.notebook import shown
from purespike.compiler.report.lookup import read_report
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import Finding
from purespike.flow.simulation import Executor, Simulation, simulate
from purespike.flow.timeline import Timeline, timeline
from purespike.judge.bundle.contents import Examination, examine
from purespike.subject import Progress, Samples, silent
from purespike.targets.bundle.bundle import Bundle, Golden, read_bundle, unreplaced


@dataclass(frozen=True)
class Verification:
    """Whether every file of a bundle is what follows from its network.

    Attributes:
        name: Of the bundle.
        examination: All that was run and compared.
    """

    name: str
    examination: Examination

    @property
    def equal(self) -> bool:
        """True if everything ran, and all is bit for bit equal."""
        return all(f.status == "PASS" for f in self.findings)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each thing that was compared."""
        return tuple(self.examination.findings)

    @property
    def files(self) -> dict[str, str]:
        """PASS, FAIL or NOT RUN by the name of the file."""
        return {name: status for name, _, status, _ in self.examination.by_file()}

    @property
    def headline(self) -> str:
        """The result in words."""
        wrong = [name for name, status in self.files.items() if status == "FAIL"]
        if wrong:
            return f"NOT EQUAL: {', '.join(wrong)}"
        if self.equal:
            return f"EQUAL: {len(self.files)} files, bit for bit"
        open_ = [f.where for f in self.findings if f.status == "NOT RUN"]
        return f"NOT PROVED: not run {', '.join(dict.fromkeys(open_))}"

    def __repr__(self) -> str:
        """One line: the result."""
        return f"Verification({self.name!r}, {self.headline!r}, findings={len(self.findings)})"

    def _repr_html_(self) -> str:
        """For notebooks: the result, and everything that does not hold."""
        return shown(self.name, self.equal, self.headline, self.findings)


@dataclass(frozen=True)
class OpenBundle:
    """A bundle that was read back, every hash checked.

    Attributes:
        bundle: What was read.
        report: Its report.json.
    """

    bundle: Bundle
    report: Report

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.bundle.folder

    @property
    def graph(self) -> Graph:
        """The network on the chip, in integers."""
        return self.bundle.graph

    @property
    def golden(self) -> Golden:
        """The golden samples, with every spike and membrane."""
        return self.bundle.golden

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Versions, options, and the size and hash of every file."""
        return self.bundle.manifest

    @property
    def compliant(self) -> bool:
        """Whether its report says that it is spike-only; `purespike.check` judges anew."""
        return self.report.compliant

    @property
    def headline(self) -> str:
        """The verdict of its report in words."""
        return self.report.headline

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those of its report."""
        return self.report.findings

    def verify(self, *, lava: bool = True, progress: Progress = silent) -> Verification:
        """Run or compare every file: all executors, and what follows from the network.

        Args:
            lava: Whether its Lava program runs too.
            progress: Called with (stage, done, total).
        """
        return Verification(self.folder.name, examine(self.bundle, lava=lava, progress=progress))

    def simulate(
        self,
        samples: Samples | Any,
        *,
        on: Executor = "cpu",
        membranes: bool = False,
        conv: Convolution = "fast",
        jobs: int | None = None,
    ) -> Simulation:
        """Run samples on the network; see `purespike.flow.simulation.simulate`."""
        return simulate(self.graph, samples, on=on, membranes=membranes, conv=conv, jobs=jobs)

    def timeline(
        self, samples: Samples | Any, *, sample: int = 0, conv: Convolution = "fast"
    ) -> Timeline:
        """Lead one sample through interpreter and Lava; see `purespike.flow.timeline.timeline`."""
        return timeline(self.graph, samples, sample=sample, conv=conv)

    def __repr__(self) -> str:
        """One line: where, and the verdict."""
        return f"OpenBundle({str(self.folder)!r}, {self.headline!r}, {self.graph!r})"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict of its report."""
        return shown(self.report.model, self.compliant, self.headline, self.findings)


def open_bundle(folder: str | os.PathLike[str]) -> OpenBundle:
    """Read a bundle.

    Raises:
        BundleError: If it is incomplete, damaged or tampered with, or replaced meanwhile.
        ReportError: If its report is of another version.
    """
    bundle = read_bundle(folder)
    with unreplaced(bundle.folder, bundle.manifest):
        return OpenBundle(bundle, read_report(bundle.folder / "report.json"))
