"""report.json: valid against its published schema, in every state that a report can be in."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import date
from importlib import resources
from typing import Any

import jsonschema
import pytest
from flow_cases import LeakingAuxiliary, Plain, ReluInstead, resnet, subject
from test_verdict import FAST
from torch import nn

from purespike.build import build
from purespike.compiler.compliance.policy import LEAKY
from purespike.compiler.compliance.waiver import Waiver, Waivers
from purespike.trainer.neuron import LIF

DATE = date(2026, 6, 1)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    folder = resources.files("purespike.compiler.compliance")
    data: dict[str, Any] = json.loads((folder / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(data)
    return data


def valid(data: dict[str, Any], schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(data)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(build(subject(resnet("iand")), FAST).report.to_json())
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
    assert whole["sources"]["blocks.0.conv1"]["file"] == "purespike/trainer/blocks.py"
    assert all(s["line"] > 0 and not s["file"].startswith("/") for s in whole["sources"].values())
    own = build(subject(ReluInstead()), FAST).report.data()["sources"]["neuron1"]
    assert (own["class"], own["file"]) == ("ReluInstead", "flow_cases.py")


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
    assert replace(report, findings=kept).headline.startswith("SPIKE-ONLY UNDER POLICY leaky")
    valid(json.loads(report.to_json()), schema)
    (leak,) = [f for f in report.data()["findings"] if f.get("excused")]
    assert (leak["rule"], leak["where"]) == ("PS005", "neuron2")
    no_leak = replace(report, findings=tuple(replace(f, excused="") for f in kept))
    assert no_leak.headline == "SPIKE-ONLY: every rule was checked and holds"


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
