"""What can be said of a training before torch is loaded: missing files, folders and modules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import peek
from purespike.trainer.dotted import MADE, require_findable
from purespike.trainer.training.places import require_resume_file
from purespike.trainer.training.recipe_file import data_table, is_dotted, read_tables


def look_at_training(
    network: str | None,
    data: str | None,
    changes: Sequence[str] = (),
    *,
    resume_from: Path | None = None,
) -> tuple[str | None, list[str], dict[str, str] | None]:
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
    if resume_from is not None:
        require_resume_file(resume_from)
    own = network is not None and is_dotted(network)
    stated = [f"model.module={json.dumps(network)}"] if own else []
    table = None if data is None else data_table(data)
    source, stated = None if own else network, [*stated, *changes]
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
