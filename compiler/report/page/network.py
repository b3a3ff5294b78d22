"""The network as a drawing: parts from top to bottom, edges by what they carry.

Each part is drawn unfolded, at its place; the script folds parts by moving those below upwards, so
a page without scripts shows everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.elements import Child, Html, el, number
from purespike.compiler.report.page.folds import folded, handle
from purespike.compiler.report.page.layout import (
    GAP_Y,
    MARK,
    WIDE,
    Marks,
    Part,
    cut,
    kind_of,
    rules,
)
from purespike.compiler.report.page.parts import Box, parts

_HIGH, _FACTS = 42.0, 16.0  # px of a box, and px more where it has a line of facts
_MARGIN = 84.0


def svg(drawn: Sequence[Box], marks: Marks, title: str = "") -> Html:
    """The drawing of the boxes, in their order."""
    runs = parts(drawn)
    high = _HIGH + (_FACTS if marks.layers else 0)
    places = [Part(drawn, run, high) for run in runs]
    middle = max((p.width for p in places), default=WIDE) / 2 + _MARGIN
    y = 8.0
    shown = []
    for part in places:
        shown.append(_part(part, y, middle, marks))
        y += part.height
    y += 8.0
    return el(
        "svg",
        el("title", title) if title else None,
        shown,
        viewBox=f"0 0 {number(2 * middle)} {number(y)}",
        width=2 * middle,
        height=y,
        role="group",
        class_="network",
    )


def _part(part: Part, y: float, middle: float, marks: Marks) -> Html:
    drawn, run = part.drawn, part.run
    whole: list[Child] = []
    for b in run:
        whole += [_edge(part, i, b) for i in drawn[b].reads]
    end = part.place[run[-1]]
    if run.stop < len(drawn) and end[1] + part.high < part.height:  # something else is lower
        way = f"M{number(end[0] + WIDE / 2)} {number(end[1] + part.high)}"
        way += f"C{number(end[0] + WIDE / 2)} {number(part.height)} 0 {number(end[1])} "
        way += f"0 {number(part.height)}"
        whole.append(el("path", d=way, class_=f"edge {kind_of(drawn[run[-1]].edge.domain)}"))
    whole += [_box(part, b, marks) for b in run]
    inner: list[Child] = [el("g", whole, class_="whole")]
    if len(run) > 1:
        inner = [el("g", handle(part), whole, class_="whole"), folded(part, marks)]
    return el(
        "g",
        inner,
        class_="part",
        data_size=len(run),
        data_high=part.height,
        data_low=part.folded,
        data_wide=part.width + 2 * _MARGIN,
        data_narrow=WIDE + 2 * _MARGIN,
        data_x=middle,
        transform=f"translate({number(middle)} {number(y)})",
    )


def _edge(part: Part, source: int, target: int) -> Html:
    drawn = part.drawn
    x2, y2 = part.place[target]
    d2 = part.depth[target]
    if source in part.place:
        (x1, y1), d1 = part.place[source], part.depth[source]
        x1, y1 = x1 + WIDE / 2, y1 + part.high
    else:  # from the part above, which ends in the middle
        x1, y1, d1 = 0.0, 0.0, -1
    if d2 - d1 == 1:
        x2 += WIDE / 2
        half = (y1 + y2) / 2
        line = f"M{number(x1)} {number(y1)}C{number(x1)} {number(half)} "
        line += f"{number(x2)} {number(half)} {number(x2)} {number(y2)}"
    else:  # a skip, or a loop: around the boxes between, on the right
        start, out = x1, part.width / 2 + min(64.0, 16.0 + 10.0 * abs(d2 - d1))
        if source in part.place:
            start, y1 = x1 + WIDE / 2, y1 - part.high / 2
        x2, y2 = x2 + WIDE, y2 + part.high / 2
        line = f"M{number(start)} {number(y1)}C{number(out)} {number(y1)} {number(out)} "
        line += f"{number(y1)} {number(out)} {number((y1 + y2) / 2)}S{number(out)} {number(y2)} "
        line += f"{number(x2)} {number(y2)}"
    box = drawn[source]
    copies = f", {len(box.layers)} trains" if len(box.layers) > 1 else ""
    words = f"{box.name} to {drawn[target].name}: {box.edge.domain}{copies}"
    kind = f"edge {kind_of(box.edge.domain)}{' many' if copies else ''}"
    parts: list[Child] = [el("path", el("title", words), d=line, class_=kind)]
    if box.role == "host" and drawn[target].role != "host":
        half = part.place[target][1] - GAP_Y / 2
        parts.append(el("path", d=f"M-110 {number(half)}H110", class_="border"))
        parts.append(el("text", "host above, chip below", x=8, y=half - 4, class_="small"))
    return el("g", parts)


def _box(part: Part, b: int, marks: Marks) -> Html:
    box, layers = part.drawn[b], marks.layers
    x, y = part.place[b]
    mine = marks.of(box)
    kind = MARK[marks.findings[mine[0]].status] if mine else box.role
    many = f" ×{len(box.layers)}" if len(box.layers) > 1 else ""
    shape = "×".join(map(str, box.edge.shape))
    host = "on the host, " if box.role == "host" else ""
    facts = ", ".join(layers.words(layers.edges[k]) for k in box.layers[:1]) if layers else ""
    words = f"{box.name}{many}: {box.operation}, {host}{shape}, {facts or box.edge.domain}"
    words += f" ✕ {rules(mine, marks)[1]}" if mine else ""
    small = f"{host}{box.operation} {shape}{rules(mine, marks)[0] if mine else ''}"
    shapes: list[Child] = [el("title", words)]
    for k in reversed(range(1, min(3, len(box.layers)))):
        at = {"x": x + 5 * k, "y": y - 4 * k}
        shapes.append(
            el("rect", width=WIDE, height=part.high, rx=6, class_=f"box {box.role}", **at)
        )
    shapes += [
        el("rect", x=x, y=y, width=WIDE, height=part.high, rx=6, class_=f"box {kind}"),
        el("text", cut(box.name, many), x=x + 8, y=y + 17),
        el("text", small, x=x + 8, y=y + 33, class_="small"),
    ]
    if layers:
        line = layers.brief(box.edge, [layers.edges[k] for k in box.layers])
        shapes.append(el("text", line, x=x + 8, y=y + 49, class_="small facts"))
    anchor = f"n{box.layers[0]}"
    others = [el("g", id=f"n{k}") for k in box.layers[1:]]
    if layers is None:
        return el("g", shapes)
    about = " ".join(map(str, box.layers))
    to = f"#f{mine[0]}" if mine else f"#l{box.layers[0]}"
    link = el("a", shapes, href=to, id=anchor, data_l=about)
    return el("g", others, link) if others else link
