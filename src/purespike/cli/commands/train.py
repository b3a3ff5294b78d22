"""purespike train."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.shared import Output, out, trained
from purespike.cli.shown import AsJson, Quiet, print_json
from purespike.compiler.errors import UsageError
from purespike.compiler.near import nearest
from purespike.compiler.packages import require_packages
from purespike.errors import InputError
from purespike.trainer.errors import TrainingInterrupted
from purespike.trainer.training.interrupted import finish as finished
from purespike.trainer.training.interrupted import go_on
from purespike.trainer.training.places import require_training
from purespike.trainer.training.recipe_keys import recipe_keys

PATHS = ("aap", "shortcut")


def train(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE|MODULE]",
            help="TOML with [model], [data] and [train], the name of a shipped recipe, or a torch "
            "module of your own as package.module:factory; the demo's if left out.",
        ),
    ] = None,
    folder: Output = Path("runs/train"),
    data: Annotated[
        str | None,
        typer.Option(
            help="A .npz file with inputs (T, N, ...) and labels (N,), or package.module:factory "
            "of arrays or torch data sets; in place of the recipe's [data]."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(
            help="A path beside a module of your own while it trains, by the names of its modules: "
            "aap=layer1,layer2 or shortcut=layer3."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in --set train.learning_rate=0.01."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            help="Go on with the interrupted training in --out, by the recipe that it holds.",
        ),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="With --resume: train no further; test and write what was learnt."
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs beside metrics.csv.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a network; auxiliary paths are part of the training only.

    With torchrun in front of it, several processes train together.
    """
    if finish and not resume:
        raise UsageError(
            "only an interrupted training can be finished",
            found="--finish",
            remedy="say --resume --finish, with the folder of the training as --out",
        )
    if os.environ.get("RANK", "0") == "0":  # torchrun: the first process writes
        require_training(folder, resumed=resume)
    require_packages("train", "torch", "lightning")
    stated = _paths(auxiliary or ())
    stated += [f"train.epochs={epochs}"] if epochs is not None else []
    from purespike.flow.inputs.recipes import look_at_training

    # What is missing is said before torch loads, and what has no meaning before Lightning does.
    stated += changes or []
    source, settled, table = look_at_training(
        network, data, stated, resume_from=folder if resume else None
    )
    from purespike.trainer.training.recipe import read_recipe

    read_recipe(source, settled, data=table)
    from purespike.flow.training import train_network
    from purespike.trainer.training.distributed import world

    try:
        result = train_network(
            network,
            data,
            folder,
            stated,
            resume_from=folder if resume else None,
            finish=finish,
            progress=not quiet,
            tensorboard=tensorboard,
        )
    except TrainingInterrupted as e:
        if e.kept is not None:
            front = ", with the same torchrun in front" if world().size > 1 else ""
            e.remedy = (
                f"go on: `{go_on(folder)}`; or take what it has learnt: `{finished(folder)}`{front}"
            )
        raise
    if world().rank == 0:
        if as_json:
            names = ("correct", "n", "interval", "seconds", "checkpoint")
            print_json({name: getattr(result, name) for name in names})
            return
        out.print(trained(result.correct, result.n, result.interval, result.seconds))
        if not quiet:
            out.print(f"Checkpoint: {result.checkpoint}", markup=False, highlight=False)


def _paths(stated: Iterable[str]) -> list[str]:
    """The auxiliary paths as changes of the table [model]."""
    names: dict[str, list[str]] = {}
    for text in stated:
        kind, equals, places = text.partition("=")
        listed = [place.strip() for place in places.split(",") if place.strip()]
        if kind not in PATHS or not equals or not listed:
            raise InputError(
                "an auxiliary path cannot be read",
                where="--auxiliary",
                found=text,
                allowed=" or ".join(f"{kind}=NAME,NAME" for kind in PATHS)
                + ", by the names of modules",
                remedy="names are those of named_modules(), such as layer1 or blocks.0",
            )
        names[kind] = names.get(kind, []) + listed
    return [f"model.{kind}={json.dumps(listed)}" for kind, listed in names.items()]


def setting(option: str, written: list[str]) -> str:
    """``--set train.learning_rate=0.1`` for ``--lr 0.1``; empty where no recipe has such a key.

    Args:
        option: That the command does not have.
        written: Everything behind the command's name.
    """
    known = recipe_keys()
    if not (key := nearest(option.strip("-").replace("-", "_"), known)):
        return ""
    place = next(k for k, word in enumerate(written) if word.partition("=")[0] == option)
    value = written[place].partition("=")[2] or next(iter(written[place + 1 :]), "VALUE")
    return " or ".join(f"--set {table}.{key}={value}" for table in known[key])
