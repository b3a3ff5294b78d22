"""A table that becomes a list where the terminal is too narrow for it: nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

READABLE = 28  # characters: a column of words may wrap to this width, and no further
INDENT = 2


class Listing(Table):
    """A `rich` table whose texts are plain: brackets in them are brackets, never markup."""

    def __init__(self, *headers: str, title: str | Text = "", show_lines: bool = False) -> None:
        plain = Text(title) if isinstance(title, str) else title
        super().__init__(title=plain if plain else None, show_lines=show_lines)
        for header in headers:
            self.add_column(header)

    def add_column(self, header: RenderableType = "", *more: Any, **rest: Any) -> None:
        """Add a column; its words are folded, never cut off."""
        rest.setdefault("overflow", "fold")
        super().add_column(Text(header) if isinstance(header, str) else header, *more, **rest)

    def add_row(self, *cells: RenderableType | None, **rest: Any) -> None:
        """Add a row; a str stands for itself."""
        super().add_row(*(Text(c) if isinstance(c, str) else c for c in cells), **rest)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or the list of its rows."""
        if self._needs(console) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        if self.title:
            title = self.title if isinstance(self.title, Text) else Text(str(self.title))
            yield Text.assemble(title, style="italic")
        for cells in zip(*(_texts(c.cells) for c in self.columns), strict=True):
            yield from self._row(console, options.max_width, list(cells))

    def _needs(self, console: Console) -> int:
        """The least width at which every column can be read."""
        width = 1
        for column in self.columns:
            cells = _texts((column.header, *column.cells))
            widest = max(
                max((len(line) for line in c.plain.splitlines()), default=0) for c in cells
            )
            width += 3 + (widest if column.no_wrap else min(widest, READABLE))
        return width

    def _row(self, console: Console, width: int, cells: list[Text]) -> Iterable[Text]:
        labels = [str(c.header) for c in self.columns]
        rest = zip(labels[1:], cells[1:], strict=True)
        named = [Text.assemble(f"{n}: " if n else "", c) for n, c in rest if c.plain]
        line = Text.assemble(cells[0], style="bold")
        while named and line.cell_len + 2 + named[0].cell_len <= width:
            line = Text.assemble(line, "  " if line.plain else "", named.pop(0))
        yield from _hanging(console, width, line, 0) if line.plain else ()
        for part in named:
            yield from _hanging(console, width, part, INDENT)


def _hanging(console: Console, width: int, text: Text, indent: int) -> Iterable[Text]:
    """The text on lines of a width, those after the first one deeper."""
    wrapped = text.wrap(console, max(width - indent - INDENT, 8), overflow="fold")
    for k, line in enumerate(wrapped):
        line.rstrip()
        yield Text.assemble(" " * (indent + (INDENT if k else 0)), line)


def _texts(cells: Iterable[object]) -> list[Text]:
    return [c if isinstance(c, Text) else Text(str(c)) for c in cells]
