"""Trained networks with the test data they are judged by."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from purespike.build import Subject
from purespike.compiler.errors import PurespikeError
from purespike.trainer.checkpoint import load_checkpoint
from purespike.trainer.configuration import ModelConfig, from_dict, to_dict
from purespike.trainer.data import digits
from purespike.trainer.encoders import encode
from purespike.trainer.learner import TrainConfig
from purespike.trainer.presets import DEMO

CALIBRATION = 128  # training images


class RecipeError(PurespikeError):
    """A recipe that cannot be read."""


@dataclass(frozen=True)
class Recipe:
    """A network and how to train it."""

    model: ModelConfig
    train: TrainConfig


def digits_subject(checkpoint: Path) -> Subject:
    """A checkpoint with the 360 test digits, encoded as it was trained.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
    """
    loaded = load_checkpoint(checkpoint)
    config = loaded.model.config
    data = digits()
    encoder = loaded.train_config.encoder
    spikes = encode(encoder, data.test_images, config.steps)
    calibration = encode(encoder, data.train_images[:CALIBRATION], config.steps)
    return Subject(
        name=f"digits, gate {config.gate}, T = {config.steps}",
        model=loaded.model,
        shape=tuple(spikes.shape[2:]),
        spikes=spikes.numpy().astype(np.uint8),
        labels=data.test_labels.numpy(),
        calibration=calibration.numpy(),
    )


def read_recipe(path: Path | None, changes: Sequence[str] = ()) -> Recipe:
    """The demo's network and training, changed by a TOML file and by ``table.key=value`` texts.

    Args:
        path: TOML with tables ``[model]`` and ``[train]``; None takes the demo as it is.
        changes: Such as ``train.epochs=5``; values are written as in TOML.

    Raises:
        RecipeError: If the file or a change cannot be read.
        ConfigError: If a name or a value is not allowed.
    """
    tables: dict[str, dict[str, Any]] = {
        "model": to_dict(DEMO.model),
        "train": to_dict(DEMO.train),
    }
    if path is not None:
        _merge(tables, _toml(_text(path), str(path)), str(path))
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
    return Recipe(
        from_dict(ModelConfig, tables["model"], "model"),
        from_dict(TrainConfig, tables["train"], "train"),
    )


def _merge(tables: dict[str, dict[str, Any]], data: dict[str, Any], where: str) -> None:
    for name, table in data.items():
        if name not in tables or not isinstance(table, dict):
            raise RecipeError(
                "a recipe has an unknown table",
                found=name,
                allowed="[model] and [train]",
                where=where,
            )
        tables[name] |= table


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > 1 << 20:
            raise RecipeError("the recipe is too large", where=str(path), allowed="1 MiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise RecipeError("the recipe cannot be read", where=str(path), found=str(e)) from e


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise RecipeError("this is no TOML", where=where, found=str(e)) from e


def _quoted(value: str) -> str:
    """A bare word is a text: ``gate=or`` means ``gate = "or"``."""
    value = value.strip()
    bare = value.replace("_", "").isalnum() and value[:1].isalpha()
    return f'"{value}"' if bare and value not in ("true", "false") else value
