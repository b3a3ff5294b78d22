"""What can be said of a training before torch is loaded: missing files, folders and modules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import peek
from purespike.trainer.dotted import MADE, meant, require_findable
from purespike.trainer.training.interrupted import recorded_recipe
from purespike.trainer.training.places import require_resume_file
from purespike.trainer.training.recipe_file import (
    Tables,
    data_table,
    is_dotted,
    read_tables,
    shipped_recipes,
)


def look_at_training(
    network: str | None,
    data: str | None,
    changes: Sequence[str] = (),
    *,
    resume_from: Path | None = None,
) -> tuple[str | Tables | None, list[str], dict[str, str] | None]:
    """Refuse a training that cannot start; `purespike.flow.training.train_network` says the rest.

    Returns:
        Source, changes and data, as `purespike.trainer.training.recipe.read_recipe` takes them.

    Raises:
        RecipeError: If the recipe or a change cannot be read.
        InputError: If a file of data or a module is missing, or a network of the user's own has no
            data.
        LabelError: If the labels of the file cannot be labels of its inputs.
        CheckpointError: If there is nothing to resume from.
    """
    kept = None
    if resume_from is not None:
        require_resume_file(resume_from)
        kept = recorded_recipe(resume_from) if network is None else None
    own = network is not None and is_dotted(network)
    _refuse_code(network)
    stated = [f"model.module={json.dumps(network)}"] if own else []
    table = None if data is None else data_table(data)
    source, stated = kept or (None if own else network), [*stated, *changes]
    tables = read_tables(source, stated, data=table)
    module, described = tables.get("model", {}).get("module"), tables.get("data", {})
    if isinstance(module, str) and module:
        require_findable(module, MADE, InputError)
        if not described:
            raise no_data(module)
    if isinstance(file := described.get("file"), str):
        peek(Path(file))
    if isinstance(name := described.get("name"), str) and ":" in name:
        require_findable(name, "package.module:factory of data", InputError)
    return source, stated, table


def no_data(module: str) -> InputError:
    """The error for a network of the user's own that has nothing to be trained on."""
    return InputError(
        "a network of your own needs data to be trained on",
        where=module,
        allowed=Advice("{data}, a dotted path of data, or a table [data] of the recipe"),
    )


def _refuse_code(network: str | None) -> None:
    """Raise if a file of code, or a name in it, is given where a recipe or a dotted path stands."""
    code = network is not None and not is_dotted(network) and not network.endswith(".toml")
    if network is None or not code or network in shipped_recipes():
        return
    remedy = meant(network)
    if remedy and (network.endswith(".py") or not Path(network).is_file()):
        raise InputError(
            "a network of your own is named by its module and a name in it",
            found=network,
            allowed=f"{MADE}; a recipe",
            remedy=remedy,
        )
