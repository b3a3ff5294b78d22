"""The compliance report: plain data, the same bytes for the same build."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.pipeline import LedgerLine
from purespike.compiler.proofs.counts import Counts, total_counts
from purespike.compiler.report.formats.notebook import shown
from purespike.compiler.rules.energy import TABLES, EnergyTable, project
from purespike.compiler.rules.finding import RULES, Finding, Rule, compliant, headline
from purespike.compiler.statistics import wilson_interval

FORMAT = 3  # of report.json; report.schema.json describes it


@dataclass(frozen=True)
class LayerCount:
    """One layer of the census, averaged over the samples that ran."""

    name: str
    origin: str
    operation: str
    runs_on: str  # "chip" or "host"
    counts: Counts  # per sample, all steps
    firing_rate: float | None  # spikes per neuron and step; None for what does not fire
    ac_by_step: tuple[float, ...] = ()  # mean over the samples; empty where no spikes arrive
    ac_by_sample: tuple[float, float] | None = None  # (fewest, most) over the samples
    # How often a synapse stands on the chip: once for each neuron layer that reads its current.
    arrays: int | None = None


@dataclass(frozen=True)
class Accuracy:
    """How many of ``n`` test samples one stage classified correctly."""

    stage: str
    correct: int
    n: int
    identical: int | None = None  # decisions equal to the stage before

    @property
    def rate(self) -> float:
        """Fraction correct."""
        return self.correct / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval (Wilson)."""
        return wilson_interval(self.correct, self.n)


@dataclass(frozen=True)
class Chance:
    """What is right without looking at the input: guessing, or always naming the commonest class.

    Attributes:
        classes: Of the network.
        commonest: Samples of the commonest class.
        n: Samples.
    """

    classes: int
    commonest: int
    n: int

    @property
    def rate(self) -> float:
        """The better of the two."""
        return max(1 / self.classes, self.commonest / self.n)

    def note(self, accuracy: Accuracy) -> str:
        """What has to be said of an accuracy that chance explains; empty for one above it."""
        low, high = accuracy.interval
        if low > self.rate:
            return ""
        words = "at or below chance" if accuracy.rate <= self.rate else "not told from chance"
        return (
            f"{words}: {100 * accuracy.rate:.2f} % (95 % interval {100 * low:.2f} to "
            f"{100 * high:.2f} %), where always naming the commonest class is right in "
            f"{100 * self.commonest / self.n:.2f} %, and guessing among {self.classes} classes in "
            f"{100 / self.classes:.2f} %"
        )

    def data(self) -> dict[str, float]:
        """As JSON-ready data."""
        return {
            "classes": self.classes,
            "guessing": 1 / self.classes,
            "commonest_class": self.commonest / self.n,
        }


@dataclass(frozen=True)
class Activity:
    """What one neuron layer did over all samples, and the bounds that were proved for it."""

    name: str
    rate_by_step: tuple[float, ...]  # spikes per neuron at each step; empty if it never fires
    membrane_observed: tuple[float, float]  # after the reset, in weights
    membrane_bound: tuple[float, float]  # before the reset, for any input, in weights


