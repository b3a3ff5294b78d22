"""What a data file gives beside the samples to judge by; torch is loaded with the first batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from purespike.subject import Batches

CALIBRATION = 128  # training samples
BATCH = 32  # training samples at a time, for fine-tuning


def training_of(given: Mapping[str, NDArray[Any]]) -> Callable[[], Batches] | None:
    """Batches to fine-tune on, if a data file has training inputs."""
    if "training_inputs" not in given:
        return None

    def batches() -> Batches:
        from purespike.trainer.data.sequences import training_batches

        return training_batches(
            given["training_inputs"], given["training_labels"], batch_size=BATCH
        )

    return batches


def calibration_of(given: Mapping[str, NDArray[Any]]) -> NDArray[Any] | None:
    """The calibration samples of a data file; without, the first of its training inputs."""
    if "calibration" not in given and "training_inputs" in given:
        return given["training_inputs"][:, :CALIBRATION].astype(np.float32)
    return given.get("calibration")
