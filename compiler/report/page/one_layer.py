"""All that the page says of one layer that is chosen, and its traces of golden samples."""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.samples import Kept
from purespike.compiler.report.page.tables import status
from purespike.compiler.report.rows.network import EdgeRow, NodeRow
from purespike.compiler.report.sentences import membrane
from purespike.compiler.rules.finding import Finding

_FINDINGS = 12  # of a layer that its card lists; the tables have all


def one_layer(layers: Layers, findings: Sequence[Finding], kept: Kept | None) -> Html | None:
    """The section: a chooser, a card for each layer, and what is drawn of it."""
    if not layers.numbers:
        return None
    mine: dict[int, list[int]] = {}
    for k, f in enumerate(findings):
        for number in (layers.about([f.where]) or "").split():
            mine.setdefault(int(number), []).append(k)
    edges = {e.name: e for e in layers.edges}
    cards = [
        _card(layers, number, name, edges.get(name), mine.get(number, []), findings)
        for name, number in layers.numbers.items()
    ]
    options = [el("option", name, value=k) for name, k in layers.numbers.items()]
    chooser = [el("label", "Layer ", el("select", options, id="layer"))]
    return section(
        "layer-heading",
        "One layer",
        el("p", "Choose a layer here, or click on it in the drawing: all that is known of it."),
        el("div", chooser, class_="chooser"),
        el("div", cards, id="cards"),
        _traces(layers, kept),
        el(
            "noscript",
            el("p", "Traces are drawn by the page's script, which is off."),
            el("style", "[data-card][hidden] { display: block; }"),
        ),
    )


def _card(
    layers: Layers,
    number: int,
    name: str,
    edge: EdgeRow | None,
    mine: Sequence[int],
    findings: Sequence[Finding],
) -> Html:
    facts: list[tuple[str, Child]] = []
    if isinstance(edge, NodeRow):
        shape = "×".join(map(str, edge.shape))
        facts.append(("operation", f"{edge.operation}, {shape}"))
        facts.append(("module", edge.origin))
        facts.append(("membrane", "; ".join(membrane(edge))))
        facts.append(("reads", _links(layers, edge.reads)))
    if edge is not None:
        feeds = [e.name for e in layers.edges if isinstance(e, NodeRow) and name in e.reads]
        facts.append(("goes to", _links(layers, feeds)))
        facts.append(("carries", edge.domain))
        facts.append(("bits", ", ".join(layers.bits(edge))))
    rate = layers.rate(name)
    facts.append(("fires", "" if rate is None else f"{100 * rate:.2f} % of neurons and steps"))
    if name in layers.cores:
        facts.append(("cores, estimated", str(layers.cores[name])))
    if name in layers.counts:
        n = layers.counts[name].counts
        kinds = (k for k in n.__struct_fields__ if getattr(n, k))
        facts.append(("per sample", ", ".join(f"{getattr(n, k):,.0f} {k.upper()}" for k in kinds)))
    facts.append(("findings", _findings(mine, findings)))
    rows = [(el("dt", k), el("dd", v)) for k, v in facts if v]
    brief = f"{name}: {layers.words(edge)}" if edge else name
    return el(
        "div",
        el("h3", name),
        el("dl", rows),
        data_card=True,
        data_t=_thresholds(edge),
        data_l=str(number),
        data_brief=brief + _worst(mine, findings),
        id=f"l{number}",
        hidden=number > 0,
    )


def _thresholds(edge: EdgeRow | None) -> str | None:
    ends = edge.thresholds if isinstance(edge, NodeRow) else None
    return " ".join(f"{x:g}" for x in dict.fromkeys(ends) if x is not None) if ends else None


def _links(layers: Layers, names: Sequence[str]) -> Child:
    """Layers by name, each leading to its card."""
    parts: list[Child] = []
    for name in names:
        to = layers.numbers.get(name)
        parts += [", "] * bool(parts)
        parts.append(name if to is None else el("a", name, href=f"#l{to}", data_l=str(to)))
    return parts or None


def _findings(mine: Sequence[int], findings: Sequence[Finding]) -> Child:
    parts: list[Child] = []
    order = sorted(mine, key=lambda k: findings[k].status == "PASS")
    for k in order[:_FINDINGS]:
        f = findings[k]
        parts += [", "] * bool(parts)
        parts += [el("a", f.rule.id, href=f"#f{k}"), " ", status(f.status)]
    if len(order) > _FINDINGS:
        parts.append(f", and {len(order) - _FINDINGS} more")
    return parts or None


def _worst(mine: Sequence[int], findings: Sequence[Finding]) -> str:
    wrong = [findings[k] for k in mine if findings[k].status != "PASS"]
    said = f"; {len(mine)} finding{'s' * (len(mine) != 1)}"
    if wrong:
        return said + ": " + ", ".join(sorted({f"{f.rule.id} {f.status}" for f in wrong}))
    return f"{said}, all pass" if mine else ""


def _traces(layers: Layers, kept: Kept | None) -> Child:
    if kept is None:
        return None
    samples = [el("option", str(k), value=k) for k in range(kept.samples)]
    choosers = [
        el("label", "Golden sample ", el("select", samples, id="sample")),
        el("label", "Neuron ", el("select", el("option", "0"), id="neuron")),
    ]
    return el(
        "div",
        el("h3", "Spikes and membrane of this layer"),
        el("p", kept.words()),
        el("div", choosers, class_="chooser"),
        el("p", "Nothing was recorded of this layer: it is no neuron.", id="silent", hidden=True),
        el("figure", el("figcaption"), el("div", class_="plot"), id="spikes", hidden=True),
        el("figure", el("figcaption"), el("div", class_="plot"), id="membrane", hidden=True),
        el(
            "details",
            el("summary", "This neuron in numbers"),
            el("div", id="numbers", class_="scroll", tabindex="0", role="region",
               aria_label="The chosen neuron in numbers"),
            id="in-numbers", hidden=True,
        ),
        el("script", Html(kept.block(layers.numbers)), type="application/json", id="golden"),
    )  # fmt: skip
