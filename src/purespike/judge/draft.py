"""What a compilation leaves: its report, and a bundle where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from purespike.compiler.choices import Convolution
from purespike.compiler.errors import PurespikeError, UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.labels import output_classes
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import (
    Compiled,
)
from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.compiler.report.report import (
    Accuracy,
    Activity,
    Chance,
    LayerCount,
    Report,
    describe,
)
from purespike.compiler.rules.finding import (
    COUNTING,
    EXECUTORS,
    RULES,
    Finding,
    Rule,
    fill_missing,
)
from purespike.compiler.rules.graph_rules import check_arithmetic, check_boundary
from purespike.compiler.rules.measure import Measured, measure
from purespike.compiler.rules.policy import apply_policy
from purespike.compiler.rules.waiver import apply_waivers
from purespike.judge.accuracy import stage_accuracy
from purespike.judge.evidence import (
    ac_range,
    census,
    versions,
)
from purespike.judge.simulation import Executor as Where
from purespike.judge.simulation import Simulation, simulate
from purespike.judge.static import is_integer
from purespike.options import Options
from purespike.subject import Progress, Samples, Subject, silent
from purespike.targets.agreement import Executor
from purespike.targets.bundle.bundle import Golden, Models, write_bundle
from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.lava.run.simulate import LavaRun
from purespike.targets.spec import LOIHI2

__all__ = ["Build", "Draft"]

OPERATIONS = 2e10  # of synapses that counting a refused network may take: a minute or two


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
        """Run samples on the compiled network; see `purespike.judge.simulation.simulate`.

        Raises:
            UsageError: If the network was refused, or the samples do not fit.
        """
        graph = self.graph
        if graph is None or not is_integer(graph):
            raise UsageError(
                "the network was not compiled, so there is nothing to run",
                where=self.report.model,
                found=self.headline,
                remedy="see its findings",
            )
        return simulate(graph, samples, on=on, membranes=membranes, conv=conv, jobs=jobs)

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
            report=self.report.to_json(),
            options=self.options.described(),
            versions=self.report.versions,
            graph=graph,
            golden=self.golden,
            models=Models(notes, self.options.nir_strict, self.options.onnx, self.options.netx),
        )


def _plain_options(options: Options) -> dict[str, Any]:
    """All but policy and waivers, which the report has in places of their own."""
    return {k: v for k, v in options.described().items() if k not in ("policy", "waivers")}


def _sources(subject: Subject, graph: Graph) -> dict[str, dict[str, str | int]]:
    if isinstance(subject.model, Graph):
        return {}
    from purespike.trainer.capture.sources import find_sources  # loads torch

    return find_sources(subject.model, sorted({n.origin for n in graph.nodes}))


@dataclass(frozen=True)
class Draft:
    """What is known of a build before its verdict.

    Attributes:
        subject: What is compiled.
        options: What the compiler is told.
        trained: Accuracy of the trained module itself, if it was measured.
        dead: Parameters that no output depends on.
        captured: The graph as captured.
    """

    subject: Subject
    options: Options
    trained: Accuracy | None
    dead: tuple[str, ...]
    captured: Graph

    @property
    def chance(self) -> Chance | None:
        """What an accuracy has to beat; None without labels."""
        if not self.subject.labelled:
            return None
        classes, _ = output_classes(self.captured)
        commonest = int(np.bincount(self.subject.labels).max())
        return Chance(classes, commonest, len(self.subject.labels))

    def report(
        self,
        findings: Iterable[Finding],
        compiled: Compiled | None,
        census: tuple[LayerCount, ...] = (),
        accuracy: tuple[Accuracy, ...] = (),
        plan: Schedule | None = None,
        updates: float | None = None,
        activity: tuple[Activity, ...] = (),
        resources: Mapping[str, Any] | None = None,
        conventions: Mapping[str, Any] | None = None,
        ac: tuple[float, float] | None = None,
        executors: Mapping[str, Any] | None = None,
        demanded: tuple[Rule, ...] = RULES,
        stage: str = "",
        counted: str = "",
        counted_samples: int | None = None,
        uncounted: str = "",
        unjudged: str = "not measured in this run",
    ) -> Report:
        """Put together what was found, waived and measured."""
        joins = plan.joins() if plan else ()
        last, graph = "captured", self.captured
        if compiled:
            last, graph = list(compiled.stages.items())[-1]
        policy, waivers = self.options.policy, self.options.waivers
        findings = apply_waivers(apply_policy(findings, graph, policy), waivers)
        return Report(
            model=self.subject.name,
            target=LOIHI2.name,
            policy=policy.name,
            samples=len(self.subject.labels),
            findings=fill_missing(findings, unjudged),
            census=census,
            conventions=conventions,
            ledger=compiled.ledger if compiled else (),
            accuracy=(self.trained, *accuracy) if self.trained else (),
            timing=tuple(vars(a) for a in joins),
            updates=updates,
            resources=resources or {},
            versions=versions(),
            network=describe(graph, stage or last),
            activity=activity,
            membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
            choices=policy.choices(),
            waivers=waivers.data() if waivers else None,
            ac_range=ac,
            executors=executors or {},
            demanded=demanded,
            chance=self.chance,
            counted=counted,
            counted_samples=counted_samples,
            uncounted=uncounted,
            options=_plain_options(self.options),
            sources=_sources(self.subject, graph),
        )

    def counted(
        self,
        findings: list[Finding],
        front: Compiled,
        executors: Mapping[str, Executor],
        progress: Progress,
    ) -> Build:
        """Judge how a network counts that no chip could hold: the policy lets its end multiply."""
        graph, subject, policy = front.graph, self.subject, self.options.policy
        found = measure(graph, subject.spikes, lambda d, n: progress("float network", d, n))
        dense = {name: c.times(graph.steps) for name, c in dense_census(graph).items()}
        why = f"nothing was compiled: under policy {policy.name} the classifier multiplies"
        findings = [
            *findings,
            *found.findings,
            *check_arithmetic(graph, dense, leak_multiplies=policy.leak_multiplies),
            *check_boundary(graph, found.counts),
            Finding(EXECUTORS, "ONNX Runtime, NIR, Lava", "NOT RUN", why),
        ]
        report = self.report(
            findings,
            front,
            **_figures(graph, found, subject, "float network, fused"),
            executors={name: e.data() for name, e in executors.items()},
            demanded=COUNTING,
        )
        return Build(report, compiled=front, dead=self.dead, options=self.options, withheld=why)

    def refused(
        self,
        findings: list[Finding],
        compiled: Compiled | None,
        counted: Graph | None = None,
        named: str = "",
        executors: Mapping[str, Executor] | None = None,
        progress: Progress = silent,
    ) -> Build:
        """Report why nothing was compiled, and what the network costs all the same.

        Args:
            findings: What was found up to here.
            compiled: What the passes made of the network, if they came through.
            counted: The network whose operations are counted, in real numbers; None counts
                nothing, since its inputs are none.
            named: What the report calls that network.
            executors: What ran beside the interpreter.
            progress: Called with (stage, done, total).
        """
        figures: dict[str, Any] = {"uncounted": "the test inputs are not what the network takes"}
        if counted is not None:
            figures = self._counted_of(counted, named, progress)
        return Build(
            self.report(
                findings,
                compiled,
                **figures,
                unjudged="not judged: the network was refused before",
                executors={n: e.data() for n, e in (executors or {}).items()},
            ),
            compiled=compiled,
            dead=self.dead,
            options=self.options,
            withheld="the network was refused",
        )

    def _counted_of(self, graph: Graph, name: str, progress: Progress) -> dict[str, Any]:
        """The figures of a network that is not compiled, over as many samples as minutes allow."""
        counts = total_counts(dense_census(graph).values())
        work = max(1.0, counts.ac + counts.mac) * graph.steps
        samples = int(np.clip(OPERATIONS // work, 1, len(self.subject.labels)))
        subject = replace(
            self.subject,
            spikes=self.subject.spikes[:, :samples],
            labels=self.subject.labels[:samples],
        )
        try:
            found = measure(graph, subject.spikes, lambda d, n: progress("operations", d, n))
        except PurespikeError as e:
            return {"uncounted": f"the network does not run: {e.message}"}
        return _figures(graph, found, subject, name)


def _figures(graph: Graph, found: Measured, subject: Subject, name: str) -> dict[str, Any]:
    """What is measured of a network in real numbers, for `Draft.report`."""
    return {
        "census": census(graph, found),
        "accuracy": (stage_accuracy(name, found.decisions, subject, None),),
        "activity": tuple(
            Activity(layer, found.step_rates.get(layer, ()), reach, (-np.inf, np.inf))
            for layer, reach in found.membranes.items()  # nothing was proved about them
        ),
        "conventions": found.conventions,
        "ac": ac_range(graph, found),
        "counted": name,
        "counted_samples": found.samples,
    }
