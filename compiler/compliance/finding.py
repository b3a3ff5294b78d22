"""One rule checked at one place, and what the policy says about a set of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["PASS", "FAIL", "WAIVED", "NOT RUN"]


@dataclass(frozen=True)
class Rule:
    """A rule of the compliance check: a stable id, what it demands and why."""

    id: str
    title: str
    why: str


SPIKE_DOMAIN = Rule(
    "PS001",
    "every synapse receives spikes (proved on the graph)",
    "a synapse that receives anything but 0 or 1 has to multiply",
)
SPIKE_RUN = Rule(
    "PS002",
    "every synapse received spikes (confirmed on the run)",
    "the proof is about the graph; the run confirms it on real data",
)
AUXILIARY = Rule(
    "PS003",
    "no training-only path is left",
    "auxiliary paths carry accumulated, real-valued features",
)
OPERATIONS = Rule(
    "PS004",
    "only synapses, sums and neurons are left on the chip",
    "batch norm, pooling averages and activations other than spikes need multiplications",
)
ARITHMETIC = Rule(
    "PS005",
    "no multiplication runs on the chip (complete census)",
    "every operation that runs is counted; one that cannot be named fails",
)
CURRENT_RANGE = Rule(
    "PS006",
    "no current can leave its width, for any input",
    "a current that is too large wraps around and fires at random",
)
MEMBRANE_RANGE = Rule(
    "PS007",
    "no membrane can leave its width, for any input",
    "a membrane that reaches its limit clips, which real-valued training never saw",
)
LEGALITY = Rule(
    "PS008",
    "every parameter is one the target can hold",
    "simulators accept values that the chip silently truncates",
)
TIMING = Rule(
    "PS009",
    "both branches of every join arrive in the same step",
    "each synapse takes one step; an unaligned skip adds yesterday's spikes",
)
EXECUTORS = Rule(
    "PS010",
    "all executors agree, layer by layer and bit by bit",
    "equality on the output alone hides compensating errors",
)
BOUNDARY = Rule(
    "PS011",
    "what runs on the host is declared",
    "an undeclared encoder hides multiplications in front of the chip",
)
ACCURACY = Rule(
    "PS012",
    "the integer network is as accurate as the trained one",
    "a network that is legal but wrong helps nobody",
)
RULES = (
    SPIKE_DOMAIN,
    SPIKE_RUN,
    AUXILIARY,
    OPERATIONS,
    ARITHMETIC,
    CURRENT_RANGE,
    MEMBRANE_RANGE,
    LEGALITY,
    TIMING,
    EXECUTORS,
    BOUNDARY,
    ACCURACY,
)


@dataclass(frozen=True)
class Finding:
    """A rule at a place.

    Attributes:
        rule: Which rule.
        where: Module path, layer, or file.
        status: ``NOT RUN`` is a rule that could not be measured; it does not pass.
        measured: What was found.
        limit: What is allowed.
        unit: Of measured and limit.
        remedy: What to do when it fails.
    """

    rule: Rule
    where: str
    status: Status
    measured: str
    limit: str = ""
    unit: str = ""
    remedy: str = ""


def verdict(rule: Rule, where: str, holds: bool, measured: str, **more: str) -> Finding:
    """A finding that passes or fails; a remedy is kept only where it fails."""
    if holds:
        more.pop("remedy", None)
    return Finding(rule, where, "PASS" if holds else "FAIL", measured, **more)


def compliant(findings: Iterable[Finding], rules: tuple[Rule, ...] = RULES) -> bool:
    """True if every one of ``rules`` was run and none is broken."""
    findings = tuple(findings)
    ran = {f.rule.id for f in findings}
    held = all(f.status in ("PASS", "WAIVED") for f in findings)
    return held and ran >= {r.id for r in rules}


def fill_missing(findings: Iterable[Finding], why: str) -> tuple[Finding, ...]:
    """The findings in order of rule, and NOT RUN for each rule that has none."""
    findings = list(findings)
    ran = {f.rule.id for f in findings}
    findings += [Finding(r, "", "NOT RUN", why) for r in RULES if r.id not in ran]
    return tuple(sorted(findings, key=lambda f: f.rule.id))
