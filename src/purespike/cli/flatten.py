"""Dataclasses of options as parameters of a command: one list of options for all that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

__all__ = ["flatten"]


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """The command with one option per field in place of each parameter that is a dataclass.

    Typer reads a command's options from its signature, and knows no groups of them.

    Args:
        command: Its parameters are annotated for typer, or with a frozen dataclass whose fields
            are. No two fields may have one name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {n: t for n, t in hints.items() if is_dataclass(t) and isinstance(t, type)}
    parameters = []
    for p in inspect.signature(command).parameters.values():
        if p.name in groups:
            parameters += _options(groups[p.name])
        else:
            parameters.append(p.replace(kind=p.KEYWORD_ONLY, annotation=hints[p.name]))

    def run(**given: Any) -> None:
        made = {n: t(**{f.name: given.pop(f.name) for f in fields(t)}) for n, t in groups.items()}
        command(**given, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _options(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(group)
    ]
