"""report.json: valid against its published schema, in every state that a report can be in."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import date
from typing import Any

import jsonschema
import numpy as np
import pytest
from helpers.flow_cases import FAST, LeakingAuxiliary, Plain, ReluInstead, resnet, subject
from torch import nn

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Op
from purespike.compiler.ir.graph import build as graph_of
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.compiler.report.report import Report, ReportError
from purespike.compiler.report.report import schema as published
from purespike.compiler.rules.finding import headline
from purespike.compiler.rules.measure import decide
from purespike.compiler.rules.policy import LEAKY, PAPER
from purespike.compiler.rules.waiver import Waiver, Waivers
from purespike.flow.build import Build, Subject, build
from purespike.trainer.nn.neuron import LIF

DATE = date(2026, 6, 1)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(published())
    jsonschema.Draft202012Validator.check_schema(data)
    return data


def valid(data: dict[str, Any], schema: dict[str, Any]) -> None:
    """By the schema, and read back to the same bytes."""
    jsonschema.Draft202012Validator(schema).validate(data)
    text = json.dumps(data, indent=1, sort_keys=True) + "\n"
    assert Report.from_json(text).to_json() == text


@pytest.fixture(scope="module")
def built() -> Build:
    return build(subject(resnet("iand")), FAST)


@pytest.fixture(scope="module")
def whole(built: Build) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(built.report.to_json())
    return data


def test_a_complete_report_is_valid_and_says_what_was_seen(
    whole: dict[str, Any], schema: dict[str, Any]
) -> None:
    valid(whole, schema)
    nodes = {n["name"]: n for n in whole["network"]["nodes"]}
    assert whole["network"]["stage"] == "quantize" and nodes["stem.2"]["fires"]
    assert nodes["stem.2"]["domain"] == "spike"
    rates = {c["name"]: c["firing_rate"] for c in whole["census"]["layers"]}
    for row in whole["activity"]:
        low, high = row["membrane_observed"]
        assert row["membrane_bound"][0] <= low <= high <= row["membrane_bound"][1]
        if row["rate_by_step"]:
            mean = sum(row["rate_by_step"]) / len(row["rate_by_step"])
            assert mean == pytest.approx(rates[row["name"]])


def test_sources_name_the_class_and_never_this_machine(whole: dict[str, Any]) -> None:
    assert whole["sources"]["blocks.0.conv1"]["file"] == "purespike/trainer/networks/blocks.py"
    assert all(s["line"] > 0 and not s["file"].startswith("/") for s in whole["sources"].values())
    own = build(subject(ReluInstead()), FAST).report.data()["sources"]["neuron1"]
    assert (own["class"], own["file"]) == ("ReluInstead", "helpers/flow_cases.py")


@pytest.mark.parametrize("case", [ReluInstead, LeakingAuxiliary])
def test_the_report_of_a_refused_network_is_valid(
    case: type[nn.Module], schema: dict[str, Any]
) -> None:
    valid(json.loads(build(subject(case()), FAST).report.to_json()), schema)


def test_a_waived_report_is_valid_and_the_clock_is_the_one_given(schema: dict[str, Any]) -> None:
    planted = subject(Plain(nn.Identity()))
    planted.model.neuron2 = LIF(tau=2.0)
    waivers = Waivers((Waiver("PS005", "neuron2", "me", "test", date(2026, 7, 1)),), DATE)
    report = build(planted, replace(FAST, waivers=waivers)).report
    data = json.loads(report.to_json())
    valid(data, schema)
    assert data["waivers"]["today"] == "2026-06-01"
    (waived,) = [f for f in data["findings"] if f["status"] == "WAIVED"]
    assert waived["waiver"] == {"who": "me", "why": "test", "until": "2026-07-01"}


def test_a_policy_that_allows_multiplications_stands_in_the_headline(
    schema: dict[str, Any],
) -> None:
    planted = subject(Plain(nn.Identity()))
    planted.model.neuron2 = LIF(tau=2.0)
    report = build(planted, replace(FAST, policy=replace(LEAKY, accuracy_drop=100.0))).report
    kept = tuple(replace(f, status="PASS") for f in report.findings)  # as if Lava had run
    assert headline(kept, policy="leaky").startswith("SPIKE-ONLY UNDER POLICY leaky")
    valid(json.loads(report.to_json()), schema)
    (leak,) = [f for f in report.data()["findings"] if f.get("excused")]
    assert (leak["rule"], leak["where"]) == ("PS005", "neuron2")
    no_leak = tuple(replace(f, excused="") for f in kept)
    assert headline(no_leak) == "SPIKE-ONLY: every rule was checked and holds"


def classifier_of_membranes() -> Subject:
    """A linear layer behind an integrator: it multiplies, whatever is folded."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray[Any, Any]:
        return rng.integers(-4, 6, shape) / 4

    nodes: list[tuple[str, Op, tuple[str, ...]]] = [
        ("conv", Conv2d(weights(4, 1, 3, 3)), ("x",)),
        ("neuron", Neuron(np.ones(())), ("conv",)),
        ("flat", Flatten(), ("neuron",)),
        ("hidden", Linear(weights(8, 64)), ("flat",)),
        ("sum", Neuron(np.ones(()), reset="none"), ("hidden",)),
        ("head", Linear(weights(3, 8)), ("sum",)),
    ]
    graph = graph_of((Edge("x", (1, 6, 6), SPIKE),), nodes, ("head",), 3)
    x = (rng.random((3, 20, 1, 6, 6)) < 0.4).astype(np.uint8)
    labels = decide(graph, run(graph, x.astype(np.float64)))
    return Subject("membranes", graph, (1, 6, 6), x, labels)


