"""The whole page: verdict first, then the drawing, the findings, the numbers, and the gaps."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.report.formats.read import Data, by_rule, node_of
from purespike.compiler.report.page import measures
from purespike.compiler.report.page import verdict as words
from purespike.compiler.report.page.charts import rasters
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.ledger import ledger
from purespike.compiler.report.page.network import draw, kind_of

_OPEN = ("FAIL", "NOT RUN", "WAIVED")


def to_html(data: Data, spikes: Mapping[str, NDArray[Any]] | None = None) -> str:
    """One self-contained page: no network, the same bytes for the same report.

    Args:
        data: A report.json that is valid.
        spikes: Golden spikes (T, B, *shape) by layer, for the rasters; none without a bundle.
    """
    style, script = _asset("style.css"), _asset("script.js")
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hashed}'"
    title = f"{data['verdict']['headline']} · {data['model']}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="purespike-report", content=f"sha256 {digest(data)}"),
        el("title", title),
        el("style", Html(style)),
    )
    body = el("body", *_body(data, rasters(spikes or {})), el("script", Html(script)))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def digest(data: Data) -> str:
    """Of the whole report, so that a page belongs to one, also where it shows less than all."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _asset(name: str) -> str:
    return (resources.files("purespike.compiler.report.page") / name).read_text(encoding="utf-8")


def _body(data: Data, drawn: Mapping[str, Html]) -> list[Child]:
    nodes = _places(data)
    parts = [
        words.waivers(data),
        _network(data, nodes),
        words.rules(data, nodes),
        measures.counts(data),
        measures.conventions(data),
        measures.firing(data),
        measures.raster(drawn),
        measures.membranes(data),
        measures.timing(data),
        ledger(data),
        measures.cores(data),
        measures.energy(data),
        words.not_measured(data, bool(drawn)),
    ]
    sections = [p for p in parts if p is not None]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(data["versions"].items()))
    choices = ", ".join(
        f"{k} = {str(v).lower() if isinstance(v, bool) else v}"
        for k, v in data["policy_choices"].items()
        if k != "description"
    )
    return [
        el("a", "Skip to the findings", href="#rules", class_="skip"),
        el(
            "header",
            el(
                "h1",
                f"Compliance report: {data['model']} for {data['target']}, policy {data['policy']}",
            ),
            words.verdict(data),
            words.figures(data),
        ),
        el("nav", el("ul", [_link(s) for s in sections]), aria_label="Parts of this page"),
        el("main", sections),
        el(
            "footer",
            el("p", f"Policy {data['policy']}: {choices or 'no choices stated'}."),
            el("p", f"Made with {versions}. Everything here is in report.json."),
        ),
    ]


def _link(part: Html) -> Html:
    anchor = part.split('aria-labelledby="', 1)[1].split('"', 1)[0]
    text = part.split("<h2", 1)[1].split(">", 1)[1].split("</h2>", 1)[0]
    return el("li", el("a", Html(text), href=f"#{anchor}"))


def _places(data: Data) -> dict[int, int]:
    """Index of the drawn node by index of the finding."""
    if not data["network"]:
        return {}
    names = [e["name"] for e in (*data["network"]["inputs"], *data["network"]["nodes"])]
    known = {name: k for k, name in enumerate(names)}
    places = {}
    for k, f in enumerate(data["findings"]):
        name = node_of(f, known)
        if name is not None:
            places[k] = known[name]
    return places


def _network(data: Data, nodes: Mapping[int, int]) -> Html | None:
    network = data["network"]
    if not network:
        return None
    findings = data["findings"]
    names = [e["name"] for e in (*network["inputs"], *network["nodes"])]
    broken: dict[str, list[int]] = {}
    for k, node in nodes.items():
        if findings[k]["status"] in _OPEN:
            broken.setdefault(names[node], []).append(k)
    for own in broken.values():
        own.sort(key=lambda k: _OPEN.index(findings[k]["status"]))
    kinds = {kind_of(e["domain"]) for e in (*network["inputs"], *network["nodes"])}
    host = any(n["role"] == "host" for n in network["nodes"])
    boundary = (
        "Dashed amber boxes run on the host; a line marks where the chip begins."
        if host
        else "Everything drawn belongs on the chip; the host only encodes the input as spikes and "
        "takes the arg max of the output."
    )
    if set(data["verdict"]["demanded"]) < set(by_rule(data)) - {"PS000"}:
        boundary = "It was judged by how it counts, and not compiled for a chip."
    return section(
        "network",
        "Network",
        el(
            "p", f"After the pass {network['stage']}, T = {network['steps']} time steps. {boundary}"
        ),
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
