"""Where trainings, figures and tables may be written; needs neither torch nor matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from purespike.compiler.files.kinds import CHECKPOINT, TRAINING
from purespike.compiler.files.outputs import require_file, require_folder, require_open_folder
from purespike.compiler.wording import Advice
from purespike.trainer.errors import CheckpointError

__all__ = [
    "FIGURES",
    "LAST",
    "MODEL",
    "SCAN",
    "SOFTWARE",
    "TABLE_HEADER",
    "Form",
    "figure_names",
    "is_ours",
    "require_figures",
    "require_resume_file",
    "require_training",
]

LAST = "last.ckpt"  # the resume file, in the folder of a training
MODEL = "model"  # the deployable checkpoint, in the folder of a training
FIGURES = ("curves", "firing_rates", "gradients")
Form = Literal["png", "svg"]
SCAN = ("surrogates.csv", "surrogates.png")
SOFTWARE = "purespike"  # what our figures say of themselves
TABLE_HEADER = ("shape", "width", "height", "gain", "layer", "rate", "gradient")

_LOOK = 4096  # bytes: PNG has its texts in front


def require_training(folder: Path, *, resumed: bool = False) -> None:
    """Refuse a folder for a training that holds anything but an earlier one.

    Args:
        folder: Of the training.
        resumed: Whether it goes on from the ``last.ckpt`` in there, which may be all that is left
            of the earlier one; it is checked when it is read.

    Raises:
        OutputError: If it does, or cannot be written.
    """
    here = resumed and (folder / LAST).is_file()
    target = require_open_folder(folder, None if here else TRAINING)
    if target.exists():
        require_folder(folder / MODEL, CHECKPOINT)


def require_resume_file(path: Path) -> Path:
    """The file to resume from: the path itself, or the ``last.ckpt`` in that folder.

    Raises:
        CheckpointError: If there is none.
    """
    file = path / LAST if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "there is nothing to resume from",
            found="no such file",
            allowed="a last.ckpt that a training wrote",
            where=str(file),
            remedy=Advice("start without {resume}, or name the folder of the interrupted training"),
        )
    return file


def require_figures(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder for figures and tables where one of them would replace a file of the user's.

    Raises:
        OutputError: If it would, or the folder cannot be written.
    """
    require_open_folder(folder, None)
    for name in names:
        require_file(folder / name, is_ours)


def figure_names(form: Form) -> tuple[str, ...]:
    """The files that ``purespike plot`` writes in one form."""
    return tuple(f"{name}.{form}" for name in FIGURES)


def is_ours(file: Path) -> bool:
    """Is this a figure or table that purespike wrote?"""
    with file.open("rb") as opened:
        start = opened.read(_LOOK)
    marks = {
        ",".join(TABLE_HEADER).encode(): b"",
        b"\x89PNG": b"tEXtSoftware\0" + SOFTWARE.encode(),
        b"<?xml": f"<dc:title>{SOFTWARE}</dc:title>".encode(),  # the creator of an SVG
    }
    return any(start.startswith(head) and inside in start for head, inside in marks.items())
