"""One rule checked at one place, and what the policy says about a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["PASS", "FAIL", "WAIVED", "NOT RUN"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Rule:
    """A rule of the compliance check: a stable id, what it demands and why."""

    id: str
    title: str
    why: str
    severity: Severity = "error"

    @property
    def help(self) -> str:
        """The page about the rule, relative to the repository: what, why, example, remedy."""
        return f"docs/rules/{self.id}.md"

    @property
    def command(self) -> str:
        """What prints that page, also where there is no repository."""
        return f"purespike rule {self.id}"


@dataclass(frozen=True)
class Accepted:
    """Who answers for a broken finding, why, and until when (ISO date, that day included)."""

    who: str
    why: str
    until: str


WAIVERS = Rule(
    "PS000",
    "every waiver is in force and still needed",
    "a forgotten waiver hides the next mistake at the same place",
)


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
RESOURCES = Rule(
    "PS013",
    "the network fits the target's resources (estimate)",
    "a network that no chip can hold is found out before anyone has the chip",
)
INDEPENDENT = Rule(
    "PS014",
    "an independent check of the NIR file agrees",
    "a mistake of the compiler could hide in its own proofs; it would have to be made twice",
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
    RESOURCES,
    INDEPENDENT,
)
# What decides how a network counts, where it is not compiled (policies with classifier_mac).
COUNTING = (SPIKE_DOMAIN, SPIKE_RUN, AUXILIARY, OPERATIONS, ARITHMETIC, BOUNDARY)


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
        waiver: Who answers for it, where it is ``WAIVED``.
        witness: An input on which a run breaks the rule, JSON-ready, where one was found.
        excused: What multiplies here and passes only because the policy allows it.
    """

    rule: Rule
    where: str
    status: Status
    measured: str
    limit: str = ""
    unit: str = ""
    remedy: str = ""
    waiver: Accepted | None = None
    witness: Mapping[str, Any] | None = None
    excused: str = ""


def verdict(
    rule: Rule,
    where: str,
    holds: bool,
    measured: str,
    *,
    limit: str = "",
    unit: str = "",
    remedy: str = "",
) -> Finding:
    """A finding that passes or fails; a remedy is kept only where it fails."""
    status: Status = "PASS" if holds else "FAIL"
    return Finding(rule, where, status, measured, limit, unit, "" if holds else remedy)


def compliant(findings: Iterable[Finding], rules: tuple[Rule, ...] = RULES) -> bool:
    """True if every one of ``rules`` was run everywhere, and nothing at all is broken."""
    findings = tuple(findings)
    ids = {r.id for r in rules}
    held = not any(
        f.status == "FAIL" or (f.status == "NOT RUN" and f.rule.id in ids) for f in findings
    )
    return held and {f.rule.id for f in findings} >= ids


def headline(
    findings: Iterable[Finding], rules: tuple[Rule, ...] = RULES, policy: str = "strict"
) -> str:
    """The verdict in words; neither what was waived nor what a policy excuses is spike-only.

    Args:
        findings: All of them.
        rules: Those that are demanded.
        policy: Name of the policy that was applied.
    """
    findings = tuple(findings)
    demanded = {r.id for r in rules}

    def ids(status: Status, among: Iterable[str] | None = None) -> str:
        found = {f.rule.id for f in findings if f.status == status}
        return ", ".join(sorted(found if among is None else found.intersection(among)))

    waived = f"; waived {ids('WAIVED')}" if ids("WAIVED") else ""
    excused = ", ".join(sorted({f.excused for f in findings if f.excused}))
    if ids("FAIL"):
        return f"NOT SPIKE-ONLY: broken {ids('FAIL')}{waived}"
    if not compliant(findings, rules):
        missing = demanded - {f.rule.id for f in findings}
        return (
            f"NOT PROVED: not run {ids('NOT RUN', demanded) or ', '.join(sorted(missing))}{waived}"
        )
    static = "static " if demanded < {r.id for r in RULES} else ""
    allowed = f"which allows multiplications that run: {excused}"
    if rules == COUNTING:
        return f"COMPLIANT UNDER POLICY {policy}, {allowed}; not compiled for a chip{waived}"
    if waived:
        words = f"ACCEPTED WITH WAIVERS: {ids('WAIVED')} waived, every other {static}rule holds"
        return f"{words} under policy {policy}, {allowed}" if excused else words
    if static:
        return f"every static rule holds{f' under policy {policy}, {allowed}' if excused else ''}"
    if excused:
        return f"SPIKE-ONLY UNDER POLICY {policy}, {allowed}"
    return "SPIKE-ONLY: every rule was checked and holds"


def fill_missing(findings: Iterable[Finding], why: str) -> tuple[Finding, ...]:
    """The findings in order of rule, and NOT RUN for each rule that has none."""
    findings = list(findings)
    ran = {f.rule.id for f in findings}
    findings += [Finding(r, "", "NOT RUN", why) for r in RULES if r.id not in ran]
    return tuple(sorted(findings, key=lambda f: f.rule.id))
