"""What Lava's CPU backend takes for a network that is fed one sample after the other.

All its processes run; the processor time of each is read from /proc while the steps go by, so
neither their start nor the filling of the pipeline counts. A sample takes T steps.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lava_scale
import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Program
from purespike.targets.lava.run.guard import Result, run_guarded
from purespike.targets.lava.worker import session

OPERATIONS = {"fast": 3e9, "stock": 4e8}  # of synapses that are timed: several seconds' worth
STEPS = {"fast": 40, "stock": 9}  # at least
MOST = 300
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Work:
    """Seconds of processor time of a run, step by step."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    used: dict[int, float] = field(default_factory=dict)  # by process

    def __call__(self, done: int, total: int) -> None:
        """Read the clocks of all processes, when a step is over."""
        runs = [
            p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if lava_scale.child(p)
        ]
        for pid in (p for r in runs for p in session.members(r)):
            self.used[pid] = max(_used(pid), self.used.get(pid, 0.0))
        if done:
            self.steps.append(done)
            self.seconds.append(sum(self.used.values()))

    def each(self, first: int, last: int) -> float:
        """Seconds a step, between two of them."""
        began, ended = np.interp([first, last], self.steps, self.seconds)
        return float(ended - began) / (last - first)


def _used(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def streaming(graph: Graph, x: np.ndarray[Any, Any]) -> dict[str, float]:
    """Seconds of processor time a sample, with fast convolution and with Lava's own.

    Args:
        graph: An integer graph.
        x: Spikes (T, B, *shape), repeated until all layers have heard some long enough.

    Raises:
        SystemExit: If a spike differs from the interpreter's.
    """
    plan = schedule(graph)
    samples = -(-(plan.latency + _steps(graph, "fast")) // graph.steps)
    x = np.concatenate([x] * -(-samples // x.shape[1]), axis=1)[:, :samples]
    program = emit(graph, plan, x)
    fast, work = _run(program)
    expected = run(graph, x, record=list(fast.spikes)).values
    for name, v in fast.spikes.items():
        found = from_lava(v, graph.steps, samples, plan.depth[name])
        if not np.array_equal(found, expected[name]):
            raise SystemExit(f"Lava differs from the interpreter in {name}")
    steps = min(_steps(graph, "stock"), program.steps)
    few = replace(program, steps=steps, conv="stock")
    few = replace(few, processes=tuple(lava_scale.cut(p, steps) for p in few.processes))
    stock, own = _run(few)
    for name, v in stock.spikes.items():
        if not np.array_equal(v, fast.spikes[name][:steps]):
            raise SystemExit(f"Lava's own convolution differs from the fast one in {name}")
    filled = work.each(plan.latency + 1, graph.steps * samples)
    return {
        "Lava, fast": graph.steps * filled,
        "Lava, stock": graph.steps * own.each(1, steps),  # takes as long for silence
    }


def _steps(graph: Graph, conv: str) -> int:
    """Short steps are more: the clocks of processes count in hundredths of a second."""
    dense = total_counts(dense_census(graph).values())
    return int(np.clip(OPERATIONS[conv] / (dense.ac + dense.mac), STEPS[conv], MOST))


def _run(program: Program) -> tuple[Result, Work]:
    work = Work()
    with tempfile.TemporaryDirectory() as folder:
        write(program, Path(folder))
        far = lava_scale.SECONDS
        result = run_guarded(Path(folder), timeout=far, stall=far, on_progress=work)
    return result, work
