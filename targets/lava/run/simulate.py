"""Run an integer graph on Lava's CPU backend and bring back what its layers did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Convolution
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.scratch import scratch_folder
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import Schedule, schedule
from purespike.targets.lava.program.program import Program
from purespike.targets.lava.run.cluster import run_on_cluster
from purespike.targets.lava.run.recordings import Recording, membrane_layers, spike_layers
from purespike.targets.lava.run.shards import default_jobs, run_shards, split


@dataclass(frozen=True)
class LavaRun:
    """What Lava did, in logical time and our layout.

    The arrays are views of files that are gone from their folder: they take disk space until the
    last array goes, and memory only for what is read. Take long recordings in batches of samples.

    Attributes:
        spikes: uint8 (T, B, *shape) of every firing layer.
        membranes: int32 (T, B, *shape) of every integrator, in 64ths of a weight.
        plan: The schedule it ran by.
        steps: Lava steps, of all shards together.
        processes: Lava processes that ran at the same time, each a process of the system.
        seconds: Time of the steps, without building and starting, of the slowest shard; on a
            cluster the whole time.
        total_seconds: With building and stopping.
        shards: Runs into which the samples were split.
    """

    spikes: Mapping[str, NDArray[Any]]
    membranes: Mapping[str, NDArray[Any]]
    plan: Schedule
    steps: int
    processes: int
    seconds: float
    total_seconds: float
    shards: int = 1

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        return (
            f"LavaRun(steps={self.steps}, shards={self.shards}, seconds={self.seconds:.3g}, "
            f"layers={', '.join(self.spikes)})"
        )


def simulate(
    graph: Graph,
    x: NDArray[Any],
    *,
    conv: Convolution = "fast",
    timeout: float = 3600.0,
    jobs: int | None = None,
    scheduler: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LavaRun:
    """Run samples on Lava, back to back, in one run or in several side by side.

    Args:
        graph: An integer graph (the last stage of the pipeline).
        x: Input spikes (T, B, *shape).
        conv: ``fast`` or ``stock``.
        timeout: Seconds for the whole run.
        jobs: Runs at a time on this machine, each with its share of the samples; None takes one
            for every two cores. The recordings are the same for any number.
        scheduler: Address of a Dask scheduler (``tcp://host:8786``), whose workers then run the
            shards; `jobs` must be None.
        on_progress: Called with (finished steps, steps).

    Raises:
        EmitError, ScheduleError: If the graph has no exact form in Lava.
        LavaRunError: If the run gave no result.
        ClusterError: If the cluster cannot be used or failed.
    """
    plan = schedule(graph)
    return run_program(
        emit(graph, plan, x, conv=conv),
        plan,
        *x.shape[:2],
        timeout=timeout,
        jobs=jobs,
        scheduler=scheduler,
        on_progress=on_progress,
    )


def run_program(
    program: Program,
    plan: Schedule,
    steps: int,
    samples: int,
    *,
    timeout: float = 3600.0,
    jobs: int | None = None,
    scheduler: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LavaRun:
    """Run the first samples of a program that has their spikes in it.

    Args:
        program: Of `emit`, for so many samples or more.
        plan: The schedule it was emitted by.
        steps: T of a sample.
        samples: How many.
        timeout: As the following, as for `simulate`.
        jobs: Runs at a time.
        scheduler: Address of a Dask scheduler.
        on_progress: Called with (finished steps, steps).

    Raises:
        LavaRunError, ClusterError: As `simulate`.
    """
    if jobs is not None and (jobs < 1 or scheduler is not None):
        raise UsageError(
            "the number of jobs cannot be used",
            found=f"jobs = {jobs}" + (" beside a scheduler" if scheduler else ""),
            allowed="1 or more on this machine; a cluster's workers decide themselves",
        )
    with scratch_folder() as folder:
        spikes = Recording(
            folder / "spikes",
            spike_layers(program, plan.depth, steps, plan.gap),
            np.uint8,
            steps,
            samples,
        ).create()
        membranes = Recording(
            folder / "membranes",
            membrane_layers(program, plan.depth, steps, plan.gap),
            np.int32,
            steps,
            samples,
        ).create()
        if scheduler is None:
            count = jobs or default_jobs()
            shards = split(program, steps, samples, plan.latency, count, plan.gap)
            times = run_shards(
                shards, folder, spikes, membranes, timeout=timeout, on_progress=on_progress
            )
        else:
            shards, times = run_on_cluster(
                scheduler,
                lambda count: split(program, steps, samples, plan.latency, count, plan.gap),
                spikes,
                membranes,
                timeout=timeout,
                on_progress=on_progress,
            )
        return LavaRun(
            spikes.arrays(),
            membranes.arrays(),
            plan,
            sum(shard.program.steps for shard in shards),
            times.processes,
            times.seconds,
            times.total_seconds,
            len(shards),
        )
