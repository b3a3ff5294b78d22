"""From a stream of events to T binary frames.

An event (x, y, p, t) says that the light at pixel (x, y) grew (p = 1) or fell (p = 0) by a step at
time t. A frame has one channel for each polarity: channel 0 for falling, 1 for growing light. A
pixel of a frame is 1 if one or more events fell into it: several events in one frame count once, so
that what the network is given are spikes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from purespike.trainer.errors import DataError

__all__ = ["EVENT", "to_frames"]

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.bool_), ("t", np.int64)])


def to_frames(
    events: NDArray[np.void],
    steps: int,
    *,
    sensor: tuple[int, int],
    size: tuple[int, int] | None = None,
    bins: str = "count",
    span: tuple[int, int] | None = None,
    where: str = "",
) -> Tensor:
    """Deal a stream out to frames.

    Args:
        events: fields x, y, p and t, of any integer types, in the order of time.
        steps: T.
        sensor: its height and width.
        size: height and width of the frames; None keeps the sensor's. Pixel y goes to
            ``y * size // sensor``: a pixel of a smaller frame is the OR of those it covers.
        bins: ``time``: event at t goes to frame ``(t - start) T // (stop - start)``; ``count``:
            event number i of n goes to frame ``i T // n`` (Fang et al., ICCV 2021).
        span: start and stop of the recording, in the unit of t; None takes the first event, and one
            past the last. Events outside are left out.
        where: the file, for the error.

    Returns:
        float32 (T, 2, H, W), values 0 and 1.

    Raises:
        DataError: if an event lies outside the sensor or time runs backwards.
    """
    height, width = sensor
    x, y, p, t = (np.asarray(events[name]).astype(np.int64) for name in ("x", "y", "p", "t"))
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height) | (p < 0) | (p > 1)
    if bool(outside.any()):
        first = int(outside.argmax())
        raise DataError(
            "an event lies outside the sensor",
            where=where,
            found=f"event {first}: x={x[first]}, y={y[first]}, p={p[first]}",
            allowed=f"x below {width}, y below {height}, p 0 or 1",
            remedy="the file is damaged or of another sensor",
        )
    if len(t) > 1 and bool((np.diff(t) < 0).any()):
        raise DataError(
            "the events are not in the order of time",
            where=where,
            found=f"event {int((np.diff(t) < 0).argmax()) + 1} is earlier than the one before",
            allowed="times that do not fall",
            remedy="the file is damaged",
        )
    if bins == "count":
        frame = np.arange(len(t)) * steps // max(len(t), 1)
    else:
        start, stop = span or ((int(t[0]), int(t[-1]) + 1) if len(t) else (0, 1))
        inside = (t >= start) & (t < stop)
        x, y, p, t = x[inside], y[inside], p[inside], t[inside]
        frame = (t - start) * steps // (stop - start)
    high, wide = size or sensor
    frames = torch.zeros(steps, 2, high, wide)
    # Assignment, not addition: two events at one place leave one spike.
    frames.numpy()[frame, p, y * high // height, x * wide // width] = 1.0
    return frames
