"""The two consoles of a command, errors, and progress bars: what needs nothing that judges."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from purespike.compiler.errors import PurespikeError

# Markup is off: what a user wrote may hold brackets, and has to come out as it is.
out = Console(markup=False, highlight=False, emoji=False)
err = Console(stderr=True, markup=False, highlight=False, emoji=False)


def print_error(error: PurespikeError) -> None:
    """The error in the words of the command line; long lines go on further in."""
    notes = getattr(error, "__notes__", [])
    lines = [("error: " + error.text("command line"), "")] + [(note, "dim") for note in notes]
    for words, style in lines:
        for line in words.splitlines():
            err.print(_hanging(line, err.width), style=style, soft_wrap=True)


def _hanging(line: str, width: int) -> Text:
    """A line of an error wrapped between words; paths and options stay whole."""
    bare = line.lstrip()
    lead = " " * (len(line) - len(bare))
    wrapped = textwrap.fill(
        bare,
        max(width, 20),
        initial_indent=lead,
        subsequent_indent=lead + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    text = Text(wrapped)
    if bare.startswith("error: "):
        text.stylize("bold red", 0, len("error:"))
    return text


@contextmanager
def progress_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One bar per stage; the yielded function takes (stage, done, total).

    A stage that cannot say how far it is, of 1 in all, is done when the next one begins.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    quiet = not console.is_terminal  # a file would hold an empty line
    with Progress(*columns, console=console, transient=True, disable=quiet) as bars:
        tasks: dict[str, TaskID] = {}
        whole = ""

        def update(stage: str, done: int, total: int) -> None:
            nonlocal whole
            if stage not in tasks:
                if whole:
                    bars.update(tasks[whole], completed=1)
                tasks[stage] = bars.add_task(stage, total=total)
                whole = stage if total == 1 else ""
            bars.update(tasks[stage], completed=done, total=total)

        yield update
