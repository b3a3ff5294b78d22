"""What can go wrong in the trainer through a user's input."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from purespike.compiler.errors import PurespikeError, Refusal, UsageError
from purespike.compiler.near import nearest

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ShapeError",
    "TrainingDiverged",
    "TrainingInterrupted",
    "unknown_names",
]


class ConfigError(UsageError):
    """A configuration value is missing, unknown or out of its range."""


class DataError(UsageError):
    """A data set is missing, damaged or not of the form that it should have."""


class ShapeError(Refusal):
    """A tensor does not have the axes that a layer needs."""


class CheckpointError(UsageError):
    """A deployable checkpoint is missing, damaged or does not fit its own description."""


class TrainingDiverged(PurespikeError):
    """The loss became infinite or not a number."""


class TrainingInterrupted(PurespikeError):
    """The user stopped the training; the state of the last whole epoch is kept.

    Attributes:
        kept: The file to go on from; None if no epoch was complete.
    """

    kept: Path | None = None


def unknown_names(unknown: Iterable[str], known: Iterable[str], where: str) -> ConfigError:
    """The error for names that a table or description does not have.

    Args:
        unknown: What was found beyond the known ones.
        known: What it may have.
        where: Its own name, such as ``model.neuron``.
    """
    found, allowed = sorted(unknown), tuple(known)
    near = [name for name in (nearest(word, allowed) for word in found) if name]
    meant = f"did you mean {', '.join(near)}? Otherwise " if near else ""
    return ConfigError(
        "unknown names in a configuration",
        found=", ".join(found),
        allowed=", ".join(allowed),
        where=where,
        remedy=f"{meant}remove them, or read the file with the version that wrote it",
    )
