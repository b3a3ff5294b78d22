"""The part of the page that shows the network: the drawing with its tools, and what levels cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purespike.compiler.report.lookup import by_rule
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.layout import MARK, Marks, kind_of
from purespike.compiler.report.page.network import svg
from purespike.compiler.report.page.parts import boxes
from purespike.compiler.report.page.tables import shown
from purespike.compiler.report.tables.levels import copies, levels_table
from purespike.compiler.rules.finding import Finding


def network_section(
    layers: Layers, findings: Sequence[Finding], nodes: Mapping[int, int]
) -> Html | None:
    """The network as it was judged; None if none was captured.

    Args:
        layers: Of the report.
        findings: All of them.
        nodes: Index of the drawn node by index of the finding.
    """
    report, network = layers.report, layers.report.network
    if not network:
        return None
    broken: dict[int, list[int]] = {}
    for k, node in nodes.items():
        if findings[k].status in MARK:
            broken.setdefault(node, []).append(k)
    read = {name for n in network.nodes for name in n.reads}
    kinds = {kind_of(e.domain) for e in layers.edges if e.name in read}
    host = any(n.role == "host" for n in network.nodes)
    boundary = (
        "Dashed amber boxes run on the host; a line marks where the chip begins."
        if host
        else "Everything drawn belongs on the chip; the host only sends the input's spikes, and "
        "takes the arg max of the output: of its spike counts or, where it never fires, of its "
        "last membrane."
    )
    if set(report.verdict.demanded) < {r.id for r in by_rule(findings)} - {"PS000"}:
        boundary = "It was judged by how it counts, and not compiled for a chip."
    drawn = boxes(network, copies(report))
    stacked = any(len(b.layers) > 1 for b in drawn)
    title = (
        f"The network after {network.stage}: {len(network.nodes)} operations, "
        f"{len(broken)} of them with an open finding"
    )
    drawing = svg(drawn, Marks(layers, broken, findings), title)
    return section(
        "network",
        "Network",
        el("p", f"After the pass {network.stage}, T = {network.steps} time steps. {boundary}"),
        _legend(kinds, bool(broken), stacked),
        _tools(),
        el("div", drawing, id="drawing", class_="scroll drawing", tabindex="0", role="region",
           aria_label=title),
        shown(levels_table(report), layers),
    )  # fmt: skip


def _tools() -> Html:
    buttons = (
        ("zoom-in", "+", "Zoom in"),
        ("zoom-out", "−", "Zoom out"),
        ("zoom-fit", "fit", "Fit the width"),
        ("fold-all", "fold", "Fold all parts"),
        ("unfold-all", "unfold", "Unfold all parts"),
    )
    shown: list[Child] = [
        el("button", text, type="button", id=name, aria_label=words, title=words)
        for name, text, words in buttons
    ]
    keys = "Keys in the drawing: + − 0 zoom, arrows move; Ctrl and the wheel zoom too."
    return el("div", shown, el("small", keys), class_="tools", id="tools", hidden=True)


def _legend(kinds: set[str], broken: bool, stacked: bool) -> Html:
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
    if stacked:
        items.append(el("li", "×D: a stack of D copies, one for each level"))
    if broken:
        items.append(el("li", el("span", "✕", class_="status FAIL"), "has a finding: follow it"))
    return el("ul", items, class_="legend")
