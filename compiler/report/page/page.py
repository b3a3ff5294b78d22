"""The whole page: verdict first, then the drawing, the findings, the numbers, and the gaps."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources

from purespike.compiler.ir.interpret import Trace
from purespike.compiler.report.lookup import places
from purespike.compiler.report.page import measures
from purespike.compiler.report.page import verdict as words
from purespike.compiler.report.page.drawing import network_section
from purespike.compiler.report.page.elements import Child, Html, el
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.one_layer import one_layer
from purespike.compiler.report.page.overview import overview
from purespike.compiler.report.page.samples import keep
from purespike.compiler.report.report import Report

_STYLES = ("style.css", "print.css")
_SCRIPTS = ("script.js", "drawing.js", "traces.js")


def to_html(report: Report, trace: Trace | None = None) -> str:
    """One self-contained page: no network, the same bytes for the same report.

    Args:
        report: Any.
        trace: Of the golden samples, for rasters and membranes; none without a bundle.
    """
    style = "".join(map(_asset, _STYLES))
    script = '"use strict";\n' + "".join(map(_asset, _SCRIPTS))
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
    body = el("body", *_body(report, trace), el("script", Html(script)))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def digest(report: Report) -> str:
    """Of the whole report, so that a page belongs to one, also where it shows less than all."""
    text = json.dumps(report.data(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _asset(name: str) -> str:
    return (resources.files("purespike.compiler.report.page") / name).read_text(encoding="utf-8")


def _body(report: Report, trace: Trace | None) -> list[Child]:
    findings = report.findings
    recorded = (*trace.membranes, *trace.values) if trace else ()
    layers = Layers(report, tuple(dict.fromkeys(recorded)))
    kept = keep(trace, layers.thresholds) if trace else None
    nodes = places(report, findings)
    parts = [
        words.waivers(report, findings),
        network_section(layers, findings, nodes),
        one_layer(layers, findings, kept),
        words.rules(findings, nodes, layers),
        measures.counts(layers),
        measures.conventions(layers),
        measures.firing(layers),
        measures.membranes(layers),
        measures.timing(layers),
        measures.ledger(layers),
        measures.cores(layers),
        measures.c_program(layers),
        measures.energy(layers),
        words.not_measured(report, findings, kept is not None),
    ]
    sections = [p for p in parts if p is not None]
    sections.insert(0, overview(layers, findings, [_anchor(s) for s in sections]))
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
        el("p", id="strip", aria_hidden="true", hidden=True),
    ]


def _anchor(part: Html) -> str:
    return part.split('aria-labelledby="', 1)[1].split('"', 1)[0]


def _link(part: Html) -> Html:
    text = part.split("<h2", 1)[1].split(">", 1)[1].split("</h2>", 1)[0]
    return el("li", el("a", Html(text), href=f"#{_anchor(part)}"))
