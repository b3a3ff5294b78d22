"""A command that shows examples in its help, and guesses which value was meant."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from purespike.cli.examples import EXAMPLES


class Command(TyperCommand):
    """What typer makes of a function, with examples and guesses."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples, each on its own line, so that it can be copied."""
        write_examples(self.name or "", formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual; a value that is none of the choices is answered with the one that is near.

        So is a setting of a recipe that is written as an option.
        """
        written = list(args)  # the parser empties it
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as e:
            e.message = e.message.removeprefix("Value error, ")  # the words of a library of typer's
            if guess := _guess(e.message):
                e.message += f" Did you mean {guess!r}?"
            raise
        except typer.exceptions.TyperException as e:
            option = getattr(e, "option_name", None)
            if self.name == "train" and option and (meant := _settings()(option, written)):
                e.message = f"No such option: {option}. Did you mean {meant}?"
                e.possibilities = None  # type: ignore[attr-defined]
            raise


class Group(TyperGroup):
    """Commands below a command, with examples."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples of the group."""
        write_examples(self.name or "", formatter)


def write_examples(name: str, formatter: Any) -> None:
    """The examples of a command, wrapped as a shell takes them."""
    examples = EXAMPLES.get(name, ())
    if not examples:
        return
    with formatter.section("Example" if len(examples) == 1 else "Examples"):
        for example in examples:
            lines = textwrap.wrap(
                example,
                max(formatter.width - formatter.current_indent - 2, 20),
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            indent = " " * formatter.current_indent
            formatter.write(" \\\n".join(indent + line for line in lines) + "\n")


def _settings() -> Callable[[str, list[str]], str]:
    """What knows the settings of recipes: by name, as commands are loaded, since it loads torch."""
    known: Callable[[str, list[str]], str] = import_module("purespike.cli.commands.train").setting
    return known


def _guess(message: str) -> str:
    """The choice that was meant, from ``'fats' is not one of 'fast', 'stock'.``; empty if none."""
    from purespike.compiler.near import nearest

    found, known, choices = message.partition(" is not one of ")
    return nearest(found.strip("'"), re.findall(r"'([^']*)'", choices)) if known else ""
