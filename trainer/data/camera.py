"""A simulated event camera: deterministic, so that everybody gets the same recordings.

The camera looks at an image and moves along a triangle in three saccades, as the one that recorded
N-MNIST did (Orchard et al., 2015). Each pixel of its sensor remembers the logarithm of the light,
``log(0.1 + level)`` with levels as fractions, at its last event, and sends an event of the polarity
of the change whenever the logarithm has moved from it by a contrast step (Lichtsteiner et al.,
2008, section II); the memory then moves on by that step. Steps differ from pixel to pixel by 3 %
(they measured 2.1 %), and events without a cause come at random: the same for everybody, by a fixed
seed.

No real camera is copied closely: there is no latency, no refractory time, no bandwidth limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from purespike.trainer.data.events import EVENT, to_frames

__all__ = ["Camera", "EventStreams", "watch"]

ROUNDING = 1e-9  # of a contrast step
DARK = 0.1  # light that the black background sends, of 1
AT_ONCE = 256  # recordings that are computed together, to bound the memory; noise depends on it
Floats = NDArray[np.float64]
Columns = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Camera:
    """What the simulated camera is like.

    Attributes:
        contrast: change of the logarithm of the light that sends an event.
        mismatch: standard deviation of the contrast steps, as a share.
        noise: events without a cause, for each pixel and recording.
        side: pixels along each side of the sensor.
        zoom: sensor pixels for each pixel of the image.
        reach: how far the image moves from the middle, in sensor pixels.
        moments: times at which the light is looked at.
        duration: of a recording, microseconds (three saccades of 100 ms, as N-MNIST).
        seed: of mismatch and noise.
    """

    contrast: float = 0.5
    mismatch: float = 0.03
    noise: float = 0.02
    side: int = 16
    zoom: float = 1.5
    reach: float = 2.0
    moments: int = 60
    duration: int = 300_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class EventStreams:
    """A source of event streams, as T frames.

    Attributes:
        streams: one array of events for each sample.
        labels: (N,).
        camera: that recorded them.
        steps: T.
        bins: time or count.
    """

    streams: tuple[NDArray[np.void], ...]
    labels: Tensor
    camera: Camera
    steps: int
    bins: str

    def __len__(self) -> int:
        return len(self.streams)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Frames, float32 (T, 2, side, side), and the label."""
        frames = to_frames(
            self.streams[index],
            self.steps,
            sensor=(self.camera.side, self.camera.side),
            bins=self.bins,
            span=(0, self.camera.duration),
        )
        return frames, int(self.labels[index])


def watch(images: Tensor, camera: Camera, levels: int) -> tuple[NDArray[np.void], ...]:
    """Record an image after the other.

    Args:
        images: uint8 (N, 1, side, side), of levels from 0.
        camera: with which.
        levels: the highest level of a pixel.

    Returns:
        For each image its events: fields x, y, p and t (microseconds), in the order of time.
    """
    rng = np.random.default_rng(camera.seed)
    steps = camera.contrast * (
        1 + camera.mismatch * rng.standard_normal((camera.side, camera.side))
    )
    light = images[:, 0].numpy().astype(np.float64) / levels
    streams: list[NDArray[np.void]] = []
    for start in range(0, len(light), AT_ONCE):
        part = light[start : start + AT_ONCE]
        found = [*_changes(part, steps, camera), _noise(len(part), camera, rng)]
        streams += _sorted(found, len(part), camera)
    return tuple(streams)


def _changes(light: Floats, steps: Floats, camera: Camera) -> Iterator[Columns]:
    """The events (sample, x, y, polarity, time) of light (N, side, side), group by group."""
    memory = np.log(DARK + _seen(light, _place(0.0, camera), camera))
    before = memory
    for moment in range(1, camera.moments + 1):
        now = np.log(DARK + _seen(light, _place(moment / camera.moments, camera), camera))
        # Whole contrast steps between memory and light; their sign is the polarity. A pixel that is
        # black again is whole steps away but for rounding, which must not decide.
        ratio = (now - memory) / steps
        crossed = np.trunc(ratio + np.copysign(ROUNDING, ratio)).astype(np.int64)
        for count in range(1, int(np.abs(crossed).max(initial=0)) + 1):
            n, y, x = np.nonzero(np.abs(crossed) >= count)
            sign = np.sign(crossed[n, y, x])
            level = memory[n, y, x] + sign * count * steps[y, x]
            # The light is taken to change evenly between two moments.
            share = (level - before[n, y, x]) / (now[n, y, x] - before[n, y, x])
            time = (moment - 1 + np.clip(share, 0, 1)) * camera.duration / camera.moments
            t = np.minimum(time.astype(np.int64), moment * camera.duration // camera.moments - 1)
            yield n, x, y, (sign > 0).astype(np.int64), t
        memory = memory + crossed * steps
        before = now


def _place(time: float, camera: Camera) -> tuple[float, float]:
    """Shift (down, right) of the image at a time from 0 to 1: three legs of a triangle."""
    corners = np.array([(1.0, -1.0), (-1.0, 0.0), (1.0, 1.0), (1.0, -1.0)]) * camera.reach
    leg = min(int(time * 3), 2)
    part = time * 3 - leg
    down, right = corners[leg] * (1 - part) + corners[leg + 1] * part
    return float(down), float(right)


def _seen(light: Floats, shift: tuple[float, float], camera: Camera) -> Floats:
    """The light on the sensor: the image in the middle, shifted, between its pixels linear."""
    rows, columns = (_weights(s, camera, light.shape[1]) for s in shift)
    seen: Floats = rows @ light @ columns.T
    return seen


def _weights(shift: float, camera: Camera, count: int) -> Floats:
    """(sensor pixels, image pixels): the linear interpolation along one axis."""
    middle = camera.side / 2
    centre = (np.arange(camera.side) + 0.5 - middle - shift) / camera.zoom + count / 2 - 0.5
    return np.clip(1 - np.abs(centre[:, None] - np.arange(count)), 0, None)


def _noise(count: int, camera: Camera, rng: np.random.Generator) -> Columns:
    n, y, x = np.nonzero(rng.random((count, camera.side, camera.side)) < camera.noise)
    return n, x, y, rng.integers(0, 2, len(n)), rng.integers(0, camera.duration, len(n))


def _sorted(found: list[Columns], count: int, camera: Camera) -> list[NDArray[np.void]]:
    """The events of each recording, by time, then place and polarity."""
    n, x, y, p, t = (np.concatenate(column) for column in zip(*found, strict=True))
    # One number for each event sorts much faster than five keys.
    shape = (count, camera.duration, camera.side, camera.side, 2)
    place = np.sort(np.ravel_multi_index((n, t, y, x, p), shape))
    n, t, y, x, p = np.unravel_index(place, shape)
    events = np.empty(len(n), EVENT)
    for name, column in (("x", x), ("y", y), ("p", p), ("t", t)):
        events[name] = column
    return np.split(events, np.searchsorted(n, np.arange(1, count)))
