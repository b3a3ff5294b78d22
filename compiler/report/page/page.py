"""The whole page: verdict first, then the drawing, the findings, the numbers, and the gaps."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.report.lookup import by_rule, places
from purespike.compiler.report.page import measures
from purespike.compiler.report.page import verdict as words
from purespike.compiler.report.page.charts import rasters
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.network import draw, kind_of
from purespike.compiler.report.report import Report
from purespike.compiler.rules.finding import Finding

_OPEN = ("FAIL", "NOT RUN", "WAIVED")


def to_html(report: Report, spikes: Mapping[str, NDArray[Any]] | None = None) -> str:
    """One self-contained page: no network, the same bytes for the same report.

    Args:
        report: Any.
        spikes: Golden spikes (T, B, *shape) by layer, for the rasters; none without a bundle.
    """
    style, script = _asset("style.css"), _asset("script.js")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'"
    title = f"{report.headline} · {report.model}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="purespike-report", content=f"sha256 {digest(report)}"),
        el("title", title),
        el("style", Html(style)),
    )
    body = el("body", *_body(report, rasters(spikes or {})), el("script", Html(script)))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def digest(report: Report) -> str:
    """Of the whole report, so that a page belongs to one, also where it shows less than all."""
    text = json.dumps(report.data(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _asset(name: str) -> str:
    return (resources.files("purespike.compiler.report.page") / name).read_text(encoding="utf-8")


def _body(report: Report, drawn: Mapping[str, Html]) -> list[Child]:
    findings = report.findings
    nodes = places(report, findings)
    parts = [
        words.waivers(report, findings),
        _network(report, findings, nodes),
        words.rules(findings, nodes),
        measures.counts(report),
        measures.conventions(report),
        measures.firing(report),
        measures.raster(drawn),
        measures.membranes(report),
        measures.timing(report),
        measures.ledger(report),
        measures.cores(report),
        measures.c_program(report),
        measures.energy(report),
        words.not_measured(report, findings, bool(drawn)),
    ]
    sections = [p for p in parts if p is not None]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(report.versions.items()))
    choices = ", ".join(
        f"{k} = {str(v).lower() if isinstance(v, bool) else v}"
        for k, v in report.policy_choices.items()
        if k != "description"
    )
    return [
        el("a", "Skip to the findings", href="#rules", class_="skip"),
        el(
            "header",
            el(
                "h1",
                f"Compliance report: {report.model} for {report.target}, policy {report.policy}",
            ),
            words.verdict(report, findings),
            words.figures(report),
        ),
        el("nav", el("ul", [_link(s) for s in sections]), aria_label="Parts of this page"),
        el("main", sections),
        el(
            "footer",
            el("p", f"Policy {report.policy}: {choices or 'no choices stated'}."),
            el("p", f"Made with {versions}. Everything here is in report.json."),
        ),
    ]


def _link(part: Html) -> Html:
    anchor = part.split('aria-labelledby="', 1)[1].split('"', 1)[0]
    text = part.split("<h2", 1)[1].split(">", 1)[1].split("</h2>", 1)[0]
    return el("li", el("a", Html(text), href=f"#{anchor}"))


def _network(report: Report, findings: Sequence[Finding], nodes: Mapping[int, int]) -> Html | None:
    network = report.network
    if not network:
        return None
    names = [e.name for e in (*network.inputs, *network.nodes)]
    broken: dict[str, list[int]] = {}
    for k, node in nodes.items():
        if findings[k].status in _OPEN:
            broken.setdefault(names[node], []).append(k)
    for own in broken.values():
        own.sort(key=lambda k: _OPEN.index(findings[k].status))
    kinds = {kind_of(e.domain) for e in (*network.inputs, *network.nodes)}
    host = any(n.role == "host" for n in network.nodes)
    boundary = (
        "Dashed amber boxes run on the host; a line marks where the chip begins."
        if host
        else "Everything drawn belongs on the chip; the host only encodes the input as spikes and "
        "takes the arg max of the output."
    )
    if set(report.verdict.demanded) < {r.id for r in by_rule(findings)} - {"PS000"}:
        boundary = "It was judged by how it counts, and not compiled for a chip."
    return section(
        "network",
        "Network",
        el("p", f"After the pass {network.stage}, T = {network.steps} time steps. {boundary}"),
        _legend(kinds, bool(broken)),
        draw(network, broken, findings),
    )


def _legend(kinds: set[str], broken: bool) -> Html:
    texts = {
        "spike": "spikes: 0 or 1",
        "integer": "integers: a current on its way into a neuron",
        "real": "real numbers",
    }
    items = [
        el(
            "li",
            el(
                "svg",
                el("path", d="M0 6H36", class_=f"edge {kind}"),
                width=36,
                height=12,
                aria_hidden="true",
            ),
            text,
        )
        for kind, text in texts.items()
        if kind in kinds
    ]
    if broken:
        items.append(el("li", el("span", "✕", class_="status FAIL"), "has a finding: follow it"))
    return el("ul", items, class_="legend")
