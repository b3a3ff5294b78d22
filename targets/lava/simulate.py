"""Run an integer graph on Lava's CPU backend and bring back what its layers did."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.domain import Array
from purespike.compiler.ir import Graph
from purespike.targets.lava.emit import emit, from_lava
from purespike.targets.lava.guard import run_guarded
from purespike.targets.lava.program_file import write
from purespike.targets.lava.schedule import Schedule, schedule


@dataclass(frozen=True)
class LavaRun:
    """What Lava did, in logical time and our layout.

    Attributes:
        spikes: (T, B, *shape) of every firing layer.
        membranes: (T, B, *shape) of every integrator, in 64ths of a weight.
        plan: The schedule it ran by.
        steps: Lava steps.
        processes: Lava processes, each a process of the system.
        seconds: Time of the steps, without building and starting.
        total_seconds: With building and stopping.
    """

    spikes: Mapping[str, Array]
    membranes: Mapping[str, Array]
    plan: Schedule
    steps: int
    processes: int
    seconds: float
    total_seconds: float


def simulate(
    graph: Graph,
    x: NDArray[Any],
    *,
    conv: str = "fast",
    timeout: float = 3600.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> LavaRun:
    """Run samples back to back on Lava.

    Args:
        graph: An integer graph (the last stage of the pipeline).
        x: Input spikes (T, B, *shape).
        conv: ``fast`` or ``stock``.
        timeout: Seconds for the whole run.
        on_progress: Called with (finished steps, steps).

    Raises:
        EmitError, ScheduleError: If the graph has no exact form in Lava.
        LavaRunError: If the run gave no result.
    """
    plan = schedule(graph)
    program = emit(graph, plan, x, conv=conv)
    with tempfile.TemporaryDirectory(prefix="purespike-") as folder:
        write(program, Path(folder))
        result = run_guarded(Path(folder), timeout=timeout, on_progress=on_progress)
    steps, samples = x.shape[:2]
    return LavaRun(
        {n: from_lava(v, steps, samples, plan.depth[n]) for n, v in result.spikes.items()},
        {n: from_lava(v, steps, samples, plan.depth[n]) for n, v in result.membranes.items()},
        plan,
        program.steps,
        result.processes,
        result.seconds,
        result.total_seconds,
    )
