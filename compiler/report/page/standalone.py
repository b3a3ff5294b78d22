"""The page's drawing as a picture of its own: one SVG that brings its colours, light and dark.

Its styles are those of the class ``purespike`` alone, since notebooks put pictures into their page.
"""

from __future__ import annotations

import re

from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.page.elements import Child, Html, el
from purespike.compiler.report.page.layout import Marks
from purespike.compiler.report.page.network import svg
from purespike.compiler.report.page.parts import boxes
from purespike.compiler.report.rows.network import Network

MOST = 400  # nodes of a graph that a picture is drawn of; a report folds larger ones
LEGEND = (("spike", "spikes"), ("integer", "integers"), ("real", "real numbers"))
STYLE = """
.purespike{--paper:#fff;--ink:#222;--faint:#555;--line:#8895a7;--box:#fff;
--spike:#00796b;--integer:#5c6bc0;--real:#c24a00;--lit:#9fe0d4}
@media(prefers-color-scheme:dark){.purespike{--paper:#171c23;--ink:#e6edf3;--faint:#aab4c0;
--line:#6b7889;--box:#222a34;--spike:#4fd1b5;--integer:#a3adff;--real:#ffab6b;--lit:#094a40}}
.purespike text{font:13px system-ui,sans-serif;fill:var(--ink)}
.purespike .small{font-size:11px;fill:var(--faint)}
.purespike .head{font-size:20px;font-weight:600}
.purespike rect{fill:var(--box);stroke:var(--line)}
.purespike .paper{fill:var(--paper);stroke:none}
.purespike .auxiliary rect,.purespike rect.auxiliary{stroke-dasharray:5 4}
.purespike .edge{fill:none;stroke-width:2.5}
.purespike .edge.many{stroke-width:6}
.purespike .spike{stroke:var(--spike)}
.purespike .integer{stroke:var(--integer)}
.purespike .real{stroke:var(--real)}
"""


def framed(inner: Child, wide: float, high: float, *, title: str = "", style: str = "") -> str:
    """A whole SVG file of these elements.

    Args:
        inner: What is drawn.
        wide: Its size in px.
        high: Likewise.
        title: What it shows, for those who do not see it.
        style: Rules in addition, of the class ``purespike``.
    """
    return el(
        "svg",
        el("title", title) if title else None,
        el("style", Html(STYLE + style)),
        el("rect", width=wide, height=high, class_="paper"),
        inner,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide:g} {high:g}",
        width=wide,
        height=high,
        role="img",
        class_="purespike",
    )


def still(drawn: str) -> tuple[Html, float, float]:
    """The page's drawing without links, titles and what scripts fold, and its size."""
    found = re.search(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', drawn, re.DOTALL)
    if found is None:
        raise ValueError("not a drawing of the page")
    left_out = r'<title>.*?</title>| (data-\w+|id|href|tabindex|role|aria-\w+)="[^"]*"'
    inner = re.sub(left_out, "", found[3], flags=re.DOTALL)
    inner = re.sub(r'<g class="(handle|folded)">.*?</g>', "", inner, flags=re.DOTALL)
    inner = re.sub(r"<(/?)a\b", r"<\1g", inner)
    return Html(inner), float(found[1]), float(found[2])


def drawn(network: Network, marks: Marks | None = None) -> tuple[Html, float, float]:
    """A network for `framed`, and its size."""
    return still(svg(boxes(network, {}), marks or Marks()))


def legend(x: float, y: float) -> list[Child]:
    """What the colours of edges mean, in a line."""
    parts: list[Child] = []
    for k, (kind, words) in enumerate(LEGEND):
        at = x + 180 * k
        parts.append(el("path", class_=f"edge {kind}", d=f"M{at:g} {y:g}h40"))
        parts.append(el("text", words, x=at + 50, y=y + 5))
    return parts


def graph_picture(graph: Graph) -> str | None:
    """A graph as one SVG; None if it is too large for one.

    Args:
        graph: At any stage.
    """
    if len(graph.nodes) > MOST:
        return None
    inner, wide, tall = drawn(Network.of(graph, "drawn"))
    wide = max(wide, 560.0)
    title = f"{graph!r}: its nodes from top to bottom, edges coloured by what they carry"
    return framed([inner, *legend(20, tall + 20)], wide, tall + 40, title=title)
