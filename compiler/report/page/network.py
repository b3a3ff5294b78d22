"""The network as a drawing: parts from top to bottom, edges by what they carry.

Each part is drawn unfolded, at its place; the script folds parts by moving those below upwards, so
a page without scripts shows everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.elements import Child, Html, el, number
from purespike.compiler.report.page.folds import folded, handle
from purespike.compiler.report.page.lanes import ABOVE, BELOW
from purespike.compiler.report.page.layout import (
    GAP_Y,
    MARK,
    WIDE,
    Marks,
    cut,
    kind_of,
    rules,
)
from purespike.compiler.report.page.parts import Box, parts
from purespike.compiler.report.page.places import DECK, Part, decks
from purespike.compiler.report.page.routes import line, tip

_HIGH, _FACTS = 42.0, 16.0  # px of a box, and px more where it has a line of facts
_MARGIN = 44.0


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
    whole: list[Child] = [_edge(part, i, b, marks) for i, b in part.edges]
    whole += [_box(part, b, marks) for b in part.run]
    inner: list[Child] = [el("g", whole, class_="whole")]
    if len(part.run) > 1:
        inner = [el("g", handle(part), whole, class_="whole"), folded(part, marks)]
    return el(
        "g",
        inner,
        class_="part",
        data_size=len(part.run),
        data_high=part.height,
        data_low=part.folded,
        data_wide=part.width + 2 * _MARGIN,
        data_narrow=WIDE + 2 * _MARGIN,
        data_x=middle,
        transform=f"translate({number(middle)} {number(y)})",
    )


def _edge(part: Part, source: int, target: int, marks: Marks) -> Html:
    drawn = part.drawn
    first = part.run[0] - 1 if source == ABOVE else source  # only its value comes from above
    box = drawn[first]
    copies = f", {len(box.layers)} trains" if len(box.layers) > 1 else ""
    reader = "what follows" if target == BELOW else drawn[target].name
    words = f"{box.name} to {reader}: {box.edge.domain}{copies}"
    kind = f"edge {kind_of(box.edge.domain)}{' many' if copies else ''}"
    lit = marks.ways.get((box.name, reader))
    if target == BELOW:  # on its way to any of those that read it there
        lit = next((kind for (name, _), kind in marks.ways.items() if name == box.name), None)
    way = line(part, source, target)
    shown = f"{kind} {lit}" if lit else kind
    parts: list[Child] = [el("path", el("title", words), d=way, class_=shown)]
    head = tip(part, source, target)
    parts.append(el("path", d=head, class_=f"{kind} tip") if head else None)
    if target != BELOW and box.role == "host" and drawn[target].role != "host":
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
    for k in range(decks(box), 0, -1):
        at = {"x": x + k * DECK[0], "y": y + k * DECK[1]}
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
        return el("g", shapes, class_=marks.lit.get(box.name))
    about = " ".join(map(str, box.layers))
    to = f"#f{mine[0]}" if mine else f"#l{box.layers[0]}"
    link = el("a", shapes, href=to, id=anchor, data_l=about)
    return el("g", others, link) if others else link
