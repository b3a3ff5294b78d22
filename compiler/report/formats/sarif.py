"""SARIF 2.1.0 (OASIS): code scanning services show each finding at its layer's class."""

from __future__ import annotations

import json
from typing import Any

from purespike.compiler.report.lookup import is_open, limit, source_of
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import RULES, WAIVERS, Finding
from purespike.compiler.rules.pages import read_page

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def to_sarif(report: Report) -> str:
    """What does not pass, as SARIF; what passes is counted in the run's properties.

    Broken findings have level ``error``; what was not run is a ``warning``, or a ``note`` where the
    policy does not demand it; what was waived is an error with an accepted suppression. A rule's
    page is its help: ``helpUri`` would have to be an absolute URI, and a wheel has none.
    """
    rules = [WAIVERS, *RULES]
    findings = report.findings
    shown = [f for f in findings if f.status != "PASS"]
    index = {r.id: k for k, r in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "purespike",
                "version": report.versions.get("purespike", "unknown"),
                "rules": [
                    {
                        "id": r.id,
                        "shortDescription": {"text": r.title},
                        "fullDescription": {"text": r.why},
                        "help": {
                            "text": f"What it checks and how to fix it: {r.command}",
                            "markdown": read_page(r.id),
                        },
                        "defaultConfiguration": {"level": r.severity},
                    }
                    for r in rules
                ],
            }
        },
        "results": [_result(f, report, index) for f in shown],
        "properties": {
            "headline": report.headline,
            "compliant": report.compliant,
            "policy": report.policy,
            "passed": len(findings) - len(shown),
        },
    }
    document = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _result(f: Finding, report: Report, index: dict[str, int]) -> dict[str, Any]:
    allowed = f" (allowed: {limit(f)})" if limit(f) else ""
    remedy = f". To do: {f.remedy}" if f.remedy else ""
    place = f.where or "whole network"
    text = f"{f.status} at {place}: {f.measured}{allowed}{remedy}"
    source = source_of(f, report)
    file = source.file if source else "report.json"
    line = max(1, source.line) if source else 1
    level: str = f.rule.severity
    if f.status == "NOT RUN":
        level = "warning" if is_open(f, report) else "note"
    result: dict[str, Any] = {
        "ruleId": f.rule.id,
        "level": level,
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": file},
                    "region": {"startLine": line},
                },
                "logicalLocations": [{"fullyQualifiedName": place, "kind": "module"}],
            }
        ],
        "partialFingerprints": {"purespike/v1": f"{f.rule.id}:{place}"},
    }
    if f.rule.id in index:
        result["ruleIndex"] = index[f.rule.id]
    if w := f.waiver:
        why = f"{w.who}: {w.why} (until {w.until})"
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return result
