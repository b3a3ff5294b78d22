"""The parts of the page about the verdict: in words, rule by rule, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from purespike.compiler.report.lookup import by_rule, is_open
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.tables import shown
from purespike.compiler.report.report import Report
from purespike.compiler.report.sentences import (
    NO_ACCURACY,
    NOT_COUNTED,
    amount,
    counted,
    joins,
    multiplications,
    on_chip,
    silence,
)
from purespike.compiler.report.tables.counts import known_energy
from purespike.compiler.report.tables.findings import (
    findings_table,
    open_findings,
    rules_table,
    waived_table,
)
from purespike.compiler.rules.finding import Finding
from purespike.compiler.wording import figure

_LONG = 200  # characters of a sentence before it is cut; report.json has everything


def verdict(report: Report, findings: Sequence[Finding]) -> Html:
    """The answer first, for somebody who reads nothing else."""
    failed = [f for f in findings if f.status == "FAIL"]
    missing = [f for f in findings if is_open(f, report) and f.status == "NOT RUN"]
    waived = [f for f in findings if f.status == "WAIVED"]
    groups = {r.id for r in by_rule(findings)}
    rules = len(groups)
    beyond = sorted(groups - set(report.verdict.demanded) - {"PS000"})
    if failed:
        kind = "FAIL"
        ids = sorted({f.rule.id for f in failed})
        words = (
            f"Do not put this network on {report.target} as it is: {len(ids)} of {rules} rules "
            f"are broken, at {len(failed)} {_plural(len(failed), 'place')}. "
            f"{len(missing)} {_plural(len(missing), 'check')} could not run. "
        )
        first = failed[0]
        words += f"First: {first.where or 'the network'}: {first.rule.title}, but found "
        words += f"{_short(first.measured)}."
        if first.remedy:
            words += f" To do: {first.remedy}."
    elif not report.compliant:
        kind = "OPEN"
        words = (
            f"Nothing broken was found, but that is not a proof: {len(missing)} "
            f"{_plural(len(missing), 'check')} did not run, and what was not run does not pass."
        )
    elif beyond:
        kind = "WAIVED"
        words = (
            f"As policy {report.policy} counts, this network holds: every multiplication is one "
            f"that it allows ({amount(multiplications(report))} per sample). Nothing was compiled "
            f"for {report.target}, so this says nothing about {', '.join(beyond)}."
        )
    elif waived:
        kind = "WAIVED"
        people = ", ".join(sorted({f.waiver.who for f in waived if f.waiver}))
        words = (
            f"{len(waived)} broken {_plural(len(waived), 'finding')} "
            f"{'is' if len(waived) == 1 else 'are'} accepted by {people}; "
            "every other rule was checked and holds. This network is not spike-only."
        )
    elif multiplications(report):
        kind = "WAIVED"
        words = (
            f"Every rule was checked and holds under policy {report.policy}, but "
            f"{amount(multiplications(report))} multiplications per sample run on the chip, which "
            "this policy allows."
        )
    else:
        kind = "PASS"
        words = (
            f"On {report.target} this network runs on spikes and additions only: all {rules} "
            f"rules were checked, at {len(findings)} places, and all hold. Every layer was "
            "compared bit for bit between all executors that the report names."
        )
    if waived and kind in ("FAIL", "OPEN"):
        words += f" {len(waived)} more broken {_plural(len(waived), 'finding')} waived: see below."
    return el(
        "div",
        el("strong", report.headline),
        el("p", words),
        el("p", f"{silence(report)}.") if report.verdict.silent else None,
        class_=f"verdict {kind}",
        role="status",
    )


def figures(report: Report) -> Html:
    """The few numbers that a decision needs."""
    pairs: list[tuple[str, str, str]] = []
    for a in report.accuracy:
        if a.stage.startswith(("trained", "integer")):
            low, high = (100 * x for x in a.interval)
            note = f"95 % interval {low:.1f} to {high:.1f} %, N = {a.n}"
            note += f"; {a.note}" if a.note else ""
            pairs.append((f"accuracy, {a.stage}", f"{100 * a.rate:.2f} %", note))
    chip = report.census.chip
    if chip is None:
        pairs.append(("operations", NOT_COUNTED, report.census.not_counted or ""))
    else:
        note = "per sample, on the chip" if on_chip(report) else f"per sample; {counted(report)}"
        pairs.append(("additions of weights (AC)", amount(chip.ac), note))
        if joins(report):
            pairs.append(("ADD joins", joins(report).partition(" ")[0], joins(report)))
        pairs.append(
            ("multiplications", amount(multiplications(report)), f"{note} (MAC and MUL)"),
        )
    known = known_energy(report)
    if known:
        value = f"{_energy(min(known))} to {_energy(max(known))}"
        pairs.append(("energy, projected", value, "by table and sample, never measured"))
    elif chip is None:
        pairs.append(("energy, projected", NOT_COUNTED, "it would follow from the operations"))
    if m := report.resources:
        pairs.append(("cores, estimated", str(m.cores), m.chip))
    items = [
        el("div", el("dt", name), el("dd", value, el("small", note) if note else None))
        for name, value, note in pairs
    ]
    return el("dl", items, class_="figures")


def _energy(nanojoule: float) -> str:
    return f"{figure(nanojoule, 1)} nJ" if nanojoule < 1000 else f"{nanojoule / 1000:,.1f} µJ"


def waivers(report: Report, findings: Sequence[Finding]) -> Html | None:
    """What was accepted, by whom, why, and until when."""
    table = shown(waived_table(findings), long=True)
    if table is None:
        return None
    day = report.waivers.today if report.waivers else "no date"
    return section("waivers", "Waived", el("p", f"Judged on {day}."), table)


def rules(findings: Sequence[Finding], nodes: Mapping[int, int], layers: Layers) -> Html:
    """Rule by rule, then every finding: open ones in full, the rest folded.

    Args:
        findings: All of them.
        nodes: Index of the drawn node by index of the finding.
        layers: With their numbers.
    """
    parts: list[Child] = [shown(rules_table(findings))]
    left = open_findings(findings)
    if left:
        parts.append(el("h3", "Open findings"))
        parts.append(shown(findings_table(f"{len(left)} open", left, nodes), layers, long=True))
    parts.append(el("h3", "All findings, rule by rule"))
    places = {id(f): k for k, f in enumerate(findings)}
    for rule, found in by_rule(findings).items():
        if not found:
            continue
        rest = [(places[id(f)], f) for f in found if f.status not in ("FAIL", "NOT RUN")]
        summary = f"{rule.id} {rule.title}: {len(rest)} of {len(found)} held or waived"
        title = f"{rule.id}: {len(rest)} held or waived"
        parts.append(
            el(
                "details",
                el("summary", summary),
                el("p", f"Why: {found[0].rule.why}. `{found[0].rule.command}` explains it."),
                shown(findings_table(title, rest, nodes), layers, long=True),
                id=rule.id,
            )
        )
    return section("rules", "Rules and findings", *parts)


def not_measured(report: Report, findings: Sequence[Finding], recorded: bool) -> Html:
    """What nobody may read into this report."""
    return section(
        "unknown",
        "What was not measured",
        el("ul", [el("li", x) for x in _gaps(report, findings, recorded)]),
    )


def _gaps(report: Report, findings: Sequence[Finding], recorded: bool) -> Iterator[str]:
    missing = [f for f in findings if f.status == "NOT RUN"]
    for f in missing[:20]:
        yield f"{f.rule.id} {f.where or 'whole network'}: {f.measured}"
    if len(missing) > 20:
        yield f"and {len(missing) - 20} more checks that did not run"
    yield (
        "Nothing was compared with silicon: the chip's arithmetic is what its bit-accurate "
        "simulator says."
    )
    yield "Energy is a projection from published tables; no current was measured."
    if report.census.chip is None:
        yield f"Operations and energy: {counted(report)}."
    elif report.census.samples not in (None, report.samples):
        yield f"Operations were counted for {counted(report)}."
    if not report.accuracy:
        yield f"Accuracy: {NO_ACCURACY}."
    for a in report.accuracy:
        if a.n < report.samples:
            yield f"{a.stage} ran {a.n} of {report.samples} test samples."
    if not report.resources:
        yield "Cores and memory: this report has no mapping onto cores."
    else:
        yield (
            "Cores and memory are an estimate from published limits, not a placement by the "
            "vendor's tools."
        )
    if not recorded:
        yield (
            "Spike rasters need a bundle's golden samples, and so do membrane traces; this page "
            "was made without them."
        )


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _plural(n: int, word: str) -> str:
    return word if n == 1 else word + "s"
