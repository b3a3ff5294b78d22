"""What a run recorded, on disk: in logical time, sample by sample, mapped and not loaded.

A file holds one row for each step of each sample (row ``sample * T + t``), with all recorded layers
side by side. Shards of a run fill it in any order. The arrays are views of the mapped file, so that
a caller who takes them batch by batch needs memory for a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.lava.program.program import Program, Shape, output_shape, process_named

_CHUNK = 16 << 20  # bytes that are held in memory at a time

Rows = NDArray[Any]


@dataclass(frozen=True)
class Layers:
    """The layers side by side in a row.

    Attributes:
        shapes: In Lava's layout, by name, in the order of the row.
        depth: Steps between logical time and Lava's, by name.
        steps: T of a sample.
        gap: Steps between samples that are not recorded.
    """

    shapes: Mapping[str, Shape]
    depth: Mapping[str, int]
    steps: int = 1
    gap: int = 0

    @property
    def width(self) -> int:
        """Values in a row."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def rows(self, recorded: Mapping[str, Rows], start: int, stop: int) -> Rows:
        """The rows of logical steps start to stop from Lava's recordings (steps, *shape)."""
        if not self.shapes:
            return np.zeros((stop - start, 0), np.int32)
        at: slice | Rows = slice(start, stop)
        if self.gap:
            rows = np.arange(start, stop)
            at = rows + rows // self.steps * self.gap
        parts = [
            recorded[name][self.depth[name] :][at].reshape(stop - start, -1) for name in self.shapes
        ]
        return np.concatenate(parts, axis=1)


def spike_layers(program: Program, depth: Mapping[str, int], steps: int, gap: int) -> Layers:
    """The layers whose spikes a program records; the rest as in `Layers`."""
    return _layers(program, program.record, depth, steps, gap)


def membrane_layers(program: Program, depth: Mapping[str, int], steps: int, gap: int) -> Layers:
    """The layers whose membranes a program records; the rest as in `Layers`."""
    return _layers(program, program.record_v, depth, steps, gap)


def _layers(
    program: Program, names: tuple[str, ...], depth: Mapping[str, int], steps: int, gap: int
) -> Layers:
    shapes = {name: output_shape(process_named(program, name)) for name in names}
    return Layers(shapes, {name: depth[name] for name in names}, steps, gap)


@dataclass(frozen=True)
class Recording:
    """One such file under construction.

    Attributes:
        path: Of the file, raw values of `dtype`, (samples * steps, width).
        layers: Side by side in a row.
        dtype: Of the values.
        steps, samples: T and B.
    """

    path: Path
    layers: Layers
    dtype: type[np.generic]
    steps: int
    samples: int

    def fill(self, first: int, samples: int, recorded: Mapping[str, Rows]) -> None:
        """Take over what Lava recorded of so many samples from `first` on."""
        for start, stop in self._chunks(samples * self.steps):
            self.put(first * self.steps + start, self.layers.rows(recorded, start, stop))

    def put(self, row: int, values: Rows) -> None:
        """Write rows from `row` on; shards may do so at the same time."""
        if not self.layers.width:
            return
        with self.path.open("r+b") as file:
            file.seek(row * self.layers.width * np.dtype(self.dtype).itemsize)
            file.write(np.ascontiguousarray(values, self.dtype).data)

    def create(self) -> Recording:
        """Make the file, sparse."""
        with self.path.open("wb") as file:
            size = self.samples * self.steps * self.layers.width
            file.truncate(size * np.dtype(self.dtype).itemsize)
        return self

    def arrays(self) -> dict[str, Rows]:
        """(T, B, *our shape) by name: views of the mapped file, which may be unlinked then."""
        if not self.layers.width:
            return {}
        shape = (self.samples * self.steps, self.layers.width)
        mapped = np.asarray(np.memmap(self.path, self.dtype, "r", shape=shape))
        arrays, start = {}, 0
        for name, own in self.layers.shapes.items():
            stop = start + int(np.prod(own))
            view = mapped[:, start:stop].reshape(self.samples, self.steps, *own)
            arrays[name] = view.transpose(1, 0, *range(view.ndim - 1, 1, -1))
            start = stop
        return arrays

    def _chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        step = max(1, _CHUNK // max(1, self.layers.width * np.dtype(self.dtype).itemsize))
        for start in range(0, rows, step):
            yield start, min(start + step, rows)
