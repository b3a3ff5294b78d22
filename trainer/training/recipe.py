"""Recipes: TOML files that say which network is trained on which data, and how."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.trainer.data.config import DataConfig, DataFile
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, from_dict, to_dict
from purespike.trainer.networks.models import model_config
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.settings import TrainConfig

__all__ = ["SHIPPED", "Recipe", "RecipeError", "read_recipe", "shipped_recipes"]

SHIPPED = Path(__file__).parents[1] / "recipes"
_TABLES = ("model", "data", "train")
_MOST_BYTES = 1 << 20


class RecipeError(UsageError):
    """A recipe that cannot be read."""


@dataclass(frozen=True)
class Recipe:
    """A network, how to train it, and on what.

    Attributes:
        model: the network.
        train: how it is trained.
        data: on what; None is the demo's digits, in the code that ``train.encoder`` names.
    """

    model: ModelConfig | NetworkConfig | ModuleConfig
    train: TrainConfig
    data: DataConfig | DataFile | None = None


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with purespike."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def read_recipe(
    source: str | Path | None = None,
    changes: Sequence[str] = (),
    *,
    data: Mapping[str, str] | None = None,
) -> Recipe:
    """Read a recipe and change single values of it.

    What the file leaves out is as in the demo; a ``[model]`` with a ``name`` is a network of
    :mod:`purespike.trainer.networks`, with its paper's values instead, and one with a ``module`` is
    a network of the user's own (`ModuleConfig`). ``[data]`` describes a data set, or names a
    ``file`` of arrays.

    Args:
        source: a TOML file with tables ``[model]``, ``[data]`` and ``[train]``, or the name of a
            shipped recipe; None takes the demo as it is.
        data: a table that takes the place of ``[data]``.
        changes: such as ``train.epochs=5``; values are written as in TOML, texts without quotes.

    Raises:
        RecipeError: if the file or a change cannot be read.
        ConfigError: if a name or a value is not allowed.
    """
    tables: dict[str, dict[str, Any]] = {}
    if source is not None:
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
            )
        _merge(tables, _toml(f"[{table}]\n{name}={_quoted(value)}", change), change)
    model, train = tables.get("model", {}), tables.get("train", {})
    _check_encoding(tables)
    stated = tables.get("data")
    network: ModelConfig | NetworkConfig | ModuleConfig
    if "module" in model:
        network = from_dict(ModuleConfig, model, "model")
    else:
        network = model_config(model if "name" in model else {**to_dict(DEMO.model), **model})
    return Recipe(
        network,
        from_dict(TrainConfig, {**to_dict(DEMO.train), **train}, "train"),
        None if stated is None else _data(stated),
    )


def _data(table: dict[str, Any]) -> DataConfig | DataFile:
    if "file" in table:
        return from_dict(DataFile, table, "data")
    return from_dict(DataConfig, table, "data")


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
        if path.stat().st_size > _MOST_BYTES:
            raise RecipeError("the recipe is too large", where=str(path), allowed="1 MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError(
            "the recipe cannot be read",
            where=str(path),
            found=str(e),
            allowed=f"a file, or one of {', '.join(shipped_recipes()) or 'no shipped recipes'}",
        ) from e


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise RecipeError("this is not TOML", where=where, found=str(e)) from e


def _quoted(value: str) -> str:
    """Words and paths are texts: ``gate=or`` means ``gate = "or"``."""
    value = value.strip()
    bare = (value[:1].isalpha() or value[:1] in tuple("/.~")) and not set(value) & set("\"'[]{}\n")
    if not bare or value in ("true", "false", "inf", "nan"):
        return value
    return json.dumps(value, ensure_ascii=False)
