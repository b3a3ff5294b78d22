"""The verdict: a spike-only network passes on evidence, planted violations fail by name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.flow_cases import (
    FAST,
    LENIENT,
    LeakingAuxiliary,
    Plain,
    ReluInstead,
    average_pool_in_the_middle,
    resnet,
    subject,
)
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.passes.quantize.calibrate import Method
from purespike.compiler.rules.finding import RULES
from purespike.compiler.rules.measure import decisions
from purespike.compiler.rules.policy import LEAKY, Policy
from purespike.flow.build import Build, Options, Subject, build
from purespike.targets.cpu.library import kernels
from purespike.trainer.nn.neuron import LIF

# The labels are the untrained network's own decisions: accuracy is not what is tested here.


def broken(built: Build) -> list[tuple[str, str, str]]:
    return [(f.rule.id, f.where, f.remedy) for f in built.report.findings if f.status == "FAIL"]


@pytest.mark.parametrize("gate", ["or", "and", "iand", "xor", "sn"])
def test_a_full_spike_residual_network_is_proved_spike_only_and_equal_on_all_executors(
    gate: str,
) -> None:
    options = Options(golden=8, lava="fast", lava_samples=12, policy=LENIENT)
    built = build(subject(resnet(gate)), options)
    assert broken(built) == []
    assert built.report.compliant, built.report.headline
    assert {f.rule.id for f in built.report.findings} == {r.id for r in RULES}
    counts = built.report.census.chip
    assert counts is not None
    assert counts.mac == counts.mul == counts.unknown == 0 < counts.ac
    lava = [f for f in built.report.findings if f.where.startswith("Lava: ")]
    assert built.lava is not None and len(lava) == len(built.lava.spikes) + 1  # and the readout
    assert built.report.accuracy[-1].identical == 12
    assert any(row.delay > 0 for row in built.report.timing)  # a real residual join


def test_what_was_not_run_does_not_pass() -> None:
    built = build(subject(resnet()), FAST)
    assert broken(built) == []
    assert not built.report.compliant
    assert built.report.headline == "NOT PROVED: not run PS010"


def test_sew_add_fails_at_the_join_and_says_what_to_do() -> None:
    found = broken(build(subject(resnet("add")), FAST))
    domains = [(where, remedy) for rule, where, remedy in found if rule == "PS001"]
    assert ("blocks.1.conv1", _ADD + " at blocks.0.gate") in domains
    assert ("PS004", "blocks.0.gate", _ADD) in found


_ADD = "join spikes with a logical gate, such as purespike.nn.Or(), instead of ADD"


def test_a_relu_fails_by_name() -> None:
    found = broken(build(subject(ReluInstead()), FAST))
    remedy = "replace the ReLU by a spiking neuron"
    assert ("PS001", "conv2", f"{remedy} at neuron1") in found
    assert ("PS004", "neuron1", remedy) in found


def test_an_average_pool_left_in_place_fails_by_name() -> None:
    found = broken(build(subject(average_pool_in_the_middle()), FAST))
    assert [(rule, where) for rule, where, _ in found] == [("PS001", "conv2"), ("PS004", "planted")]
    assert "MaxPool2d" in found[0][2] and "at planted: take padding 0" in found[0][2]


def test_an_auxiliary_branch_that_feeds_the_main_path_fails_with_its_path() -> None:
    built = build(subject(LeakingAuxiliary()), FAST)
    (leak,) = [f for f in built.report.findings if f.status == "FAIL"]
    assert (leak.rule.id, leak.where) == ("PS003", "aap_add")
    assert "aap_add -> head.0 -> head.1 -> head.2 -> head.3" in leak.measured
    assert "spike stream" in leak.remedy
    assert {f.rule.id for f in built.report.findings if f.status == "NOT RUN"} == {
        r.id for r in RULES if r.id != "PS003"
    }


def test_a_leak_multiplies_under_the_strict_policy_and_passes_where_allowed() -> None:
    planted = subject(Plain(nn.Identity()))
    planted.model.neuron2 = LIF(tau=2.0)
    strict = broken(build(planted, FAST))
    assert [(rule, where) for rule, where, _ in strict] == [("PS005", "neuron2")]
    options = Options(golden=8, lava="none", policy=Policy("l", LEAKY.leak_multiplies, 100.0))
    assert broken(build(planted, options)) == []


def test_the_accuracy_rule_holds_up_to_its_limit_and_not_beyond() -> None:
    model = Plain(nn.Identity())
    x = torch.from_numpy(subject(model, samples=32).spikes).float()
    with torch.no_grad():  # else all samples are of one class
        model.head[-1].bias -= model.eval()(x).mean(0)  # type: ignore[operator]
        labels = model(x).argmax(1)
    case = Subject("case", model, tuple(x.shape[2:]), x, labels)
    coarse = replace(FAST, weight_bits=2)
    built = build(case, coarse)
    trained, _, integer = built.report.accuracy
    drop = 100 * (trained.rate - integer.rate)
    assert drop > 1  # two bits cost something
    for limit, rules in ((drop, []), (drop - 0.01, ["PS012"])):
        options = replace(coarse, policy=Policy("p", False, accuracy_drop=limit))
        assert [rule for rule, _, _ in broken(build(case, options))] == rules


def test_the_ledger_says_what_two_bits_cost() -> None:
    built = build(subject(resnet()), Options(weight_bits=2, golden=8, lava="none", policy=LENIENT))
    assert built.compiled is not None
    line = built.compiled.ledger[-1]
    assert line.name == "quantize" and line.agreement < 0.99 and line.deviation > 0
    assert line.divergence is not None and line.divergence.margin < 1
    assert built.report.ledger[-1].divergence == str(line.divergence)
    assert [entry.deviation for entry in built.report.ledger[:2]] == [
        0.0,
        pytest.approx(0, abs=1e-9),
    ]


def test_the_report_is_the_same_bytes_twice_and_is_plain_json() -> None:
    first, second = (build(subject(resnet()), FAST).report.to_json() for _ in range(2))
    assert first == second
    data = json.loads(first)
    assert data["verdict"]["headline"].startswith("NOT PROVED")
    assert {row["runs_on"] for row in data["census"]["layers"]} == {"chip"}
    assert all(row["label"] == "projection" for row in data["energy"])
    assert data["accuracy"][0]["n"] == 12


def test_energy_and_accumulations_have_a_range_over_samples_and_steps() -> None:
    case = subject(resnet())
    case = replace(case, spikes=case.spikes[:, :5], labels=case.labels[:5])
    built = build(case, FAST)
    data = json.loads(built.report.to_json())
    # An independent count: feed one sample at a time and let its own census say how much ran.
    each = []
    for k in range(len(case.labels)):
        alone = replace(case, spikes=case.spikes[:, k : k + 1], labels=case.labels[k : k + 1])
        each.append(build(alone, FAST).report.data()["census"]["chip"]["ac"])
    ends = [0.9 * ac / 1000 for ac in (min(each), max(each))]  # 0.9 pJ an AC
    assert built.report.energy[0].range == pytest.approx(ends)
    assert data["census"]["chip"]["ac"] == pytest.approx(np.mean(each))
    for row in data["census"]["layers"]:
        if row["ac_by_step"]:
            assert sum(row["ac_by_step"]) == pytest.approx(row["counts"]["ac"])
            assert row["ac_by_sample"][0] <= row["counts"]["ac"] <= row["ac_by_sample"][1]
    for row in data["energy"]:
        low, high = row["nanojoule_range"]
        assert low < row["nanojoule_per_sample"] < high


def test_a_network_in_double_precision_is_judged_too() -> None:
    single, double = (build(subject(m), FAST).report for m in (resnet(), resnet().double()))
    assert double.accuracy[0].n == 12
    assert [f.status for f in single.findings] == [f.status for f in double.findings]


def test_fine_tuning_before_quantization_is_a_pass_like_others() -> None:
    case = subject(resnet())
    x, labels = torch.from_numpy(case.spikes).float(), torch.from_numpy(case.labels)
    taught = replace(case, training=lambda: [(x, labels)])
    options = replace(FAST, weight_bits=3, qat=2, calibration="mse")
    report = build(taught, options).report
    assert [line.name for line in report.ledger][-2:] == ["fine_tune", "quantize"]
    assert report.to_json() == build(taught, options).report.to_json()
    assert report.to_json() != build(taught, replace(options, qat=0)).report.to_json()
    assert [f for f in report.findings if f.status == "FAIL" and f.rule.id != "PS012"] == []
    with pytest.raises(PurespikeError, match="needs training data"):
        build(case, options)
    with pytest.raises(PurespikeError, match="cannot follow"):
        build(taught, replace(options, calibration="agreement"))


def test_what_was_fine_tuned_is_evaluated_on_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the interpreter would: it repeats one sample, and the report says so."""
    if isinstance(kernels(), str):
        pytest.skip(str(kernels()))
    case = subject(resnet())
    x, labels = torch.from_numpy(case.spikes).float(), torch.from_numpy(case.labels)

    def refuse(*_: object) -> None:
        raise AssertionError("the interpreter ran instead")

    with monkeypatch.context() as patched:
        patched.setattr("purespike.judge.fast.lean", refuse)
        patched.setattr("purespike.judge.fast.OPERATIONS", 1.0)
        tuned = replace(case, training=lambda: [(x, labels)])
        built = build(tuned, replace(FAST, qat=1, calibration="max"))
    (row,) = (row for row in built.report.executors if row.name == "cpu")
    assert row.samples == 1
    assert built.graph is not None
    right = int((decisions(built.graph, case.spikes) == case.labels).sum())  # by the interpreter
    assert built.report.accuracy[-1].correct == right


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "agreement"])
def test_every_calibration_leaves_a_network_that_all_executors_agree_on(method: Method) -> None:
    case = subject(resnet("iand"), samples=16)
    case = replace(case, calibration=case.spikes[:, :8])
    for per_channel in (False, True):
        options = replace(FAST, calibration=method, per_channel=per_channel)
        assert broken(build(case, options)) == []
