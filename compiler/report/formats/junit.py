"""JUnit XML: CI systems show one suite per rule and one test per place."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from purespike.compiler.report.lookup import by_rule, is_open, limit
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import Finding

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """Every finding as a test case.

    Broken is a failure. What was not run is an error, since a skipped test would pass; skipped is
    what was waived, with who, why and until when, and what the policy does not demand.
    """
    root = ElementTree.Element("testsuites", name=_clean(f"purespike: {report.model}"))
    total = [0, 0, 0, 0]
    for rule, findings in by_rule(report.findings).items():
        kinds = [_kind(f, report) for f in findings]
        counts = [
            max(1, len(findings)),
            kinds.count("failure"),
            kinds.count("error") + (not findings),
            kinds.count("skipped"),
        ]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        name = f"{rule.id} {rule.title}"
        suite = ElementTree.SubElement(root, "testsuite", _counted(counts, name=name))
        if not findings:
            case = ElementTree.SubElement(
                suite, "testcase", classname=rule.id, name="whole network"
            )
            ElementTree.SubElement(case, "error", message="NOT RUN")
        for f in findings:
            _case(suite, f, _kind(f, report))
    root.attrib.update(_counted(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counted(counts: list[int], **more: str) -> dict[str, str]:
    names = ("tests", "failures", "errors", "skipped")
    return {**more, **{n: str(c) for n, c in zip(names, counts, strict=True)}}


def _kind(f: Finding, report: Report) -> str:
    """The element of a finding; empty if it passes."""
    if f.status == "NOT RUN":
        return "error" if is_open(f, report) else "skipped"
    return {"FAIL": "failure", "WAIVED": "skipped"}.get(f.status, "")


def _case(suite: ElementTree.Element, f: Finding, kind: str) -> None:
    where = _clean(f.where or "whole network")
    case = ElementTree.SubElement(suite, "testcase", classname=f.rule.id, name=where)
    if not kind:
        return
    w = f.waiver
    waived = f"WAIVED by {w.who} until {w.until}: {w.why}" if w else ""
    entry = ElementTree.SubElement(case, kind, message=_clean(waived or f.measured))
    lines = (
        f"found: {f.measured}",
        f"allowed: {limit(f)}",
        f"to do: {f.remedy}",
        f"why: {f.rule.why}",
        f"see: {f.rule.command}",
    )
    entry.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NO_XML.sub("?", text)
