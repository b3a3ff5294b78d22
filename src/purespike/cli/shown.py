"""How much a command says, and in which form: options that stand on every command with tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from purespike.compiler.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20  # rows of a table; the report file has all of them
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="The last line only: no progress, no tables.")
]


@dataclass(frozen=True)
class Shown:
    """What goes to the terminal. Errors are always said, and the exit code is always the same."""

    as_json: AsJson = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="The verdict only: no progress, no tables.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help=f"Every row of a table, not the first {SHOWN}.")
    ] = False

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise UsageError(
                "nothing can be quiet and verbose",
                found="--quiet and --verbose",
                remedy="leave one of them out",
            )

    @property
    def most(self) -> int | None:
        """Rows of a table, at most; None for all."""
        return None if self.verbose else SHOWN

    def print(self, *parts: RenderableType, **how: Any) -> None:
        """Tables and what belongs to them: neither if quiet, nor beside JSON."""
        if not (self.quiet or self.as_json):
            from purespike.cli.terminal import out

            for part in parts:
                out.print(part, **how)

    def verdict(self, text: str, data: Callable[[], Mapping[str, Any]], **how: Any) -> None:
        """The last line, or everything as JSON."""
        if self.as_json:
            print_json(data())
            return
        from purespike.cli.terminal import out

        out.print(text, **how)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """Bars on standard error, which say what is done and for how long; none if quiet."""
        if self.quiet:
            yield lambda stage, done, total: None
            return
        from purespike.cli.terminal import err, progress_bars

        with progress_bars(err) as update:
            yield update


def print_json(data: object) -> None:
    """Data as JSON on standard output: sorted keys, no NaN."""
    typer.echo(json.dumps(data, indent=1, sort_keys=True, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    """Numbers of numpy, and paths."""
    return value.item() if hasattr(value, "item") else str(value)
