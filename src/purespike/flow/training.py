"""Recipes trained: catalogue networks and those of the user's own, on data sets and on files."""

from __future__ import annotations

from pathlib import Path

from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import digest, read_data
from purespike.trainer.data import DataConfig, DataSet
from purespike.trainer.data.config import DataFile
from purespike.trainer.data.sequences import open_sequences
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.training.fit import TrainResult, train
from purespike.trainer.training.own import train_module
from purespike.trainer.training.recipe import Recipe

__all__ = ["open_file", "train_recipe"]


def train_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    resume_from: Path | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> TrainResult:
    """Train what a recipe describes; files of arrays are read here.

    Args:
        recipe: Network, training and data.
        folder: Where to write.
        resume_from: A ``last.ckpt`` of the same recipe, or the folder that holds it.
        progress: Show a progress bar.
        tensorboard: Write TensorBoard logs.

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
        return train(
            model,
            recipe.train,
            folder,
            data=data,
            file=file,
            resume_from=resume_from,
            progress=progress,
            tensorboard=tensorboard,
        )
    if data is None:
        raise InputError(
            "a network of your own needs data to be trained on",
            where=model.module,
            allowed=Advice("{data}, a dotted path of data, or a table [data] of the recipe"),
        )
    return train_module(
        model.module,
        data,
        folder,
        recipe.train,
        aap=model.aap,
        shortcut=model.shortcut,
        steps=model.steps,
        file=file,
        resume_from=resume_from,
        progress=progress,
        tensorboard=tensorboard,
    )


def open_file(file: DataFile) -> tuple[DataSet, DataFile]:
    """Read a .npz file to train on; and what a checkpoint keeps of it.

    Raises:
        InputError: If it holds no inputs and labels.
        LabelError: If a label can be none.
    """
    path = Path(file.file)
    return open_sequences(read_data(path), str(path)), DataFile(str(path.resolve()), digest(path))
