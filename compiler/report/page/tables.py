"""A table of the report on the page: links, colours and drawings where it has them."""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.elements import Child, Html, el
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.tables.table import Cell, Drawing, Link, Result, Table, text
from purespike.compiler.rules.finding import Status

_DRAWN = el("span", "drawn", class_="unseen")  # the heading of a column of drawings
_LONG = 200  # characters of a sentence before it is cut; report.json has everything


def shown(table: Table, layers: Layers | None = None, *, long: bool = False) -> Html | None:
    """A caption, column headings, rows and notes; None without rows.

    It stands in a box that scrolls sideways and takes the keyboard focus. The first cell of a row
    is its heading.

    Args:
        table: Any.
        layers: With their numbers, which rows about them carry.
        long: Whether the box scrolls downwards too, instead of growing.
    """
    if not table.rows:
        return None
    kinds = ["n" if c.numeric else "w" if c.wordy else None for c in table.columns]
    naming = [at for at, c in enumerate(table.columns) if c.layer]
    heads = [
        el("th", c.name or _DRAWN, scope="col", class_=kind)
        for c, kind in zip(table.columns, kinds, strict=True)
    ]
    body = []
    for k, row in enumerate(table.rows):
        cells = [
            el("td", _child(cell, kind), class_=kind) if at else el("th", _child(cell), scope="row")
            for at, (cell, kind) in enumerate(zip(_linked(row, naming, layers), kinds, strict=True))
        ]
        anchor = table.anchors[k] if table.anchors else None
        about = layers.about([text(row[at]) for at in naming]) if layers else None
        body.append(el("tr", cells, id=anchor, data_l=about))
    content = el(
        "table",
        el("caption", table.title),
        el("thead", el("tr", heads)),
        el("tbody", body),
    )
    box = el(
        "div",
        content,
        class_="scroll long" if long else "scroll",
        tabindex="0",
        role="region",
        aria_label=table.title,
    )
    return Html(box + "".join(el("p", note) for note in table.notes))


def _linked(row: Sequence[Cell], naming: Sequence[int], layers: Layers | None) -> list[Cell]:
    """A row whose names of layers lead to their cards."""
    numbers = layers.numbers if layers else {}
    linked: list[Cell] = list(row)
    for at in naming:
        cell = row[at]
        if isinstance(cell, str) and cell in numbers:
            linked[at] = Link(cell, f"l{numbers[cell]}")
    return linked


def _child(cell: Cell, kind: str | None = None) -> Child:
    if isinstance(cell, Drawing):
        return Html(cell.draw())
    if isinstance(cell, Link):
        return el("a", cell.text, href=f"#{cell.to}") if cell.to else cell.text
    if isinstance(cell, Result):
        return status(cell.status)
    if kind == "w" and cell and len(cell) > _LONG:
        return cell[: _LONG - 1] + "…"
    return cell


def status(result: Status) -> Html:
    """A result in its colour; the word itself says it too."""
    mark = {"PASS": "✓", "FAIL": "✕", "WAIVED": "!", "NOT RUN": "?"}[result]
    kind = "OPEN" if result == "NOT RUN" else result
    return el("span", f"{mark} {result}", class_=f"status {kind}")
