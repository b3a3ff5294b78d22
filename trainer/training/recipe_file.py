"""The TOML of a recipe as tables, before anything in it means something. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.compiler.files import reading
from purespike.compiler.files.toml import parse_toml
from purespike.compiler.near import did_you_mean, nearest
from purespike.trainer.training.recipe_keys import recipe_keys, require_known

__all__ = [
    "SHIPPED",
    "RecipeError",
    "Tables",
    "data_table",
    "is_dotted",
    "read_tables",
    "shipped_recipes",
]

SHIPPED = Path(__file__).parents[1] / "recipes"
Tables = dict[str, dict[str, Any]]  # by name: model, data, train
_TABLES = ("model", "data", "train")
_MOST_BYTES = 1 << 20


class RecipeError(UsageError):
    """A recipe that cannot be read."""


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with purespike."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def is_dotted(text: str) -> bool:
    """Is this ``package.module:name``, and not a file?"""
    return ":" in text and not Path(text).exists()


def data_table(text: str) -> dict[str, str]:
    """The table [data] of a recipe that names data; no file is opened here."""
    if is_dotted(text):
        return {"name": text, "encoder": "sequence"}
    if Path(text).suffix == ".npz" or Path(text).exists():
        return {"file": text}
    return {"name": text}  # of a data set, or an error that lists them


def read_tables(
    source: str | Path | Tables | None = None,
    changes: Sequence[str] = (),
    *,
    data: Mapping[str, str] | None = None,
) -> Tables:
    """The tables of a recipe, with single values changed.

    Args:
        source: As for `purespike.trainer.training.recipe.read_recipe`; so are the others.
        changes: Such as ``train.epochs=5``.
        data: A table that takes the place of ``[data]``.

    Raises:
        RecipeError: If the file or a change cannot be read.
        ConfigError: If a table has no such key.
    """
    tables: Tables = {}
    if isinstance(source, dict):
        _merge(tables, source, "the recipe of the training")
    elif source is not None:
        path = _find(source)
        _merge(tables, _toml(_text(path), str(path)), str(path))
    if data is not None:
        tables["data"] = dict(data)
    for change in changes:
        key, equals, value = change.partition("=")
        table, dot, name = key.strip().partition(".")
        if not (equals and dot):
            raise RecipeError(
                "a change cannot be read",
                found=change,
                allowed="table.key=value, such as train.epochs=5",
                remedy=_in_which_table(key.strip(), value) if equals else "",
            )
        _merge(tables, _toml(f"[{table}]\n{name}={_quoted(value)}", change), change)
    require_known(tables)
    _check_encoding(tables)
    return tables


def _in_which_table(key: str, value: str) -> str:
    """What was meant by a key without its table."""
    known = recipe_keys()
    found = nearest(key, known)
    meant = [f"{table}.{found}={value}" for table in known.get(found, ())]
    return f"did you mean {' or '.join(meant)}?" if meant else ""


def _find(source: str | Path) -> Path:
    path = Path(source)
    if not path.exists() and str(source) in shipped_recipes():
        return SHIPPED / f"{source}.toml"
    return path


def _check_encoding(tables: dict[str, dict[str, Any]]) -> None:
    """One place says how samples become spikes."""
    stated = [name for name in ("encoder", "shift") if name in tables.get("train", {})]
    if "data" in tables and stated:
        raise RecipeError(
            "both [data] and [train] say how samples become spikes",
            found=", ".join(f"train.{name}" for name in stated),
            allowed='[data] alone: encoder, and augment = ["crop:1"] for shifts',
            remedy="move them to [data]",
        )


def _merge(tables: dict[str, dict[str, Any]], data: dict[str, Any], where: str) -> None:
    for name, table in data.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise RecipeError(
                "a recipe has an unknown table",
                found=name,
                allowed="[model], [data] and [train]",
                where=where,
                remedy=did_you_mean(name, _TABLES),
            )
        tables[name] = _joined(tables.get(name, {}), table)


def _joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Tables inside tables ([model.neuron], [train.balance]) are changed value by value."""
    joined = dict(old)
    for key, value in new.items():
        inner = joined.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        joined[key] = _joined(inner or {}, value) if both else value
    return joined


def _text(path: Path) -> str:
    try:
        return reading.read_text(path, _MOST_BYTES, RecipeError, "the recipe")
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError(
            "the recipe cannot be read",
            where=str(path),
            found=(isinstance(e, OSError) and e.strerror) or str(e),
            allowed=f"a file, or one of {', '.join(shipped_recipes()) or 'no shipped recipes'}",
            remedy=did_you_mean(path.name, shipped_recipes()),
        ) from e


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except ValueError as e:
        raise RecipeError("this is not TOML", where=where, found=str(e)) from e


def _quoted(value: str) -> str:
    """Words and paths are texts: ``gate=or`` means ``gate = "or"``."""
    value = value.strip()
    bare = (value[:1].isalpha() or value[:1] in tuple("/.~")) and not set(value) & set("\"'[]{}\n")
    if not bare or value in ("true", "false", "inf", "nan"):
        return value
    return json.dumps(value, ensure_ascii=False)
