"""Parts of the drawing folded to one box, and the bracket that folds them."""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.elements import Html, el, number
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.layout import (
    GAP_Y,
    MARK,
    WIDE,
    Marks,
    cut,
    kind_of,
    rules,
)
from purespike.compiler.report.page.parts import Box
from purespike.compiler.report.page.places import Part

_DOMAIN = 12  # letters of the domain of what leaves a part


def handle(part: Part) -> Html:
    """The bracket on the left that folds a part."""
    x, y = -part.left - 22, part.height
    return el(
        "g",
        el("rect", x=x - 12, y=GAP_Y, width=24, height=y - GAP_Y, class_="grip"),
        el("path", d=f"M{number(x + 8)} {number(GAP_Y)}h-8V{number(y)}h8", class_="bracket"),
        el("path", d=f"M{number(x - 5)} {number(GAP_Y + 12)}h10", class_="sign"),
        role="button",
        tabindex="0",
        aria_expanded="true",
        aria_label=f"fold {_title(part)}",
        class_="handle",
    )


def _title(part: Part) -> str:
    """What the names of a part have in common, or its first and last one."""
    names = [part.drawn[b].name.split(".") for b in part.run if part.drawn[b].role != "input"]
    shared = []
    for pieces in zip(*names, strict=False):
        if len(set(pieces)) > 1:
            break
        shared.append(pieces[0])
    if shared:
        return ".".join(shared)
    return f"{part.drawn[part.run[0]].name} to {part.drawn[part.run[-1]].name}"


def folded(part: Part, marks: Marks) -> Html:
    """The one box that stands for a folded part."""
    own = [part.drawn[b] for b in part.run]
    mine = sorted({i for box in own for i in marks.of(box)})
    worst = next((s for s in MARK if any(marks.findings[i].status == s for i in mine)), "")
    mark = MARK.get(worst, "")
    x, y = -WIDE / 2, GAP_Y
    title = _title(part)
    nodes = sum(len(box.layers) for box in own)
    count = f"{nodes} operations{_bits(own, marks.layers)}"
    small = f"{count}{rules(mine, marks)[0] if mine else ''}"
    facts = _sum(own, marks.layers)
    words = f"unfold {title}: {count}"
    words += f", {facts}" if facts else ""
    words += f" ✕ {rules(mine, marks)[1]}" if mine else ""
    kind = kind_of(part.drawn[part.run[0] - 1].edge.domain) if part.run[0] else ""
    return el(
        "g",
        el("path", d=f"M0 0V{number(y)}", class_=f"edge {kind}") if kind else None,
        el("title", words),
        el("rect", x=x - 3, y=y - 3, width=WIDE + 6, height=part.high + 6, rx=8, class_="deck"),
        el("rect", x=x, y=y, width=WIDE, height=part.high, rx=6, class_=f"box {mark}"),
        el("path", d=f"M{number(x + WIDE - 22)} {number(y + 14)}h10m-5 -5v10", class_="sign"),
        el("text", cut(title, "   "), x=x + 8, y=y + 17),
        el("text", small, x=x + 8, y=y + 33, class_="small"),
        el("text", facts, x=x + 8, y=y + 49, class_="small facts") if facts else None,
        role="button",
        tabindex="0",
        aria_expanded="false",
        class_="folded",
        data_l=" ".join(str(n) for box in own for n in box.layers),
    )


def _bits(own: Sequence[Box], layers: Layers | None) -> str:
    """The widest membrane of a part."""
    names = [layers.edges[k].name for box in own for k in box.layers] if layers else ()
    widths = [w for n in names if layers and (w := layers.membrane_bits(n)) is not None]
    return f", membranes up to {max(widths)} b" if widths else ""


def _sum(own: Sequence[Box], layers: Layers | None) -> str:
    """What leaves a part, how much its neurons fire, and their cores."""
    if layers is None:
        return ""
    names = [layers.edges[k].name for box in own for k in box.layers]
    rates = [r for n in names if (r := layers.rate(n)) is not None]
    cores = sum(layers.cores.get(n, 0) for n in names)
    ends = dict.fromkeys(f"{100 * f(rates):.1f}" for f in (min, max)) if rates else {}
    out = own[-1].edge.domain
    said = [out if len(out) < _DOMAIN else out.partition("[")[0]]
    said += [f"fires {' to '.join(ends)} %"] if ends else []
    said += [f"{cores} core{'s' * (cores != 1)}"] if cores else []
    return " · ".join(said)
