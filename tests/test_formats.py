"""SARIF, JUnit, Markdown, text and the difference of two reports, made from report.json."""

from __future__ import annotations

import copy
import json
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from helpers.flow_cases import FAST, ReluInstead, resnet, subject
from helpers.rendered import render
from helpers.report_cases import Data, mistakes, typed
from msgspec.structs import replace
from rich.console import Console

from purespike.compiler.report.formats.diff import GateError, compare_reports, read_gates, tripped
from purespike.compiler.report.formats.junit import to_junit
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.sarif import to_sarif
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.lookup import node_of, read_report
from purespike.compiler.report.report import ReportError, schema
from purespike.compiler.report.rows.stages import Equal, ExecutorRow
from purespike.compiler.rules.finding import RULES
from purespike.flow.build import Build, build


def made(text: str) -> Data:
    data: Data = json.loads(text)
    return data


@pytest.fixture(scope="module")
def refused() -> Data:
    return made(build(subject(ReluInstead(), name="re|lu <b>"), FAST).report.to_json())


@pytest.fixture(scope="module")
def built() -> Build:
    return build(subject(resnet("iand")), FAST)


@pytest.fixture(scope="module")
def whole(built: Build) -> Data:
    return made(built.report.to_json())


@pytest.fixture(scope="module")
def waived(refused: Data) -> Data:
    data = copy.deepcopy(refused)
    finding = next(f for f in data["findings"] if f["status"] == "FAIL")
    finding |= {
        "status": "WAIVED",
        "waiver": {"who": "A. Person", "why": "a <reason> | with \x00", "until": "2026-06-30"},
    }
    return data


def count(data: Data, status: str) -> int:
    return sum(f["status"] == status for f in data["findings"])


