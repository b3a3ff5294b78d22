"""Policies and waivers: read strictly, applied by name, never silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Add, AvgPool2d, Conv2d, Flatten, Linear, Neuron, TimeMean
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.rules.finding import (
    ARITHMETIC,
    BOUNDARY,
    COUNTING,
    RULES,
    SPIKE_DOMAIN,
    Finding,
    compliant,
    headline,
)
from purespike.compiler.rules.graph_rules import (
    check_arithmetic,
    check_domains,
    check_operations,
)
from purespike.compiler.rules.measure import BATCH, measure
from purespike.compiler.rules.policy import (
    BUILT_IN,
    POLICIES,
    STRICT,
    PolicyError,
    apply_policy,
    read_policy,
)
from purespike.compiler.rules.waiver import (
    Waiver,
    WaiverError,
    Waivers,
    apply_waivers,
    read_waivers,
)

TODAY = date(2026, 6, 1)
WAIVER = Waiver("PS005", "blocks.*.neuron", "A. Person", "hardware leak", date(2026, 6, 30))
KEPT = tuple(Finding(r, "x", "PASS", "") for r in RULES)


def broken(where: str = "blocks.1.neuron") -> Finding:
    return Finding(ARITHMETIC, where, "FAIL", "MUL 3")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_shown_policy_reads_back_as_the_same_policy(name: str, tmp_path: Path) -> None:
    policy = read_policy(name)
    assert policy == POLICIES[name] and policy.description
    path = tmp_path / "ours.toml"
    path.write_text(policy.to_toml())
    assert read_policy(str(path)) == replace(policy, name="ours")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("leak_multiplies = false", ""), "missing leak_multiplies"),
        (("leak_multiplies", "leak_multiply"), "unknown leak_multiply; missing leak_multiplies"),
        (("leak_multiplies = false", "leak_multiplies = 0"), "true or false"),
        (("accuracy_drop = 0.5", "accuracy_drop = true"), "a number"),
        (("accuracy_drop = 0.5", "accuracy_drop = nan"), "0 to 100"),
        (("accuracy_drop = 0.5", "accuracy_drop = -1"), "0 to 100"),
        (("accuracy_drop = 0.5", "accuracy_drop ="), "not TOML"),
    ],
)
def test_a_policy_with_a_mistake_is_refused(
    change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(STRICT.to_toml().replace(*change))
    with pytest.raises(PolicyError) as e:
        read_policy(str(path))
    assert says in str(e.value) and str(path) in str(e.value)


def test_an_unknown_or_missing_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="unknown policy"):
        read_policy("lenient")
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(str(tmp_path / "none.toml"))


def averaged_classifier() -> Graph:
    """Spikes added (SEW), averaged over overlapping windows, classified."""
    ones = np.ones((1, 1, 1, 1))
    nodes = [
        ("conv", Conv2d(ones), ("x",)),
        ("neuron", Neuron(np.ones(())), ("conv",)),
        ("join", Add(), ("neuron", "x")),
        ("pool", AvgPool2d((2, 2), (1, 1)), ("join",)),
        ("flat", Flatten(), ("pool",)),
        ("head", Linear(np.ones((3, 9))), ("flat",)),
        ("mean", TimeMean(2), ("head",)),
    ]
    return build((Edge("x", (1, 4, 4), SPIKE),), nodes, ("mean",), 2)


def test_the_paper_policy_excepts_the_classifier_and_nothing_before_it() -> None:
    graph = averaged_classifier()
    findings = [*check_domains(graph), *check_operations(graph)]
    strict = apply_policy(findings, graph, STRICT)
    assert {f.where for f in strict if f.status == "FAIL"} == {"join", "pool", "head", "mean"}
    paper = apply_policy(findings, graph, POLICIES["paper"])
    assert {f.where for f in paper if f.status == "FAIL"} == {"join"}
    (head,) = [f for f in paper if f.rule == SPIKE_DOMAIN and f.where == "head"]
    assert "the classifier may be MAC under policy paper" in head.measured
    assert head.excused == "the classifier"
    assert not any(f.excused for f in strict)


def test_a_synapse_that_receives_no_spikes_in_any_batch_breaks_ps002_once() -> None:
    nodes = [
        ("conv", Conv2d(np.ones((1, 1, 1, 1))), ("x",)),
        ("neuron", Neuron(np.ones(())), ("conv",)),
    ]
    graph = build((Edge("x", (1, 2, 2), ANALOG),), nodes, ("neuron",), 1)
    for batches in ((0.5, 1, 1), (1, 0.5, 1), (1, 1, 0.5), (0.5, 0.5, 0.5), (1, 1, 1)):
        x = np.repeat(np.array(batches), BATCH).reshape(1, -1, 1, 1, 1) * np.ones((2, 2))
        (finding,) = measure(graph, x).findings
        assert finding.status == ("FAIL" if 0.5 in batches else "PASS")
        assert ("0.5 at step 0" in finding.measured) is (0.5 in batches)


def leaky(decay: float = 0.5) -> Graph:
    nodes = [
        ("conv", Conv2d(np.ones((1, 1, 1, 1))), ("x",)),
        ("neuron", Neuron(np.ones(()), decay=decay), ("conv",)),
    ]
    return build((Edge("x", (1, 4, 4), SPIKE),), nodes, ("neuron",), 2)


def test_a_leak_that_multiplies_is_excused_by_name_and_only_where_it_runs() -> None:
    for graph, allowed, status, excused in (
        (leaky(), True, "PASS", "the leak of neurons"),
        (leaky(), False, "FAIL", ""),
        (leaky(decay=1.0), True, "PASS", ""),
    ):
        dense = {n.name: dense_counts(graph, n).times(graph.steps) for n in graph.nodes}
        found = {f.where: f for f in check_arithmetic(graph, dense, leak_multiplies=allowed)}
        assert (found["neuron"].status, found["neuron"].excused) == (status, excused)
        assert found["conv"].excused == ""


@pytest.mark.parametrize(
    ("decay", "shift"),
    [(0.5, True), (0.25, True), (0.75, True), (1 - 2**-12, True), (0.9, False), (0.625, False)],
)
def test_a_leak_by_shift_and_one_by_multiplication_are_told_apart(
    decay: float, shift: bool
) -> None:
    graph = leaky(decay)
    dense = {n.name: dense_counts(graph, n) for n in graph.nodes}
    found = {f.where: f for f in check_arithmetic(graph, dense, leak_multiplies=False)}
    assert found["neuron"].status == "FAIL"
    assert ("which a shift could apply" in found["neuron"].measured) is shift
    assert ("no power of two" in found["neuron"].measured) is not shift
    assert "leak" not in found["conv"].measured


def test_what_a_policy_excuses_is_never_called_spike_only_without_its_name() -> None:
    excused = replace(KEPT[4], excused="the leak of neurons")
    findings = (*KEPT[:4], excused, *KEPT[5:])
    assert headline(KEPT, policy="leaky") == "SPIKE-ONLY: every rule was checked and holds"
    assert compliant(findings) and headline(findings, policy="leaky") == (
        "SPIKE-ONLY UNDER POLICY leaky, which allows multiplications that run: the leak of neurons"
    )
    static = tuple(r for r in RULES if r.id != "PS010")
    assert headline(KEPT, static, "leaky") == "every static rule holds"
    assert headline(findings, static, "leaky").startswith(
        "every static rule holds under policy leaky, which allows multiplications that run"
    )
    waived = apply_waivers((*findings, broken()), Waivers((WAIVER,), TODAY))
    assert headline(waived, policy="ours").endswith(
        "under policy ours, which allows multiplications that run: the leak of neurons"
    )


def test_what_is_judged_as_it_counts_needs_the_rules_about_counting_and_no_broken_one() -> None:
    counted = {r.id for r in COUNTING}
    findings = tuple(
        f if f.rule.id in counted else replace(f, status="NOT RUN")
        for f in (replace(KEPT[4], excused="the classifier"), *KEPT[:4], *KEPT[5:])
    )
    assert not compliant(findings) and compliant(findings, COUNTING)
    assert headline(findings, COUNTING, "paper") == (
        "COMPLIANT UNDER POLICY paper, which allows multiplications that run: the classifier; "
        "not compiled for a chip"
    )
    for k, f in enumerate(findings):
        for status in ("FAIL", "NOT RUN"):
            changed = (*findings[:k], replace(f, status=status), *findings[k + 1 :])
            still = status == "NOT RUN" and f.rule.id not in counted
            assert compliant(changed, COUNTING) is still
            assert headline(changed, COUNTING, "paper").startswith("COMPLIANT") is still


def test_a_policy_may_forbid_the_host_encoder() -> None:
    graph = averaged_classifier()
    hosted = replace(graph, nodes=(replace(graph.nodes[0], role="host"), *graph.nodes[1:]))
    finding = Finding(BOUNDARY, "inputs and outputs", "PASS", "declared encoder on the host: conv")
    policy = replace(STRICT, host_encoder=False)
    assert [f.status for f in apply_policy([finding], hosted, policy)] == ["FAIL"]
    assert [f.status for f in apply_policy([finding], hosted, STRICT)] == ["PASS"]
    assert [f.status for f in apply_policy([finding], graph, policy)] == ["PASS"]


def test_a_waived_finding_says_who_why_and_until_when_and_is_never_called_spike_only() -> None:
    found = apply_waivers((*KEPT, broken()), Waivers((WAIVER,), TODAY))
    (waived,) = [f for f in found if f.status == "WAIVED"]
    assert waived.waiver is not None
    assert (waived.waiver.who, waived.waiver.until) == ("A. Person", "2026-06-30")
    assert compliant(found)
    assert headline(found) == "ACCEPTED WITH WAIVERS: PS005 waived, every other rule holds"


@pytest.mark.parametrize(("day", "holds"), [(date(2026, 6, 30), True), (date(2026, 7, 1), False)])
def test_a_waiver_ends_after_its_last_day(day: date, holds: bool) -> None:
    found = apply_waivers((*KEPT, broken()), Waivers((WAIVER,), day))
    assert compliant(found) is holds
    own = {f.rule.id: f.status for f in found if f.rule.id in ("PS000",)}
    assert own == {"PS000": "PASS" if holds else "FAIL"}
    assert holds or headline(found) == "NOT SPIKE-ONLY: broken PS000, PS005"


def test_a_waiver_that_matches_nothing_is_broken() -> None:
    for findings in (KEPT, (*KEPT, broken("head.neuron"))):
        found = apply_waivers(findings, Waivers((WAIVER,), TODAY))
        (own,) = [f for f in found if f.rule.id == "PS000"]
        assert own.status == "FAIL" and "matches nothing" in own.measured


def test_what_was_not_run_cannot_be_waived() -> None:
    found = apply_waivers(
        [Finding(ARITHMETIC, "blocks.1.neuron", "NOT RUN", "")], Waivers((WAIVER,), TODAY)
    )
    assert [(f.rule.id, f.status) for f in found] == [("PS000", "NOT RUN"), ("PS005", "NOT RUN")]
    assert "covers only what was not run (PS005 blocks.1.neuron)" in found[0].measured
    assert "have the rule run" in found[0].remedy
    assert apply_waivers([], Waivers((WAIVER,), TODAY)) == ()  # a rule that is not judged here


def test_a_verdict_that_is_open_or_broken_names_what_was_waived_too() -> None:
    waivers = Waivers((WAIVER,), TODAY)
    open_ = replace(KEPT[9], status="NOT RUN")
    found = apply_waivers((*KEPT[:9], open_, *KEPT[10:], broken()), waivers)
    assert headline(found) == "NOT PROVED: not run PS010; waived PS005"
    found = apply_waivers((*KEPT, broken(), broken("other")), waivers)
    assert headline(found) == "NOT SPIKE-ONLY: broken PS005; waived PS005"
    scope = tuple(r for r in RULES if r.id != "PS010")
    found = apply_waivers((*KEPT, broken()), waivers)
    assert headline(found, scope).endswith("every other static rule holds")


def test_waivers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(GOOD)
    assert read_waivers(path, TODAY) == Waivers((WAIVER,), TODAY)


GOOD = """[[waiver]]
rule = "PS005"
where = "blocks.*.neuron"
who = "A. Person"
why = "hardware leak"
until = 2026-06-30
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('who = "A. Person"', ""), "unknown or missing keys"),
        (('who = "A. Person"', 'who = " "'), "says nothing"),
        (('why = "hardware leak"', "why = 3"), "says nothing"),
        (("PS005", "PS999"), "unknown rule"),
        (("2026-06-30", '"2026-06-30"'), "not a date"),
        (("2026-06-30", "2026-06-30T10:00:00"), "not a date"),
        (("2026-06-30", "2026-02-30"), "not TOML"),
        (("[[waiver]]", "[[waivers]]"), "something else"),
        (("[[waiver]]", "[waiver]"), "something else"),
    ],
)
def test_a_waiver_with_a_mistake_is_refused(
    change: tuple[str, str], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(WaiverError) as e:
        read_waivers(path, TODAY)
    assert says in str(e.value)
