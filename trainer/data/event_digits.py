"""Digits as an event camera sees them: a deterministic simulation, nothing is downloaded.

An 8 x 8 digit, enlarged to 12 x 12, moves over a sensor of 16 x 16 pixels
(:mod:`purespike.trainer.data.camera`). The split is that of the digits.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import cat

from purespike.trainer.data.camera import Camera, EventStreams, watch
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.digits import digits
from purespike.trainer.data.samples import Splits
from purespike.trainer.nn.encoders import LEVELS

__all__ = ["open_event_digits"]


def open_event_digits(config: DataConfig, steps: int) -> Splits:
    """Watch all digits: 1437 training and 360 test recordings, shape (2, 16, 16)."""
    data, camera = digits(), Camera()
    train, test = _recordings()
    bins = config.bins or "time"
    return Splits(
        train=EventStreams(train, data.train_labels, camera, steps, bins),
        test=EventStreams(test, data.test_labels, camera, steps, bins),
        names=tuple("0123456789"),
    )


@lru_cache(maxsize=1)
def _recordings() -> tuple[tuple[NDArray[np.void], ...], tuple[NDArray[np.void], ...]]:
    data = digits()
    streams = watch(cat([data.train_images, data.test_images]), Camera(), LEVELS)
    return streams[: len(data.train_labels)], streams[len(data.train_labels) :]
