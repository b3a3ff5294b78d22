"""A table as every writer takes it: a title, columns, rows, and notes below."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from purespike.compiler.rules.finding import Status


@dataclass(frozen=True)
class Link:
    """A text that leads somewhere.

    Attributes:
        text: What is read.
        to: The id of a place on the page; empty if there is none.
        page: A page of the documentation, relative to the repository.
    """

    text: str
    to: str = ""
    page: str = ""


@dataclass(frozen=True)
class Result:
    """The result of a rule, which has a colour where there are colours."""

    status: Status


@dataclass(frozen=True)
class Drawing:
    """What only a page can show; the numbers beside it say the same."""

    draw: Callable[[], str]


Cell = str | Link | Result | Drawing | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: Its heading.
        numeric: Whether it is set to the right.
        wordy: Whether it holds sentences.
        detail: Whether it is left to the page.
        usual: What need not be said: outside of the page, a column of nothing else is left out.
        layer: Whether it names a layer, which the page highlights.
    """

    name: str
    numeric: bool = False
    wordy: bool = False
    detail: bool = False
    usual: str = ""
    layer: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: What it shows.
        columns: In order.
        rows: A cell for each column.
        notes: Sentences below.
        anchors: Ids of the rows on the page; none if nothing leads to them.
        sums: How many of the last rows are sums of those above.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    sums: int = 0

    def first(self, most: int | None) -> Table:
        """The first rows, and how many more there are; None for all."""
        if most is None or len(self.rows) <= most:
            return self
        more = f"and {len(self.rows) - most} more: see report.json"
        anchors = self.anchors[:most]
        return replace(
            self, rows=self.rows[:most], notes=(more, *self.notes), anchors=anchors, sums=0
        )

    def plain(self) -> Table:
        """Without what only a page can show, and without columns that say nothing."""
        kept = [
            k
            for k, c in enumerate(self.columns)
            if not c.detail
            and any(not isinstance(row[k], Drawing | None) for row in self.rows)
            and any(text(row[k]) not in ("", c.usual) for row in self.rows)
        ]
        rows = tuple(tuple(row[k] for k in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[k] for k in kept), rows=rows)


def text(cell: Cell) -> str:
    """A cell in words; a drawing has none."""
    if isinstance(cell, Link):
        return cell.text
    if isinstance(cell, Result):
        return cell.status
    return cell if isinstance(cell, str) else ""


def headings(*names: str) -> tuple[Column, ...]:
    """Columns of short texts."""
    return tuple(map(Column, names))


def layers(*names: str) -> tuple[Column, ...]:
    """Columns of names of layers, or of places that name one."""
    return tuple(Column(name, layer=True) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(name, numeric=True) for name in names)
