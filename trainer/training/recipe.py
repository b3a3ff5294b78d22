"""Recipes: TOML files that say which network is trained on which data, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purespike.trainer.data.config import DataConfig, DataFile
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, from_dict, to_dict
from purespike.trainer.networks.models import model_config
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe_file import SHIPPED as SHIPPED
from purespike.trainer.training.recipe_file import RecipeError as RecipeError
from purespike.trainer.training.recipe_file import Tables, read_tables
from purespike.trainer.training.recipe_file import shipped_recipes as shipped_recipes
from purespike.trainer.training.settings import TrainConfig

__all__ = ["SHIPPED", "Recipe", "RecipeError", "read_recipe", "shipped_recipes"]


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


def read_recipe(
    source: str | Path | Tables | None = None,
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
            shipped recipe; or the tables themselves; None takes the demo as it is.
        data: a table that takes the place of ``[data]``.
        changes: such as ``train.epochs=5``; values are written as in TOML, texts without quotes.

    Raises:
        RecipeError: if the file or a change cannot be read.
        ConfigError: if a name or a value is not allowed.
    """
    tables = read_tables(source, changes, data=data)
    model, train = tables.get("model", {}), tables.get("train", {})
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
