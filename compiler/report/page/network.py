"""The network as a drawing: nodes from top to bottom, edges by what they carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from purespike.compiler.report.page.elements import Html, el, number
from purespike.compiler.report.rows.network import EdgeRow, Network, NodeRow
from purespike.compiler.rules.finding import Finding

_WIDE, _HIGH, _GAP_X, _GAP_Y, _MARGIN = 220.0, 40.0, 40.0, 34.0, 70.0  # px
_LETTERS = 30  # of a name that fit into a box


def kind_of(domain: str) -> str:
    """``spike``, ``integer`` or ``real``: how an edge is drawn."""
    if domain == "spike":
        return "spike"
    return "integer" if domain.startswith(("int", "ternary")) else "real"


@dataclass(frozen=True)
class _Box:
    """An input or a node, as it is drawn."""

    name: str
    shape: tuple[int, ...]
    domain: str
    operation: str
    reads: tuple[str, ...]
    role: str

    @classmethod
    def of(cls, e: EdgeRow) -> _Box:
        if isinstance(e, NodeRow):
            return cls(e.name, e.shape, e.domain, e.operation, e.reads, e.role)
        return cls(e.name, e.shape, e.domain, "input", (), "input")


def draw(network: Network, broken: Mapping[str, list[int]], findings: Sequence[Finding]) -> Html:
    """The drawing.

    Args:
        network: Of the report.
        broken: Indices of the open findings of a node, by its name.
        findings: All findings.
    """
    nodes = [_Box.of(e) for e in (*network.inputs, *network.nodes)]
    known = {n.name: k for k, n in enumerate(nodes)}
    depth: dict[str, int] = {}
    for n in nodes:
        depth[n.name] = 1 + max((depth.get(i, 0) for i in n.reads), default=-1)
    rows: dict[int, list[str]] = {}
    for name, d in depth.items():
        rows.setdefault(d, []).append(name)
    widest = max(map(len, rows.values()), default=1)
    width = 2 * _MARGIN + widest * _WIDE + (widest - 1) * _GAP_X
    place: dict[str, tuple[float, float]] = {}
    for d, names in rows.items():
        left = (width - len(names) * _WIDE - (len(names) - 1) * _GAP_X) / 2
        for k, name in enumerate(names):
            place[name] = (left + k * (_WIDE + _GAP_X), 10 + d * (_HIGH + _GAP_Y))
    height = 20 + (max(rows, default=0) + 1) * (_HIGH + _GAP_Y)
    hosts = {n.name for n in nodes if n.role == "host"}
    edges = []
    for n in nodes:
        for i in n.reads:
            if i in known:
                source = nodes[known[i]]
                border = i in hosts and n.name not in hosts
                edges.append(_edge(source, n.name, place, depth, border))
    boxes = [_box(k, n, place, broken, findings) for k, n in enumerate(nodes)]
    title = (
        f"The network after {network.stage}: {len(network.nodes)} operations, "
        f"{sum(map(bool, broken.values()))} of them with an open finding"
    )
    drawing = el(
        "svg",
        el("title", title),
        edges,
        boxes,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="group",
        class_="network",
    )
    return el(
        "div", drawing, class_="scroll drawing", tabindex="0", role="region", aria_label=title
    )


def _edge(
    source: _Box,
    target: str,
    place: Mapping[str, tuple[float, float]],
    depth: Mapping[str, int],
    border: bool,
) -> list[Html]:
    (x1, y1), (x2, y2) = place[source.name], place[target]
    y1 += _HIGH
    if depth[target] - depth[source.name] == 1:
        x1, x2 = x1 + _WIDE / 2, x2 + _WIDE / 2
        middle = (y1 + y2) / 2
        line = f"M{number(x1)} {number(y1)}C{number(x1)} {number(middle)} "
        line += f"{number(x2)} {number(middle)} {number(x2)} {number(y2)}"
    else:  # a skip: around the boxes between, on the right
        x1, x2, y1, y2 = x1 + _WIDE, x2 + _WIDE, y1 - _HIGH / 2, y2 + _HIGH / 2
        out = max(x1, x2) + min(60.0, 20.0 + 8.0 * (depth[target] - depth[source.name]))
        line = f"M{number(x1)} {number(y1)}C{number(out)} {number(y1)} "
        line += f"{number(out)} {number(y2)} {number(x2)} {number(y2)}"
    words = f"{source.name} to {target}: {source.domain}"
    parts = [el("path", el("title", words), d=line, class_=f"edge {kind_of(source.domain)}")]
    if border:
        middle = (y1 + y2) / 2
        line = f"M{number(x1 - 110)} {number(middle)}H{number(x1 + 110)}"
        parts.append(el("path", d=line, class_="border"))
        parts.append(el("text", "host above, chip below", x=x1 + 8, y=middle - 4, class_="small"))
    return parts


def _box(
    k: int,
    node: _Box,
    place: Mapping[str, tuple[float, float]],
    broken: Mapping[str, list[int]],
    findings: Sequence[Finding],
) -> Html:
    x, y = place[node.name]
    mine = broken.get(node.name, [])
    worst = findings[mine[0]].status if mine else ""
    kind = {"FAIL": "fail", "NOT RUN": "open", "WAIVED": "waived"}.get(worst, node.role)
    name = node.name
    shown = name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]
    shape = "×".join(map(str, node.shape))
    host = "on the host, " if node.role == "host" else ""
    rules = sorted({findings[i].rule.id for i in mine})
    marks = f" ✕ {', '.join(rules)}" if mine else ""
    brief = f" ✕ {rules[0]}" + (f" +{len(rules) - 1}" if rules[1:] else "") if mine else ""
    words = f"{name}: {node.operation}, {host}{shape}, {node.domain}{marks}"
    parts = [
        el("title", words),
        el("rect", x=x, y=y, width=_WIDE, height=_HIGH, rx=6, class_=f"box {kind}"),
        el("text", shown, x=x + 8, y=y + 16),
        el("text", f"{host}{node.operation} {shape}{brief}", x=x + 8, y=y + 32, class_="small"),
    ]
    if mine:
        return el("a", parts, href=f"#f{mine[0]}", id=f"n{k}", aria_label=words)
    return el("g", parts, id=f"n{k}")