# SARIF: what the specification (OASIS, sarif-v2.1.0, sections 3.13 to 3.52) demands of the
# properties that we write; nothing else may appear.
_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
_WORDS = {"type": "string", "minLength": 1}
_PAGE = {**_TEXT, "properties": {"text": _WORDS, "markdown": _WORDS}}  # a multiformat message
_RULE = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "shortDescription": _TEXT,
        "fullDescription": _TEXT,
        "help": _PAGE,
        "defaultConfiguration": {"properties": {"level": {"enum": ["error", "warning"]}}},
    },
    "required": ["id"],
    "additionalProperties": False,
}
_LOCATION = {
    "type": "object",
    "properties": {
        "physicalLocation": {
            "type": "object",
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    "properties": {"uri": {"type": "string", "pattern": "^[^/]"}},
                    "required": ["uri"],
                },
                "region": {"properties": {"startLine": {"type": "integer", "minimum": 1}}},
            },
            "required": ["artifactLocation"],
        },
        "logicalLocations": {
            "type": "array",
            "items": {
                "properties": {
                    "fullyQualifiedName": {"type": "string"},
                    "kind": {"type": "string"},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
_RESULT = {
    "type": "object",
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": _TEXT,
        "locations": {"type": "array", "items": _LOCATION},
        "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
        "suppressions": {
            "type": "array",
            "items": {
                "properties": {
                    "kind": {"enum": ["inSource", "external"]},
                    "status": {"enum": ["accepted", "underReview", "rejected"]},
                    "justification": {"type": "string"},
                },
                "required": ["kind"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["message"],
    "additionalProperties": False,
}
SARIF = {
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "tool": {
                        "properties": {
                            "driver": {
                                "properties": {"rules": {"type": "array", "items": _RULE}},
                                "required": ["name"],
                            }
                        },
                        "required": ["driver"],
                    },
                    "results": {"type": "array", "items": _RESULT},
                    "properties": {"type": "object"},
                },
                "required": ["tool"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["version", "runs"],
    "additionalProperties": False,
}


def test_sarif_has_every_finding_that_does_not_pass_with_its_place(refused: Data) -> None:
    log = json.loads(to_sarif(typed(refused)))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    results = run["results"]
    assert len(results) == len(refused["findings"]) - count(refused, "PASS")
    levels = [r["level"] for r in results]
    assert levels.count("error") == count(refused, "FAIL") > 0
    assert levels.count("warning") == count(refused, "NOT RUN") > 0
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in results)
    relu = next(r for r in results if r["ruleId"] == "PS004" and r["level"] == "error")
    (location,) = relu["locations"]
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "neuron1"
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "helpers/flow_cases.py"
    lines = (Path(__file__).parent / "helpers" / "flow_cases.py").read_text().splitlines()
    line = location["physicalLocation"]["region"]["startLine"]
    assert lines[line - 1].startswith("class ReluInstead")
    assert all(r["help"]["text"].endswith(f"purespike rule {r['id']}") for r in rules)
    assert all(r["help"]["markdown"].startswith(f"# {r['id']}: ") for r in rules)


def test_sarif_suppresses_what_is_waived(waived: Data) -> None:
    log = json.loads(to_sarif(typed(waived)))
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (result,) = [r for r in log["runs"][0]["results"] if "suppressions" in r]
    assert "A. Person" in result["suppressions"][0]["justification"]
    assert "2026-06-30" in result["suppressions"][0]["justification"]


def test_junit_counts_what_it_holds_and_never_passes_what_was_not_run(waived: Data) -> None:
    root = ElementTree.fromstring(to_junit(typed(waived)))
    suites = root.findall("testsuite")
    assert [s.attrib["name"].split()[0] for s in suites] == [r.id for r in RULES]
    for element in (root, *suites):
        for attribute, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert int(element.attrib[attribute]) == len(list(element.iter(tag))), attribute
    assert len(list(root.iter("failure"))) == count(waived, "FAIL") > 0
    assert len(list(root.iter("error"))) == count(waived, "NOT RUN") > 0
    (skipped,) = root.iter("skipped")
    assert "A. Person until 2026-06-30" in skipped.attrib["message"]


def test_what_a_policy_does_not_demand_stops_no_gate_and_is_still_shown(whole: Data) -> None:
    counted = copy.deepcopy(whole)
    counted["verdict"] |= {"compliant": True, "demanded": ["PS001"]}
    missing = [f for f in counted["findings"] if f["status"] == "NOT RUN"]
    assert {f["rule"] for f in missing} == {"PS010"}
    root = ElementTree.fromstring(to_junit(typed(counted)))
    assert root.attrib["errors"] == "0" and root.attrib["skipped"] == str(len(missing))
    (run,) = json.loads(to_sarif(typed(counted)))["runs"]
    assert [r["level"] for r in run["results"]] == ["note"] * len(missing)
    assert "PS010 NOT RUN" in to_text(typed(counted))


def test_markdown_puts_verdict_and_waivers_first_and_keeps_its_tables(waived: Data) -> None:
    text = to_markdown(typed(waived))
    assert text.startswith("## ❌ NOT SPIKE-ONLY")
    assert text.index("### Waived") < text.index("### Rules") < text.index("### Open")
    assert "<b>" not in text and "<reason>" not in text
    assert "](" not in text and "`purespike rule PS004`" in text  # CI's summaries resolve no link
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.replace("\\|", "").count("|") for line in tables]
    heads = [k for k, line in enumerate(tables) if set(line) <= set("|-:")]
    assert len(heads) == 4
    for k, head in enumerate(heads):
        stop = heads[k + 1] - 1 if k + 1 < len(heads) else len(tables)
        assert len(set(widths[head - 1 : stop])) == 1


def test_text_says_what_to_do(refused: Data, whole: Data) -> None:
    text = to_text(typed(refused))
    assert text.startswith("NOT SPIKE-ONLY") and "to do: replace the ReLU" in text
    assert "purespike rule PS004" in text
    assert to_text(typed(whole)).startswith("NOT PROVED: not run PS010")


def test_the_terminal_shows_every_stage_and_where_it_first_differs(built: Build) -> None:
    worse = ExecutorRow(
        name="ONNX Runtime",
        samples=8,
        layers={"stem.2": Equal(spikes=1 - 1e-9, membranes=1.0), "fc": Equal(membranes=1.0)},
        divergence="stem.2 (spikes), first at (step, sample, ...) (1, 0): 0 -> 1",
    )
    console = Console(width=160, record=True, file=StringIO())
    console.print(render(replace(built.report, executors=(worse,))))
    text = console.export_text()
    row = next(line for line in text.splitlines() if "│ ONNX Runtime" in line)
    assert "1 of 2" in row and "stem.2 99.999 %" in row
    assert "First divergence, ONNX Runtime: stem.2 (spikes), first at" in text
    quantize = built.report.ledger[-1]
    assert f"First divergence, quantize: {quantize.divergence}"[:60] in text


def test_a_finding_leads_to_its_node() -> None:
    names = ["a.b", "c", "head.0"]
    for where, node in (
        ("c", "c"),
        ("c (module x.y)", "c"),
        ("c -> a.b", "a.b"),
        ("Lava: head.0", "head.0"),
        ("%c", "c"),
        ("whole network", None),
    ):
        assert node_of(where, names) == node


def test_reading_agrees_with_jsonschema_on_the_published_schema(whole: Data, refused: Data) -> None:
    reference = jsonschema.Draft202012Validator(json.loads(schema()))
    changes: list[Any] = [
        lambda d: None,
        lambda d: d.pop("verdict"),
        lambda d: d.update(extra=1),
        lambda d: d.update(format=1),
        lambda d: d.update(network=None),
        lambda d: d.update(network=3),
        lambda d: d["findings"][0].update(status="MAYBE"),
        lambda d: d["findings"][0].update(status="WAIVED"),
        lambda d: d["findings"][0].update(rule="XX1"),
        lambda d: d["census"]["chip"].update(ac=-1),
        lambda d: d["census"]["chip"].update(ac=True),
        lambda d: d["accuracy"][0].update(interval_95=[0.1]),
        lambda d: d["accuracy"][0].update(n="12"),
        lambda d: d["versions"].update(torch=2),
        lambda d: d.update(samples=1.5),
    ]
    wrong = 0
    for original in (whole, refused):
        for change in changes:
            data = copy.deepcopy(original)
            change(data)
            found = mistakes(data)
            assert bool(found) is (not reference.is_valid(data)), found
            wrong += bool(found)
    assert wrong == 2 * (len(changes) - 2)


def test_a_file_that_is_no_report_is_refused_with_the_reason(tmp_path: Path, whole: Data) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(ReportError, match="cannot be read"):
        read_report(path)
    path.write_text("{")
    with pytest.raises(ReportError, match="cannot be read"):
        read_report(path)
    path.write_text(json.dumps(whole | {"format": 1}))
    with pytest.raises(ReportError, match="not a report of this version") as e:
        read_report(path)
    assert "report.format: is 1, must be 3" in str(e.value)


def changed(data: Data, *, points: float = 0.0, ac: float = 1.0) -> Data:
    new = copy.deepcopy(data)
    for row in new["accuracy"]:
        row["rate"] -= points / 100
    new["census"]["chip"]["ac"] *= ac
    return new


@pytest.mark.parametrize(
    ("gate", "held", "broken"),
    [
        ("accuracy=0.5", {"points": 0.5}, {"points": 0.51}),
        ("ac=5", {"ac": 1.05}, {"ac": 1.06}),
    ],
)
def test_a_gate_holds_up_to_its_limit(
    whole: Data, gate: str, held: dict[str, float], broken: dict[str, float]
) -> None:
    gates = read_gates([gate])
    assert tripped(compare_reports(typed(whole), typed(changed(whole, **held))), gates) == ()
    (reason,) = tripped(compare_reports(typed(whole), typed(changed(whole, **broken))), gates)
    assert reason.startswith(f"{gate}: ")


def test_new_findings_trip_and_gone_ones_do_not(whole: Data) -> None:
    worse = copy.deepcopy(whole)
    worse["findings"][0]["status"] = "FAIL"
    gates = read_gates(["findings"])
    difference = compare_reports(typed(whole), typed(worse))
    assert [f.where for f in difference.appeared] == [worse["findings"][0]["where"]]
    assert tripped(difference, gates) == ("findings: 1 new findings",)
    back = compare_reports(typed(worse), typed(whole))
    assert len(back.gone) == 1 and tripped(back, gates) == ()
    excused = copy.deepcopy(worse)
    excused["findings"][0] |= {
        "status": "WAIVED",
        "waiver": {"who": "A. Person", "why": "a reason", "until": "2026-06-30"},
    }
    difference = compare_reports(typed(worse), typed(excused))
    assert (len(difference.waived), difference.gone, difference.appeared) == (1, (), ())


def test_cores_are_compared_where_both_have_them_and_trip_where_not(whole: Data) -> None:
    gates = read_gates(["cores=1"])
    bare = {k: v for k, v in whole.items() if k != "resources"}
    for pair in ((bare, whole), (whole, bare), (bare, bare)):
        (reason,) = tripped(compare_reports(*map(typed, pair)), gates)
        assert "not measured" in reason
    small, large = (whole | {"resources": whole["resources"] | {"cores": n}} for n in (3, 5))
    assert tripped(compare_reports(typed(small), typed(large)), gates) == ("cores=1: 2 cores more",)
    assert tripped(compare_reports(typed(large), typed(small)), gates) == ()


def test_a_refused_build_has_no_accuracy_to_compare(whole: Data, refused: Data) -> None:
    (reason,) = tripped(compare_reports(typed(whole), typed(refused)), read_gates(["accuracy=1"]))
    assert "not measured" in reason


@pytest.mark.parametrize(
    "gate", ["", "ac", "ac=", "ac=-1", "ac=nan", "ac=inf", "energy=1", "findings=2"]
)
def test_a_gate_without_meaning_is_refused(gate: str) -> None:
    with pytest.raises(GateError):
        read_gates([gate])


def test_a_difference_begins_with_what_else_is_not_the_same(whole: Data) -> None:
    def of(**values: Any) -> Any:
        return typed({**whole, **values})

    same = of()
    assert compare_reports(same, same).conditions == ()
    network = {**whole["network"], "steps": whole["network"]["steps"] + 4}
    other = of(
        network=network,
        samples=whole["samples"] + 3,
        policy="ours",
        policy_choices={**whole["policy_choices"], "accuracy_drop": 7.0},
        options={**whole["options"], "weight_bits": 4, "golden": 99},
    )
    found = compare_reports(same, other).conditions
    steps = whole["network"]["steps"]
    assert found[0] == f"time steps: T = {steps}, then {steps + 4}"
    assert found[1].startswith("data: ") and f"{whole['samples'] + 3} samples" in found[1]
    assert found[2].startswith(f"policy: {whole['policy']}, then ours (accuracy_drop ")
    assert found[3] == f"options: weight_bits {whole['options']['weight_bits']}, then 4"
    assert len(found) == 4  # not how many samples were compared


def test_a_difference_says_that_two_files_were_compiled(whole: Data) -> None:
    file = {"name": "a.nir", "sha256": "0" * 64, "format": "NIR", "stated": {"reset": "zero"}}
    file |= {"assumed": {}, "taken": []}
    other = {**file, "name": "b.nir", "sha256": "f" * 64, "stated": {"reset": "subtract"}}
    reports = [typed({**whole, "file": f}) for f in (file, other, None)]
    assert compare_reports(reports[0], reports[0]).conditions == ()
    assert compare_reports(reports[0], reports[2]).conditions == ()  # one of them does not say
    assert compare_reports(reports[0], reports[1]).conditions == (
        "network's file: a.nir (SHA-256 000000000000), then b.nir (SHA-256 ffffffffffff)",
        "what was answered for it: reset zero, then subtract",
    )


@pytest.mark.parametrize(
    ("gate", "guess"),
    [
        ("acc=1", "did you mean accuracy=1 or ac=1?"),
        ("core=2", "did you mean cores=2?"),
        ("finding", "did you mean findings?"),
        ("accurracy", "did you mean accuracy=N?"),
        ("=3", ""),
        ("accuracy=-1", ""),
    ],
)
def test_a_gate_that_is_none_is_answered_with_what_was_meant(gate: str, guess: str) -> None:
    with pytest.raises(GateError) as caught:
        read_gates([gate])
    assert caught.value.remedy == guess
