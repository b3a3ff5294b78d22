"""A shard as it travels to a worker of a Dask cluster, and what the worker does with it."""

from __future__ import annotations

import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.lava.program.file import ARRAYS, PROGRAM
from purespike.targets.lava.run.guard import run_guarded
from purespike.targets.lava.run.recordings import Layers


@dataclass(frozen=True)
class Task:
    """A shard as it travels.

    Attributes:
        key: Its name on the cluster.
        program: Text of its program.json.
        source: Name of the source.
        weights: Its arrays.npz, compressed.
        frames: The source's spikes as an .npy file, compressed.
        rows: Logical steps to bring back.
        spikes, membranes: Layers to bring back.
        timeout: Seconds.
    """

    key: str
    program: str
    source: str
    weights: bytes
    frames: bytes
    rows: int
    spikes: Layers
    membranes: Layers
    timeout: float


@dataclass(frozen=True)
class Answer:
    """What a shard recorded: spikes packed to bits, membranes (rows, width)."""

    spikes: NDArray[np.uint8]
    membranes: NDArray[Any]
    processes: int


def run_task(task: Task) -> Answer:
    """Run a shard; Dask calls this on a worker."""
    from distributed import get_worker

    worker = get_worker()

    def given_up() -> bool:
        state = worker.state.tasks.get(task.key)  # the client cancelled it, or has gone
        return state is None or state.state == "cancelled"

    # There, Dask itself removes what a killed worker leaves.
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as name:
        folder = Path(name)
        (folder / PROGRAM).write_text(task.program, encoding="utf-8")
        (folder / ARRAYS).write_bytes(zlib.decompress(task.weights))
        (folder / f"{task.source}.npy").write_bytes(zlib.decompress(task.frames))
        result = run_guarded(folder, timeout=task.timeout, keep=folder, stop=given_up)
        return Answer(
            np.packbits(task.spikes.rows(result.spikes, 0, task.rows)),
            task.membranes.rows(result.membranes, 0, task.rows),
            result.processes,
        )
