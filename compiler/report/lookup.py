"""One's way in a report: findings by rule and by layer, layers in their order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from purespike.compiler.files.reading import read_text
from purespike.compiler.report.report import Report, ReportError
from purespike.compiler.report.rows.network import Source
from purespike.compiler.rules.finding import RULES, Finding, Rule, Status

STATUSES: tuple[Status, ...] = ("FAIL", "NOT RUN", "WAIVED", "PASS")  # worst first
LARGEST = 1 << 28  # bytes


def read_report(path: Path) -> Report:
    """A report.json, in this format or in format 2.

    Raises:
        ReportError: If it cannot be read, or is not a report of these formats.
    """
    try:
        return Report.from_json(read_text(path, LARGEST, ReportError, "the report"))
    except (OSError, ValueError) as e:
        raise ReportError(
            "the report cannot be read",
            where=str(path),
            found=(isinstance(e, OSError) and e.strerror) or str(e),
            allowed="the folder of a bundle, or a report.json",
            remedy="name one that exists: `purespike compile NETWORK --out BUNDLE` writes it"
            if isinstance(e, FileNotFoundError)
            else "",
        ) from e
    except ReportError as e:
        e.where = str(path)
        raise


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status; NOT RUN where there is no finding."""
    found = {f.status for f in findings}
    return next((s for s in STATUSES if s in found), "NOT RUN")


def is_open(finding: Finding, report: Report) -> bool:
    """Does it stand against the verdict? What was not run does, where the policy demands it."""
    demanded = finding.rule.id in report.verdict.demanded
    return finding.status == "FAIL" or (finding.status == "NOT RUN" and demanded)


def by_rule(findings: Iterable[Finding]) -> dict[Rule, list[Finding]]:
    """The findings of every rule, in order of id; a rule without any has an empty list."""
    known = {r.id: r for r in RULES}
    groups: dict[Rule, list[Finding]] = {r: [] for r in RULES}
    for f in findings:
        groups.setdefault(known.get(f.rule.id, f.rule), []).append(f)
    return dict(sorted(groups.items(), key=lambda pair: pair[0].id))


def limit(finding: Finding) -> str:
    """What is allowed, with its unit."""
    return f"{finding.limit} {finding.unit}".strip()


def node_of(where: str, names: Iterable[str]) -> str | None:
    """The node of the network that a finding's place names, if it names one."""
    where = where.split(" (module ")[0]
    known = set(names)
    tries = (
        where,
        where.removeprefix("%"),
        where.rpartition(": ")[2],
        where.rpartition(" -> ")[2],
    )
    return next((t for t in tries if t in known), None)


def places(report: Report, findings: Iterable[Finding]) -> dict[int, int]:
    """Index of the drawn node by index of the finding."""
    if report.network is None:
        return {}
    known = {e.name: k for k, e in enumerate((*report.network.inputs, *report.network.nodes))}
    found = ((k, node_of(f.where, known)) for k, f in enumerate(findings))
    return {k: known[name] for k, name in found if name is not None}


def layers_in_order(report: Report) -> list[str]:
    """Every layer that some stage or executor was compared at, from the input to the output."""
    stages: list[Iterable[str]] = [line.layers for line in report.ledger]
    stages += [e.layers for e in report.executors]
    named = dict.fromkeys(name for layers in stages for name in layers)
    drawn = [n.name for n in report.network.nodes] if report.network else []
    place = {name: k for k, name in enumerate(drawn)}
    return sorted(named, key=lambda name: place.get(name, len(place)))


def source_of(finding: Finding, report: Report) -> Source | None:
    """Class, file and line of the layer that a finding is about, where known."""
    nodes = {n.name: n for n in report.network.nodes} if report.network else {}
    name = node_of(finding.where, nodes)
    return report.sources.get(nodes[name].origin if name else finding.where)
