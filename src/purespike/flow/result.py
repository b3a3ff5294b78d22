"""What a compilation leaves: its report, and a bundle where there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from purespike.compiler.choices import Convolution
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import Compiled
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import Finding
from purespike.flow.simulation import Executor as Where
from purespike.flow.simulation import Simulation, simulate
from purespike.flow.timeline import Timeline, timeline
from purespike.judge.static import is_integer
from purespike.options import Options
from purespike.subject import Samples
from purespike.targets.bundle.bundle import Golden, Models, write_bundle
from purespike.targets.lava.run.simulate import LavaRun


@dataclass(frozen=True)
class Build:
    """What came out.

    Attributes:
        report: The verdict with its evidence.
        compiled: Every stage of the graph; None if the network was refused on the way.
        golden: The golden samples; None likewise, or if the chip cannot hold the network.
        lava: The Lava run; None if there was none.
        dead: Parameters that no output depends on.
        options: What the compiler was told.
        withheld: Why the bundle holds no model files; empty if it does.
    """

    report: Report
    compiled: Compiled | None = None
    golden: Golden | None = None
    lava: LavaRun | None = None
    dead: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    withheld: str = ""

    @property
    def compliant(self) -> bool:
        """True if every rule that is demanded ran, and none is broken."""
        return self.report.compliant

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return self.report.headline

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding, kept and broken."""
        return self.report.findings

    @property
    def graph(self) -> Graph | None:
        """The last stage of the network: in integers, unless it was refused on the way."""
        return self.compiled.graph if self.compiled else None

    def __repr__(self) -> str:
        """One line: the verdict, and what lies behind it."""
        failed = sum(f.status == "FAIL" for f in self.findings)
        return (
            f"Build({self.report.model!r}, {self.headline!r}, findings={len(self.findings)}, "
            f"failed={failed})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and every finding that does not hold."""
        return self.report._repr_html_()

    def simulate(
        self,
        samples: Samples | Any,
        *,
        on: Where = "cpu",
        membranes: bool = False,
        conv: Convolution = "fast",
        jobs: int | None = None,
    ) -> Simulation:
        """Run samples on the compiled network; see `purespike.flow.simulation.simulate`.

        Raises:
            UsageError: If the network was refused, or the samples do not fit.
        """
        graph = self._integers()
        return simulate(graph, samples, on=on, membranes=membranes, conv=conv, jobs=jobs)

    def timeline(
        self, samples: Samples | Any, *, sample: int = 0, conv: Convolution = "fast"
    ) -> Timeline:
        """Lead one sample through interpreter and Lava; see `purespike.flow.timeline.timeline`.

        Raises:
            UsageError: If the network was refused, or the samples do not fit.
            LavaUnavailable: If there is no Lava.
        """
        return timeline(self._integers(), samples, sample=sample, conv=conv)

    def _integers(self) -> Graph:
        graph = self.graph
        if graph is None or not is_integer(graph):
            raise UsageError(
                "the network was not compiled, so there is nothing to run",
                where=self.report.model,
                found=self.headline,
                remedy="see its findings",
            )
        return graph

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the bundle; a refused network leaves its report only.

        Raises:
            OutputError: If the folder holds something else, or cannot be written.
            NotWritten: If a model file cannot say the network; the bundle is there, with the
                report and every file that can.
        """
        graph = chip_part(self.compiled.graph) if self.compiled and self.golden else None
        notes: dict[str, Any] = {}
        if self.compiled and graph is not None:
            notes = {
                "scales": dict(self.compiled.scales),
                "boundaries": {"inputs": [e.name for e in graph.inputs], "host": "arg max"},
            }
        write_bundle(
            folder,
            report=self.report,
            options=self.options.described(),
            versions=self.report.versions,
            graph=graph,
            golden=self.golden,
            models=Models(
                notes,
                self.options.nir_strict,
                self.options.onnx,
                self.options.netx,
                self.options.c,
                self.options.c_ram,
            ),
        )
