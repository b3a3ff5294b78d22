"""A run over many samples as several runs over some of them, side by side on this machine.

Samples do not touch each other in Lava (every layer is reset between them), so any split gives the
same recordings.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Program, Source
from purespike.targets.lava.run.guard import Progress, Result, preflight, run_guarded
from purespike.targets.lava.run.recordings import Recording

_POLL_SECONDS = 0.05
# Lava runs each layer in a process of its own, so one run keeps about two cores busy.
_CORES_A_RUN = 2


@dataclass(frozen=True)
class Times:
    """How long the steps of a run took, the whole of it, and its Lava processes."""

    seconds: float
    total_seconds: float
    processes: int


@dataclass(frozen=True, eq=False)
class Shard:
    """Samples of a run.

    Attributes:
        first: Index of the first one.
        samples: How many.
        program: What Lava runs; its source is a file.
        source: Name of the source.
        frames: uint8 (samples * T, *Lava shape), what the file holds; with gaps, more.
    """

    first: int
    samples: int
    program: Program
    source: str
    frames: NDArray[np.uint8]

    def write(self, folder: Path) -> None:
        """Write program and input spikes into a folder."""
        write(self.program, folder)
        np.save(folder / f"{self.source}.npy", self.frames)


def default_jobs() -> int:
    """Runs at a time that suit the cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)) // _CORES_A_RUN)


def split(
    program: Program, steps: int, samples: int, latency: int, count: int, gap: int = 0
) -> list[Shard]:
    """Cut a program for many samples into ``count`` of about equal size.

    Args:
        program: For all samples, with one source that holds their spikes.
        steps: T of a sample.
        samples: B.
        latency: Steps until the deepest layer has seen the last step.
        count: How many shards; never more than samples.
        gap: Silent steps between samples; with any, each run begins with a silent sample.
    """
    (source,) = [p for p in program.processes if isinstance(p, Source)]
    if source.spikes is None:
        raise ValueError("the source's spikes have to be in the program")
    period = steps + gap
    lead = source.spikes[: period if gap else 0]
    frames = source.spikes[len(lead) :]
    processes = tuple(replace(p, spikes=None) if p is source else p for p in program.processes)
    edges = [samples * i // min(count, samples) for i in range(min(count, samples) + 1)]
    return [
        Shard(
            first,
            stop - first,
            replace(program, processes=processes, steps=(stop - first) * period + latency),
            source.name,
            _after(lead, frames[first * period : stop * period]),
        )
        for first, stop in pairwise(edges)
    ]


def _after(lead: NDArray[np.uint8], frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([lead, frames]) if len(lead) else frames


def run_shards(
    shards: list[Shard],
    folder: Path,
    spikes: Recording,
    membranes: Recording,
    *,
    timeout: float,
    on_progress: Progress | None = None,
) -> Times:
    """Run all shards at once; the first failure stops the others and is the one error.

    Args:
        shards: From `split`.
        folder: For programs and Lava's recordings; nothing of them stays there.
        spikes: Takes up the spikes that the shards record.
        membranes: Likewise their membranes.
        timeout: Seconds for the whole run.
        on_progress: Called in this thread with (finished steps, steps) of all shards together.

    Raises:
        LavaRunError: If a shard failed.
    """
    preflight(shards[0].program, runs=len(shards))
    done = [0] * len(shards)
    total = sum(shard.program.steps for shard in shards)
    stop = Event()

    def work(index: int) -> Times:
        shard, place = shards[index], folder / f"shard{index}"

        def note(finished: int, _: int) -> None:
            done[index] = finished

        return run_shard(shard, place, spikes, membranes, timeout, note, stop.is_set)

    reported = 0
    with ThreadPoolExecutor(len(shards), "purespike-shard") as pool:
        futures: list[Future[Times]] = []
        try:
            for index in range(len(shards)):  # no room for a thread ends those before it
                futures.append(pool.submit(work, index))
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, _POLL_SECONDS, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                if on_progress is not None and sum(done) != reported:
                    reported = sum(done)
                    on_progress(reported, total)
        except BaseException:
            stop.set()  # the pool then waits until each shard has removed what was its
            raise
    times = [future.result() for future in futures]
    return Times(
        max(t.seconds for t in times),
        max(t.total_seconds for t in times),
        sum(t.processes for t in times),
    )


def run_shard(
    shard: Shard,
    place: Path,
    spikes: Recording,
    membranes: Recording,
    timeout: float,
    on_progress: Progress | None,
    stop: Callable[[], bool],
) -> Times:
    """Run one shard in Lava and hand over its recordings; `place` is gone afterwards."""
    try:
        shard.write(place)
        result: Result = run_guarded(
            place, timeout=timeout, on_progress=on_progress, keep=place, stop=stop
        )
        spikes.fill(shard.first, shard.samples, result.spikes)
        membranes.fill(shard.first, shard.samples, result.membranes)
        return Times(result.seconds, result.total_seconds, result.processes)
    finally:
        shutil.rmtree(place, ignore_errors=True)
