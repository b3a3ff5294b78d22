"""What the folder of an interrupted training says: how to go on, and by what. Needs no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from purespike.compiler.files.kinds import CHECKPOINT, TRAINING
from purespike.compiler.wording import Advice
from purespike.trainer.errors import CheckpointError
from purespike.trainer.training.logs import EPOCHS, RECIPE, LogError, read_run
from purespike.trainer.training.places import LAST, MODEL

__all__ = ["another_training", "finish", "go_on", "recorded_recipe", "require_finished"]

_BEST = "best.ckpt"
_SHOWN = 6  # keys that differ
_LONGEST = 60  # characters of a value


def go_on(folder: Path) -> str:
    """The command that trains on."""
    return f"purespike train --resume --out {shlex.quote(str(folder))}"


def finish(folder: Path) -> str:
    """The command that tests and writes what an interrupted training has learnt."""
    return f"purespike train --resume --finish --out {shlex.quote(str(folder))}"


def recorded_recipe(place: Path) -> dict[str, dict[str, Any]] | None:
    """The tables that a training was started with.

    Args:
        place: Its folder, or the resume file in there.

    Returns:
        None if it has none: it was started from Python with a module or data in memory, or by a
        version that did not keep them.
    """
    try:
        said = TRAINING.read(place if place.is_dir() else place.parent)
    except OSError:
        return None
    recipe = (said or {}).get(RECIPE)
    tables = isinstance(recipe, dict) and all(isinstance(t, dict) for t in recipe.values())
    return recipe if tables else None


def require_finished(path: Path) -> None:
    """Refuse to read a network from a training that has not written any yet.

    Args:
        path: A folder, or a resume file in it.

    Raises:
        CheckpointError: If it is such a training, with the commands that end it.
    """
    folder = path.parent if path.suffix == ".ckpt" else path
    said = TRAINING.read(folder) if folder.is_dir() else None
    if said is None:
        return
    if (folder / MODEL / CHECKPOINT.manifest).is_file():
        if folder == path:
            return
        raise CheckpointError(
            "this is a file to resume a training from, not a network",
            where=str(path),
            allowed=f"what the training has written: {folder / MODEL}",
            remedy=f"`purespike compile {shlex.quote(str(folder))}`",
        )
    if not (folder / LAST).is_file():
        raise CheckpointError(
            "this training is not finished",
            where=str(folder),
            found="no epoch is complete: it runs, or ended in the first by Ctrl-C or an error",
            remedy="start again; `purespike train` says why it ends",
        )
    learnt = "the best epoch" if (folder / _BEST).is_file() else "what it has learnt"
    raise CheckpointError(
        "this training is not finished",
        where=str(folder),
        found=f"epoch {_epochs(folder)} of {said.get(EPOCHS, 'more')} is complete; it still runs, "
        "or was interrupted",
        remedy=f"go on: `{go_on(folder)}`; or take {learnt}: `{finish(folder)}`. Then compile",
    )


def _epochs(folder: Path) -> str:
    try:
        return str(max(read_run(folder).values["loss"]))
    except (LogError, KeyError, ValueError):
        return "?"


def another_training(kept: object, asked: Mapping[str, Any]) -> CheckpointError:
    """The error for a resume file that what is asked for does not go on from.

    Args:
        kept: What the file says of its training: tables by name.
        asked: The same of the training that shall go on.
    """
    old = dict(_flat(kept)) if isinstance(kept, Mapping) else {}
    new = dict(_flat(asked))
    own = "model.module"
    if (own in old) != (own in new):  # nothing else of them can be compared
        network = f"model.module {_word(old.get(own))} in the file, {_word(new.get(own))} asked for"
        return _another(network)
    names = [n for n in dict.fromkeys((*old, *new)) if old.get(n) != new.get(n)]
    found = [
        f"{n} {_word(old.get(n))} in the file, {_word(new.get(n))} asked for"
        for n in names[:_SHOWN]
    ]
    more = len(names) - _SHOWN
    return _another("; ".join(found) + (f"; and {more} more" if more > 0 else ""))


def _another(found: str) -> CheckpointError:
    return CheckpointError(
        "this resume file belongs to another training",
        found=found or "it does not say of which",
        where=LAST,
        remedy=Advice(
            "leave out what differs: {resume} without a network goes on by the recipe that the "
            "folder holds"
        ),
    )


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        name = "model" if not prefix and name == "module" else name  # as recipes call it
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _word(value: object) -> str:
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
