"""Read a report.json and find one's way in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from purespike.compiler.compliance.finding import RULES
from purespike.compiler.errors import PurespikeError
from purespike.compiler.formats.schema import mistakes

Data = Mapping[str, Any]  # a report.json that was checked against its schema
STATUSES = ("FAIL", "NOT RUN", "WAIVED", "PASS")  # worst first
_LARGEST = 1 << 28  # bytes


class ReportError(PurespikeError):
    """A file that is no report of this version."""


def read_report(path: Path) -> dict[str, Any]:
    """A report.json, checked against its schema.

    Raises:
        ReportError: If it cannot be read, or is no report of this version.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ReportError("the report is too large", where=str(path), allowed="256 MiB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ReportError("the report cannot be read", where=str(path), found=str(e)) from e
    wrong = list(islice(mistakes(data), 3))
    if wrong:
        raise ReportError(
            "this is no report of this version",
            where=str(path),
            found="; ".join(wrong),
            allowed="what `purespike report --schema` prints",
            remedy="compile again with this version",
        )
    assert isinstance(data, dict)
    return data


def worst(findings: Iterable[Data]) -> str:
    """The worst status; NOT RUN where there is no finding."""
    found = {f["status"] for f in findings}
    return next((s for s in STATUSES if s in found), "NOT RUN")


def is_open(finding: Data, data: Data) -> bool:
    """Does it stand against the verdict? What was not run does, where the policy demands it."""
    demanded = finding["rule"] in data["verdict"]["demanded"]
    return finding["status"] == "FAIL" or (finding["status"] == "NOT RUN" and demanded)


def by_rule(data: Data) -> dict[str, list[Data]]:
    """The findings of every rule, by id; a rule without any has an empty list."""
    groups: dict[str, list[Data]] = {r.id: [] for r in RULES}
    for f in data["findings"]:
        groups.setdefault(f["rule"], []).append(f)
    return dict(sorted(groups.items()))


def title(rule: str, findings: Iterable[Data]) -> str:
    """What a rule demands."""
    known = {r.id: r.title for r in RULES}
    return known.get(rule) or next((str(f["title"]) for f in findings), rule)


def node_of(finding: Data, names: Iterable[str]) -> str | None:
    """The node of the network that a finding is about, if it is about one."""
    where = str(finding["where"]).split(" (module ")[0]
    tries = (
        where,
        where.removeprefix("%"),
        where.rpartition(": ")[2],
        where.rpartition(" -> ")[2],
    )
    known = set(names)
    return next((t for t in tries if t in known), None)


def layers_in_order(data: Data) -> list[str]:
    """Every layer that some stage or executor was compared at, from the input to the output."""
    stages = [*data["ledger"], *data["executors"]]
    named = dict.fromkeys(name for stage in stages for name in stage["layers"])
    drawn = [n["name"] for n in (data["network"] or {"nodes": []})["nodes"]]
    place = {name: k for k, name in enumerate(drawn)}
    return sorted(named, key=lambda name: place.get(name, len(place)))


def source_of(finding: Data, data: Data) -> Data | None:
    """Class, file and line of the layer that a finding is about, where known."""
    nodes = (data["network"] or {"nodes": []})["nodes"]
    name = node_of(finding, [n["name"] for n in nodes])
    origin = next((n["origin"] for n in nodes if n["name"] == name), finding["where"])
    source: Data | None = data["sources"].get(origin)
    return source


def limit(finding: Data) -> str:
    """What is allowed, with its unit."""
    return f"{finding['limit']} {finding['unit']}".strip()


def percent(share: float) -> str:
    """A share of equal values, never rounded up to all of them."""
    text = f"{100 * share:.3f}"
    return f"{'99.999' if text == '100.000' and share < 1 else text} %"


def resource_map(data: Data) -> Data | None:
    """The mapping onto cores, where the report has one."""
    found: Data | None = data.get("resources")
    return found
