"""What can go wrong in the trainer through a user's input."""

from __future__ import annotations

from purespike.compiler.errors import PurespikeError, Refusal, UsageError

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "ShapeError",
    "TrainingDiverged",
    "TrainingInterrupted",
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
    """The user stopped the training; the state of the last whole epoch is kept."""
