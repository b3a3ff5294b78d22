"""A table of the report on the page: links, colours and drawings where it has them."""

from __future__ import annotations

from purespike.compiler.report.page.elements import Child, Html, el
from purespike.compiler.report.tables.table import Cell, Drawing, Link, Result, Table
from purespike.compiler.rules.finding import Status

_LONG = 200  # characters of a sentence before it is cut; report.json has everything


def shown(table: Table, *, long: bool = False) -> Html | None:
    """A caption, column headings, rows and notes; None without rows.

    It stands in a box that scrolls sideways and takes the keyboard focus. The first cell of a row
    is its heading.

    Args:
        table: Any.
        long: Whether the box scrolls downwards too, instead of growing.
    """
    if not table.rows:
        return None
    kinds = ["n" if c.numeric else "w" if c.wordy else None for c in table.columns]
    heads = [
        el("th", c.name, scope="col", class_=kind)
        for c, kind in zip(table.columns, kinds, strict=True)
    ]
    body = []
    for k, row in enumerate(table.rows):
        cells = [
            el("td", _child(cell, kind), class_=kind) if at else el("th", _child(cell), scope="row")
            for at, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        ]
        body.append(el("tr", cells, id=table.anchors[k] if table.anchors else None))
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
