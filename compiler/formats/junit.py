"""JUnit XML: CI systems show one suite a rule and one test a place."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from purespike.compiler.formats.read import Data, by_rule, limit, title

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(data: Data) -> str:
    """Every finding as a test case.

    Broken is a failure. What was not run is an error, since a skipped test would pass; what was
    waived is skipped, with who, why and until when.
    """
    root = ElementTree.Element("testsuites", name=_clean(f"purespike: {data['model']}"))
    total = [0, 0, 0, 0]
    for rule, findings in by_rule(data).items():
        statuses = [f["status"] for f in findings]
        counts = [
            max(1, len(findings)),
            statuses.count("FAIL"),
            statuses.count("NOT RUN") + (not findings),
            statuses.count("WAIVED"),
        ]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        name = f"{rule} {title(rule, findings)}"
        suite = ElementTree.SubElement(root, "testsuite", _counted(counts, name=name))
        if not findings:
            case = ElementTree.SubElement(suite, "testcase", classname=rule, name="whole network")
            ElementTree.SubElement(case, "error", message="NOT RUN")
        for f in findings:
            _case(suite, f)
    root.attrib.update(_counted(total))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counted(counts: list[int], **more: str) -> dict[str, str]:
    names = ("tests", "failures", "errors", "skipped")
    return {**more, **{n: str(c) for n, c in zip(names, counts, strict=True)}}


def _case(suite: ElementTree.Element, f: Data) -> None:
    where = _clean(f["where"] or "whole network")
    case = ElementTree.SubElement(suite, "testcase", classname=f["rule"], name=where)
    kind = {"FAIL": "failure", "NOT RUN": "error", "WAIVED": "skipped"}.get(f["status"])
    if kind is None:
        return
    w = f["waiver"]
    waived = f"WAIVED by {w['who']} until {w['until']}: {w['why']}" if w else ""
    entry = ElementTree.SubElement(case, kind, message=_clean(waived or f["measured"]))
    lines = (
        f"found: {f['measured']}",
        f"allowed: {limit(f)}",
        f"to do: {f['remedy']}",
        f"why: {f['why']}",
        f"see: {f['help']}",
    )
    entry.text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NO_XML.sub("?", text)
