"""Frozen values to JSON and back, strictly: unknown names and wrong types are errors."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from purespike.trainer.errors import ConfigError, unknown_names
from purespike.trainer.nn.surrogate import Surrogate, surrogate_from_dict, surrogate_to_dict

__all__ = ["from_dict", "to_dict"]

_T = TypeVar("_T")


def to_dict(config: Any) -> dict[str, Any]:
    """Write a frozen configuration as JSON values; tuples become lists."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(cls: type[_T], data: Any, where: str = "") -> _T:
    """Read a configuration back, strictly: unknown names and wrong types are errors.

    Args:
        cls: the dataclass to read.
        data: what :func:`to_dict` wrote, after JSON.
        where: dotted path for error messages.

    Raises:
        ConfigError: on an unknown or missing name or a value of the wrong type.
    """
    where = where or cls.__name__
    if not isinstance(data, dict):
        raise _wrong(where, data, "an object")
    hints = typing.get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := set(data) - set(known):
        raise unknown_names(unknown, known, where)
    missing = sorted(
        name
        for name, f in known.items()
        if name not in data
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    )
    if missing:
        raise ConfigError(
            "names are missing in a configuration",
            found=", ".join(sorted(data)) or "nothing",
            allowed=f"needs {', '.join(missing)}",
            where=where,
            remedy="add them",
        )
    return cls(**{k: _typed(hints[k], v, f"{where}.{k}") for k, v in data.items()})


def _plain(value: Any) -> Any:
    if hasattr(value, "derivative"):
        return surrogate_to_dict(value)
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _typed(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):  # only `X | None` is used
        inner = next(arg for arg in typing.get_args(hint) if arg is not type(None))
        return None if value in (None, "none") else _typed(inner, value, where)  # TOML has no null
    if hint is Surrogate:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object with a name")
        return surrogate_from_dict(value)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast("type[Any]", hint), value, where)
    if typing.get_origin(hint) is tuple:
        inner, *rest = typing.get_args(hint)
        fixed = None if rest == [Ellipsis] else 1 + len(rest)
        if not isinstance(value, list) or (fixed is not None and len(value) != fixed):
            raise _wrong(where, value, f"a list of {fixed or 'some'} values")
        return tuple(_typed(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    accepted = (int, float) if hint is float else (hint,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(where, value, hint.__name__)
    return float(value) if hint is float else value


def _wrong(where: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(
        "a configuration value has the wrong type",
        found=repr(value),
        allowed=allowed,
        where=where,
        remedy="correct the value",
    )