@dataclass(frozen=True)
class Report:
    """Everything a hardware team signs; no clock and no paths in it."""

    model: str
    target: str
    policy: str
    samples: int
    findings: tuple[Finding, ...]
    census: tuple[LayerCount, ...]
    ledger: tuple[LedgerLine, ...]
    accuracy: tuple[Accuracy, ...]
    timing: tuple[Mapping[str, Any], ...]  # the slack table of the joins
    updates: float | None  # neuron updates per sample; None where no chip would make them
    versions: Mapping[str, str]
    conventions: Mapping[str, Any] | None = None  # as syops-counter, NeuroBench, the AAP paper
    network: Mapping[str, Any] | None = None  # ``describe`` of the graph that was judged
    activity: tuple[Activity, ...] = ()
    membrane_limit: float | None = None  # of the target, in weights
    choices: Mapping[str, Any] = field(default_factory=dict)  # of the policy
    waivers: Mapping[str, Any] | None = None  # as given, with the day they were judged on
    sources: Mapping[str, Any] = field(default_factory=dict)  # module path: class, file, line
    resources: Mapping[str, Any] = field(default_factory=dict)  # layers on cores, an estimate
    ac_range: tuple[float, float] | None = None  # (fewest, most) AC of one sample on the chip
    executors: Mapping[str, Any] = field(default_factory=dict)  # equal values by layer
    chance: Chance | None = None  # None without labels
    demanded: tuple[Rule, ...] = RULES  # what has to hold for the verdict
    counted: str = ""  # the network that the census is of; empty if nothing was counted
    counted_samples: int | None = None  # over which the census is averaged
    uncounted: str = ""  # why nothing was counted
    options: Mapping[str, Any] = field(default_factory=dict)  # what the compiler was told

    def __repr__(self) -> str:
        """One line: the verdict."""
        return f"Report({self.model!r}, {self.headline!r}, findings={len(self.findings)})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .html, .json, .md, .txt, .sarif or .xml (JUnit), as the suffix says.

        Raises:
            UsageError: If the suffix names no format.
            OutputError: If it cannot be written.
        """
        from purespike.compiler.report.formats.save import save_report  # it knows reports

        save_report(self, path)

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and every finding that does not hold."""
        return shown(self.model, self.compliant, self.headline, self.findings)

    @property
    def compliant(self) -> bool:
        """True if every rule that is demanded ran, and none is broken."""
        return compliant(self.findings, self.demanded)

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return headline(self.findings, self.demanded, self.policy)

    def note(self, accuracy: Accuracy) -> str:
        """What has to be said of an accuracy that chance explains; mostly empty."""
        return self.chance.note(accuracy) if self.chance else ""

    def chip_counts(self) -> Counts | None:
        """Operations of one sample on the chip; None if nothing was counted."""
        if not self.census:
            return None
        return total_counts(c.counts for c in self.census if c.runs_on == "chip")

    def energy(self) -> list[dict[str, Any]]:
        """Projections of the chip's work for one sample, each with its source and boundary.

        A range is that of the samples that ran, from the quietest to the busiest. A figure is None
        where a table has none for what runs, and where nothing was counted.
        """
        counts = self.chip_counts()

        def figure(table: EnergyTable, ac: float | None) -> float | None:
            if counts is None:
                return None
            own = counts if ac is None else replace(counts, ac=ac)
            return project(table, own, self.updates)

        return [
            {
                "table": t.name,
                "nanojoule_per_sample": figure(t, None),
                "nanojoule_range": [figure(t, ac) for ac in self.ac_range or (None, None)],
                "source": t.source,
                "boundary": t.boundary,
                "label": "projection",
            }
            for t in TABLES
        ]

    def data(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "format": FORMAT,
            "verdict": {
                "compliant": self.compliant,
                "headline": self.headline,
                "demanded": [r.id for r in self.demanded],
            },
            "model": self.model,
            "target": self.target,
            "policy": self.policy,
            "policy_choices": dict(self.choices),
            "options": dict(self.options),
            "waivers": self.waivers,
            "samples": self.samples,
            "accuracy": [
                {
                    "stage": a.stage,
                    "correct": a.correct,
                    "n": a.n,
                    "rate": a.rate,
                    "interval_95": list(a.interval),
                    "decisions_identical_to_previous_stage": a.identical,
                    **({"note": note} if (note := self.note(a)) else {}),
                }
                for a in self.accuracy
            ],
            **({"chance": self.chance.data()} if self.chance else {}),
            "findings": [
                {
                    **{k: v for k, v in asdict(f).items() if v or k not in ("witness", "excused")},
                    "rule": f.rule.id,
                    "title": f.rule.title,
                    "why": f.rule.why,
                    "severity": f.rule.severity,
                    "help": f.rule.help,
                }
                for f in self.findings
            ],
            "census": {
                "unit": "operations per sample, averaged over the samples that ran",
                "network": self.counted or None,
                "samples": self.counted_samples,
                "not_counted": self.uncounted or None,
                "chip": asdict(chip) if (chip := self.chip_counts()) else None,
                "layers": [asdict(c) for c in self.census],
                "conventions": self.conventions,
            },
            "energy": self.energy(),
            "ledger": [
                {**asdict(line), "promise": str(line.promise), "divergence": _words(line)}
                for line in self.ledger
            ],
            "executors": [{"name": name, **data} for name, data in self.executors.items()],
            "timing": [dict(row) for row in self.timing],
            "network": self.network,
            "activity": [asdict(a) for a in self.activity],
            "membrane_limit": self.membrane_limit,
            "sources": {path: dict(source) for path, source in sorted(self.sources.items())},
            "versions": dict(self.versions),
            **({"resources": dict(self.resources)} if self.resources else {}),
        }

    def to_json(self) -> str:
        """Sorted, indented, without NaN."""
        return json.dumps(_plain(self.data()), indent=1, sort_keys=True, allow_nan=False) + "\n"


def describe(graph: Graph, stage: str) -> dict[str, Any]:
    """The graph as JSON-ready data: what is drawn, without weights.

    Args:
        graph: Any stage of the compiler.
        stage: Which one.
    """

    def edge(e: Edge) -> dict[str, Any]:
        return {"name": e.name, "shape": list(e.shape), "domain": str(e.domain)}

    return {
        "stage": stage,
        "steps": graph.steps,
        "inputs": [edge(e) for e in graph.inputs],
        "outputs": list(graph.outputs),
        "nodes": [
            {
                **edge(n.output),
                "operation": type(n.op).__name__,
                "reads": list(n.inputs),
                "role": n.role,
                "origin": n.origin,
                "fires": isinstance(n.op, Neuron) and n.op.fires,
            }
            for n in graph.nodes
        ],
    }


def _words(line: LedgerLine) -> str | None:
    return str(line.divergence) if line.divergence else None


def _plain(x: Any) -> Any:
    """Numbers that JSON can hold: NaN and infinity become null."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x
