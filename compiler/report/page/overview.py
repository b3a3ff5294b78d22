"""What a reviewer asks first, each with its answer and the way to the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from purespike.compiler.report.lookup import by_rule, is_open
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.layers import Layers, signed_bits
from purespike.compiler.report.report import Report
from purespike.compiler.report.sentences import NO_ACCURACY, counted, operations, origin, percent
from purespike.compiler.rules.finding import Finding

_NAMED = 4  # places that an answer names


def overview(layers: Layers, findings: Sequence[Finding], anchors: Sequence[str]) -> Html:
    """The section.

    Args:
        layers: Of the report.
        findings: All of them.
        anchors: Ids of the sections that the page has, which answers lead to.
    """
    rows = [
        el("div", el("dt", question), el("dd", answer, " ", _way(to, anchors)))
        for question, answer, to in _answers(layers, findings)
    ]
    return section("overview", "What a reviewer asks", el("dl", rows, class_="review"))


def _way(to: str, anchors: Sequence[str]) -> Child:
    names = {
        "rules": "Rules and findings",
        "network": "The drawing",
        "ledger": "Stage by stage",
        "unknown": "Everything that was not measured",
        "counts": "Layer by layer",
        "cores": "The core map",
        "membranes": "Every membrane",
    }
    return el("a", names[to], href=f"#{to}") if to in anchors else None


def _answers(layers: Layers, findings: Sequence[Finding]) -> Iterator[tuple[str, str, str]]:
    report = layers.report
    yield "Does it hold?", _held(report, findings), "rules"
    yield "What ran?", _ran(report), "network"
    if report.file:
        yield "Where is it from?", origin(report), ""
    yield "What was compared with what?", _compared(report), "ledger"
    yield "What was not checked?", _missing(report, findings), "unknown"
    yield "How accurate is it?", _accurate(report), "ledger"
    yield "What does a sample cost?", operations(report), "counts"
    yield "How many cores?", _cores(report), "cores"
    yield "How many bits?", _bits(layers), "membranes"


def _held(report: Report, findings: Sequence[Finding]) -> str:
    groups = {rule.id: found for rule, found in by_rule(findings).items() if found}
    broken = [i for i, own in groups.items() if any(f.status == "FAIL" for f in own)]
    waived = [i for i, own in groups.items() if any(f.status == "WAIVED" for f in own)]
    excused = [f for f in findings if f.excused]
    open_ = [
        i for i, own in groups.items() if i not in broken and any(is_open(f, report) for f in own)
    ]
    kept = len(groups) - len({*broken, *open_, *waived})
    parts = [f"{kept} of {len(groups)} rules hold at all of their places"]
    for ids, words in ((broken, "broken"), (open_, "not run"), (waived, "waived")):
        if ids:
            parts.append(f"{words}: {', '.join(ids)}")
    if excused:
        parts.append(f"{len(excused)} places pass only because policy {report.policy} allows them")
    return "; ".join(parts) + "."


def _ran(report: Report) -> str:
    if report.network is None:
        return "Nothing: the compile stopped before a network was captured."
    n = report.network
    firing = sum(node.fires for node in n.nodes)
    return (
        f"The network after {n.stage}: {len(n.nodes)} operations, {firing} with spiking "
        f"neurons, T = {n.steps} steps, {report.samples:,} test samples. "
        f"Operations: {counted(report)}."
    )


def _compared(report: Report) -> str:
    parts = []
    for e in report.executors:
        shares = e.shares()
        equal = sum(share == 1 for share in shares.values())
        samples = f"{e.samples} sample{'s' * (e.samples != 1)}"
        said = f"{e.name}: {equal} of {len(shares)} layers equal over {samples}"
        if not shares:
            said = f"{e.name}: no layer, over {samples}"
        parts.append(said + (", and differs first at " + e.divergence if e.divergence else ""))
    agreed = [line for line in report.ledger if line.agreement is not None]
    moved = [f"{x.name} {percent(x.agreement or 0.0)}" for x in agreed if x.agreement != 1]
    if agreed:
        words = f"{len(agreed)} passes before with after, spikes equal"
        parts.append(words + (f" but for {', '.join(moved[:_NAMED])}" if moved else ""))
    return "; ".join(parts) + "." if parts else "Nothing ran twice."


def _missing(report: Report, findings: Sequence[Finding]) -> str:
    missing = [f for f in findings if f.status == "NOT RUN"]
    named = [f"{f.rule.id} {f.where}".strip() for f in missing]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    checks = f"Did not run: {', '.join(named[:_NAMED])}{more}. " if named else "Every rule ran. "
    return checks + "Nothing was compared with silicon; energy is a projection."


def _accurate(report: Report) -> str:
    if not report.accuracy:
        return f"{NO_ACCURACY[0].upper()}{NO_ACCURACY[1:]}."
    said = (f"{a.stage} {100 * a.rate:.2f} % of {a.n:,}" for a in report.accuracy)
    notes = dict.fromkeys(a.note for a in report.accuracy if a.note)
    return "; ".join((*said, *notes)) + "."


def _cores(report: Report) -> str:
    m = report.resources
    if m is None:
        return "Not estimated."
    fits = "fits" if m.fits else f"does not fit: {len(m.violations)} limits are broken"
    return f"{m.cores:,} on {m.chips:,} {m.chip} (an estimate), which {fits}."


def _bits(layers: Layers) -> str:
    report = layers.report
    bounds = {
        a.name: signed_bits(*a.membrane_bound)  # type: ignore[arg-type]
        for a in report.activity
        if None not in a.membrane_bound
    }
    parts = [f"Weights {layers.weight_bits}"] if layers.weight_bits else ["Nothing was quantized"]
    if bounds and layers.weight_bits:
        widest = max(bounds, key=lambda name: bounds[name])
        parts.append(f"membranes at most {bounds[widest]}, proved for any input ({widest})")
    if report.membrane_limit is not None and layers.weight_bits:
        parts.append(f"the target holds ±{report.membrane_limit:,.0f}")
    return "; ".join(parts) + "."