def test_a_classifier_that_multiplies_is_judged_as_the_paper_counts_and_not_compiled(
    schema: dict[str, Any],
) -> None:
    built = build(classifier_of_membranes(), replace(FAST, policy=PAPER))
    data = json.loads(built.report.to_json())
    valid(data, schema)
    assert built.report.compliant and built.golden is None
    assert data["verdict"]["headline"] == (
        "COMPLIANT UNDER POLICY paper, which allows multiplications that run: the classifier; "
        "not compiled for a chip"
    )
    excused = {f["rule"] for f in data["findings"] if f.get("excused")}
    assert excused == {"PS001", "PS002", "PS004", "PS005"}
    missing = {f["rule"] for f in data["findings"] if f["status"] == "NOT RUN"}
    assert missing.isdisjoint(data["verdict"]["demanded"]) and {"PS008", "PS010"} <= missing
    counts = {c["name"]: c["counts"] for c in data["census"]["layers"]}
    assert counts["head"]["mac"] == 3 * 8 * 3 and counts["conv"]["mac"] == 0 < counts["conv"]["ac"]
    aap = data["census"]["conventions"]["aap"]
    ac = counts["conv"]["ac"] + counts["hidden"]["ac"]
    assert aap["dc_nanojoule"] == pytest.approx((4.6 * 72 + 0.9 * ac) / 1000)
    assert [a["name"] for a in data["activity"] if a["rate_by_step"]] == ["neuron"]
    strict = build(classifier_of_membranes(), FAST).report
    assert not strict.compliant
    assert strict.headline == "NOT SPIKE-ONLY: broken PS001, PS004"


def test_a_report_reads_itself_back(built: Build, whole: dict[str, Any]) -> None:
    text = built.report.to_json()
    read = Report.from_json(text)
    assert read == built.report and read.to_json() == text and read.data() == whole
    assert read.findings == built.report.findings


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "Expecting"),
        ("[1]", "report: Expected `object`, got `array`"),
        ('{"format": 4}', "report.format: is 4, must be 3"),
        ('{"format": 3}', "report: Object missing required field"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_report_is_refused_with_its_place(text: str, found: str) -> None:
    with pytest.raises(ReportError) as e:
        Report.from_json(text)
    assert found in e.value.found


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("verdict"),
        lambda d: d.update(extra=1),
        lambda d: d["findings"][0].update(status="MAYBE"),
        lambda d: d["findings"][0].update(status="WAIVED"),
        lambda d: d["findings"][0].update(waiver={"who": "a", "why": "b", "until": "c"}),
        lambda d: d["census"]["chip"].update(ac=-1),
    ],
)
def test_the_schema_refuses_what_is_wrong(
    whole: dict[str, Any], schema: dict[str, Any], change: Any
) -> None:
    data = copy.deepcopy(whole)
    change(data)
    with pytest.raises(jsonschema.ValidationError):
        valid(data, schema)
    with pytest.raises(ReportError):
        Report.from_data(data)
