"""Recipes trained: catalogue networks and those of the user's own, on data sets and on files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from purespike.errors import InputError
from purespike.flow.inputs.datafile import digest, read_data
from purespike.flow.inputs.recipes import no_data
from purespike.subject import Samples
from purespike.trainer.data import DataConfig, DataSet
from purespike.trainer.data.config import DataFile
from purespike.trainer.data.sequences import open_sequences
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.training.fit import TrainResult, train
from purespike.trainer.training.interrupted import recorded_recipe
from purespike.trainer.training.own import train_module
from purespike.trainer.training.recipe import Recipe, read_recipe
from purespike.trainer.training.recipe_file import data_table, is_dotted, read_tables

__all__ = ["open_file", "train_network", "train_recipe"]


def train_network(
    network: Any,
    data: Any,
    folder: Path,
    changes: Sequence[str] = (),
    *,
    aap: Sequence[str] = (),
    shortcut: Sequence[str] = (),
    steps: int | None = None,
    resume_from: Path | None = None,
    finish: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
) -> TrainResult:
    """Train what is named, or handed in.

    Args:
        network: A recipe, by its file or name (None is what a resumed training was started with,
            or else the demo's); a module of the user's own, as
            ``package.module:factory``, as a callable that gives one, or itself.
        data: In place of the recipe's: a .npz file, the name of a data set, or
            ``package.module:factory``; `Samples`; or arrays and data sets as
            :mod:`purespike.trainer.data.sequences` takes them.
        folder: Where to write.
        changes: Of the recipe, such as ``train.epochs=5``.
        aap: Modules of the user's network whose spikes an accumulation pathway adds up.
        shortcut: Modules of it that get a shortcut branch.
        steps: T of a module of the user's own, where the data do not say it.
        resume_from: As `train_recipe`; the others, too.
        finish: Train no further: test what the resumed training has learnt, and write it.
        progress: Show a progress bar.
        tensorboard: Write TensorBoard logs.

    Raises:
        PurespikeError: As `train_recipe`.
    """
    if isinstance(data, Samples):
        data = {name: array for name, array in data.arrays().items() if name != "calibration"}
    table = data_table(os.fspath(data)) if isinstance(data, str | os.PathLike) else None
    opened = None if data is None or table is not None else data
    named = network is None or isinstance(network, str | os.PathLike)
    text = os.fspath(network) if named and network is not None else None
    own = text is not None and is_dotted(text)
    paths = {"module": text if own else None, "aap": list(aap), "shortcut": list(shortcut)}
    stated = [f"model.{n}={json.dumps(v)}" for n, v in paths.items() if v and named]
    stated += [f"model.steps={steps}"] if steps is not None and named else []
    kept = recorded_recipe(resume_from) if network is None and resume_from is not None else None
    source = kept or (None if own else text)
    recipe = read_recipe(source, [*stated, *changes], data=table)
    tables = read_tables(source, [*stated, *changes], data=table)
    more: dict[str, Any] = {
        "resume_from": resume_from,
        "finish": finish,
        "tables": tables if named and opened is None else None,
        "progress": progress,
        "tensorboard": tensorboard,
    }
    if named and opened is None:
        return train_recipe(recipe, folder, **more)
    if named and not isinstance(recipe.model, ModuleConfig):
        sequences = open_sequences(opened)
        return train(recipe.model, recipe.train, folder, data=sequences, **more)
    if isinstance(recipe.model, ModuleConfig):
        network, aap, shortcut = recipe.model.module, recipe.model.aap, recipe.model.shortcut
        steps = recipe.model.steps
    file = None
    if opened is None and isinstance(recipe.data, DataFile):
        opened, file = open_file(recipe.data)
    opened = recipe.data if opened is None else opened
    if opened is None:
        raise InputError(
            "a network of your own needs data to be trained on",
            where=type(network).__name__,
            allowed="samples, a .npz file, or package.module:factory",
        )
    return train_module(
        network, opened, folder, recipe.train, aap=aap, shortcut=shortcut, steps=steps, file=file,
        **more,
    )  # fmt: skip


def train_recipe(
    recipe: Recipe,
    folder: Path,
    **more: Any,
) -> TrainResult:
    """Train what a recipe describes; files of arrays are read here.

    Args:
        recipe: Network, training and data.
        folder: Where to write.
        **more: As of `purespike.trainer.training.fit.train`: ``resume_from``, ``progress``, ...

    Raises:
        InputError: If a file holds no such data, or a network of the user's own has none.
        PurespikeError: As `purespike.trainer.training.fit.train` and
            `purespike.trainer.training.own.train_module`.
    """
    model = recipe.model
    data: DataConfig | DataSet | None
    data, file = (
        open_file(recipe.data) if isinstance(recipe.data, DataFile) else (recipe.data, None)
    )
    if not isinstance(model, ModuleConfig):
        return train(model, recipe.train, folder, data=data, file=file, **more)
    if data is None:
        raise no_data(model.module)
    return train_module(
        model.module,
        data,
        folder,
        recipe.train,
        aap=model.aap,
        shortcut=model.shortcut,
        steps=model.steps,
        file=file,
        **more,
    )


def open_file(file: DataFile) -> tuple[DataSet, DataFile]:
    """Read a .npz file to train on; and what a checkpoint keeps of it.

    Raises:
        InputError: If it holds no inputs and labels.
        LabelError: If a label can be none.
    """
    path = Path(file.file)
    return open_sequences(read_data(path), str(path)), DataFile(str(path.resolve()), digest(path))
