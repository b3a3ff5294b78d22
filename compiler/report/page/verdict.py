"""The parts of the page about the verdict: in words, rule by rule, and what was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from purespike.compiler.report.formats.read import (
    NO_ACCURACY,
    NOT_COUNTED,
    Data,
    amount,
    by_rule,
    counted,
    is_open,
    joins,
    limit,
    resource_map,
    title,
    worst,
)
from purespike.compiler.report.page.elements import Child, Html, el, section, table
from purespike.compiler.wording import figure

_LONG = 200  # characters of a cell before it is cut; report.json has everything


def verdict(data: Data) -> Html:
    """The answer first, for somebody who reads nothing else."""
    findings = data["findings"]
    failed = [f for f in findings if f["status"] == "FAIL"]
    missing = [f for f in findings if is_open(f, data) and f["status"] == "NOT RUN"]
    waived = [f for f in findings if f["status"] == "WAIVED"]
    rules = len(by_rule(data))
    beyond = sorted(set(by_rule(data)) - set(data["verdict"]["demanded"]) - {"PS000"})
    if failed:
        kind = "FAIL"
        ids = sorted({f["rule"] for f in failed})
        words = (
            f"Do not put this network on {data['target']} as it is: {len(ids)} of {rules} rules "
            f"are broken, at {len(failed)} {_plural(len(failed), 'place')}. "
            f"{len(missing)} {_plural(len(missing), 'check')} could not run. "
        )
        first = failed[0]
        words += f"First: {first['where'] or 'the network'}: {first['title']}, but found "
        words += f"{_short(first['measured'])}."
        if first["remedy"]:
            words += f" To do: {first['remedy']}."
    elif not data["verdict"]["compliant"]:
        kind = "OPEN"
        words = (
            f"Nothing broken was found, but that is not a proof: {len(missing)} "
            f"{_plural(len(missing), 'check')} did not run, and what was not run does not pass."
        )
    elif beyond:
        kind = "WAIVED"
        words = (
            f"As policy {data['policy']} counts, this network holds: every multiplication is one "
            f"that it allows ({amount(multiplications(data))} a sample). Nothing was compiled for "
            f"{data['target']}, so this says nothing about {', '.join(beyond)}."
        )
    elif waived:
        kind = "WAIVED"
        people = ", ".join(sorted({f["waiver"]["who"] for f in waived}))
        words = (
            f"{len(waived)} broken {_plural(len(waived), 'finding')} "
            f"{'is' if len(waived) == 1 else 'are'} accepted by {people}; "
            "every other rule was checked and holds. This network is not spike-only."
        )
    elif multiplications(data):
        kind = "WAIVED"
        words = (
            f"Every rule was checked and holds under policy {data['policy']}, but "
            f"{amount(multiplications(data))} multiplications a sample run on the chip, which this "
            "policy allows."
        )
    else:
        kind = "PASS"
        words = (
            f"On {data['target']} this network runs on spikes and additions only: all {rules} "
            f"rules were checked, at {len(findings)} places, and all hold. Every layer was "
            "compared bit for bit between all executors that the report names."
        )
    if waived and kind in ("FAIL", "OPEN"):
        words += f" {len(waived)} more broken {_plural(len(waived), 'finding')} waived: see below."
    return el(
        "div",
        el("strong", data["verdict"]["headline"]),
        el("p", words),
        class_=f"verdict {kind}",
        role="status",
    )


def figures(data: Data) -> Html:
    """The few numbers that a decision needs."""
    pairs: list[tuple[str, str, str]] = []
    for a in data["accuracy"]:
        if a["stage"].startswith(("trained", "integer")):
            low, high = (100 * x for x in a["interval_95"])
            note = f"95 % interval {low:.1f} to {high:.1f} %, N = {a['n']}"
            note += f"; {a['note']}" if "note" in a else ""
            pairs.append((f"accuracy, {a['stage']}", f"{100 * a['rate']:.2f} %", note))
    chip = data["census"]["chip"]
    if chip is None:
        pairs.append(("operations", NOT_COUNTED, data["census"]["not_counted"] or ""))
    else:
        on_chip = str(data["census"]["network"]).startswith("integer")
        note = "a sample, on the chip" if on_chip else f"a sample; {counted(data)}"
        pairs.append(("additions of weights (AC)", amount(chip["ac"]), note))
        if joins(data):
            pairs.append(("ADD joins", joins(data).partition(" ")[0], joins(data)))
        pairs.append(
            ("multiplications", amount(multiplications(data)), f"{note} (MAC and MUL)"),
        )
    known = [x for e in data["energy"] for x in e["nanojoule_range"] if x is not None]
    if known:
        value = f"{_energy(min(known))} to {_energy(max(known))}"
        pairs.append(("energy, projected", value, "by table and sample, never measured"))
    elif chip is None:
        pairs.append(("energy, projected", NOT_COUNTED, "it would follow from the operations"))
    if m := resource_map(data):
        pairs.append(("cores, estimated", str(m["cores"]), m["chip"]))
    items = [
        el("div", el("dt", name), el("dd", value, el("small", note) if note else None))
        for name, value, note in pairs
    ]
    return el("dl", items, class_="figures")


def multiplications(data: Data) -> float | None:
    """MAC and MUL of one sample on the chip; None if nothing was counted."""
    chip = data["census"]["chip"]
    return None if chip is None else float(chip["mac"] + chip["mul"])


def _energy(nanojoule: float) -> str:
    return f"{figure(nanojoule, 1)} nJ" if nanojoule < 1000 else f"{nanojoule / 1000:,.1f} µJ"


def waivers(data: Data) -> Html | None:
    """What was accepted, by whom, why, and until when."""
    waived = [(k, f) for k, f in enumerate(data["findings"]) if f["status"] == "WAIVED"]
    if not waived:
        return None
    rows = [
        (f["rule"], f["where"], f["measured"], *(f["waiver"][k] for k in ("who", "why", "until")))
        for _, f in waived
    ]
    head = ("rule", "where", "found", "who", "why", "until")
    caption = f"{len(rows)} waived, judged on {(data['waivers'] or {}).get('today', 'no date')}"
    return section("waivers", "Waived", el("div", table(caption, head, rows), class_="long"))


def rules(data: Data, nodes: Mapping[int, int]) -> Html:
    """Rule by rule, then every finding: open ones in full, the rest folded.

    Args:
        data: The report.
        nodes: Index of the drawn node by index of the finding.
    """
    groups = by_rule(data)
    overview = [
        (
            el("a", rule, href=f"#{rule}") if found else rule,
            title(rule, found),
            str(len(found)),
            status(worst(found)),
        )
        for rule, found in groups.items()
    ]
    head = ("rule", "what it demands", "places", "result")
    parts: list[Child] = [table("Every rule with its worst result", head, overview, (2,))]
    numbered = list(enumerate(data["findings"]))
    left = [(k, f) for k, f in numbered if f["status"] in ("FAIL", "NOT RUN")]
    left.sort(key=lambda pair: (pair[1]["status"], pair[1]["rule"]))
    if left:
        parts.append(el("h3", "Open findings"))
        parts.append(_findings(f"{len(left)} open", left, nodes))
    parts.append(el("h3", "All findings, rule by rule"))
    for rule, found in groups.items():
        if not found:
            continue
        mine = [(k, f) for k, f in numbered if f["rule"] == rule]
        rest = [(k, f) for k, f in mine if f["status"] not in ("FAIL", "NOT RUN")]
        summary = f"{rule} {title(rule, found)}: {len(rest)} of {len(mine)} held or waived"
        body: list[Child] = [el("p", f"Why: {found[0]['why']}. Explained in {found[0]['help']}.")]
        if rest:
            body.append(_findings(f"{rule}: {len(rest)} held or waived", rest, nodes))
        parts.append(el("details", el("summary", summary), *body, id=rule))
    return section("rules", "Rules and findings", *parts)


def _findings(caption: str, rows: list[tuple[int, Data]], nodes: Mapping[int, int]) -> Html:
    body = []
    for k, f in rows:
        where = f["where"] or "whole network"
        place = el("a", where, href=f"#n{nodes[k]}") if k in nodes else where
        todo = f"To do: {f['remedy']}" if f["remedy"] else None
        cells = [
            el("th", f["rule"], scope="row"),
            el("td", status(f["status"])),
            el("td", place),
            el("td", _short(f["measured"])),
            el("td", _short(limit(f))),
            el("td", todo),
        ]
        body.append(el("tr", cells, id=f"f{k}"))
    head = ("rule", "result", "where", "found", "allowed", "")
    content = el(
        "table",
        el("caption", caption),
        el("thead", el("tr", [el("th", h or el("span", "to do"), scope="col") for h in head])),
        el("tbody", body),
    )
    return el("div", content, class_="scroll long", tabindex="0", role="region", aria_label=caption)


def not_measured(data: Data, has_rasters: bool) -> Html:
    """What nobody may read into this report."""
    return section(
        "unknown",
        "What was not measured",
        el("ul", [el("li", x) for x in _gaps(data, has_rasters)]),
    )


def _gaps(data: Data, has_rasters: bool) -> Iterator[str]:
    missing = [f for f in data["findings"] if f["status"] == "NOT RUN"]
    for f in missing[:20]:
        yield f"{f['rule']} {f['where'] or 'whole network'}: {f['measured']}"
    if len(missing) > 20:
        yield f"and {len(missing) - 20} more checks that did not run"
    yield (
        "Nothing was compared with silicon: the chip's arithmetic is what its bit-accurate "
        "simulator says."
    )
    yield "Energy is a projection from published tables; no current was measured."
    if data["census"]["chip"] is None:
        yield f"Operations and energy: {counted(data)}."
    elif data["census"]["samples"] not in (None, data["samples"]):
        yield f"Operations were counted for {counted(data)}."
    if not data["accuracy"]:
        yield f"Accuracy: {NO_ACCURACY}."
    for a in data["accuracy"]:
        if a["n"] < data["samples"]:
            yield f"{a['stage']} ran {a['n']} of {data['samples']} test samples."
    if not resource_map(data):
        yield "Cores and memory: this report has no mapping onto cores."
    else:
        yield (
            "Cores and memory are an estimate from published limits, not a placement by the "
            "vendor's tools."
        )
    if not has_rasters:
        yield "Spike rasters need a bundle's golden samples; this page was made without them."


def status(text: str) -> Html:
    """A result in its colour; the word itself says it too."""
    mark = {"PASS": "✓", "FAIL": "✕", "WAIVED": "!", "NOT RUN": "?"}[text]
    kind = "OPEN" if text == "NOT RUN" else text
    return el("span", f"{mark} {text}", class_=f"status {kind}")


def _short(text: str) -> str:
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _plural(n: int, word: str) -> str:
    return word if n == 1 else word + "s"
