"""A compiled network run on samples: on the exact cpu executor, or on Lava."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Convolution, require_choice
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.report.formats.notebook import listed
from purespike.compiler.report.tables.table import Table, layers, numbers
from purespike.compiler.rules.measure import decide
from purespike.judge.executors import encode, lava_decisions
from purespike.subject import Samples, require_fit
from purespike.targets.cpu.run import run_cpu
from purespike.targets.lava.run.simulate import simulate as run_lava

Executor = Literal["cpu", "lava"]


@dataclass(frozen=True)
class Simulation:
    """What a compiled network did.

    Attributes:
        executor: Which one ran.
        decisions: The class of each sample, int64 (B,).
        spikes: uint8 (T, B, *shape) of every firing layer on the chip, by name.
        membranes: int32 (T, B, *shape) of what was kept, after the reset, in 64ths of a weight.
        labels: (B,); None without.
    """

    executor: Executor
    decisions: NDArray[np.int64]
    spikes: Mapping[str, NDArray[Any]]
    membranes: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None = None

    @property
    def accuracy(self) -> float | None:
        """Fraction of right decisions; None without labels."""
        return None if self.labels is None else float((self.decisions == self.labels).mean())

    @property
    def rates(self) -> dict[str, float]:
        """Spikes per neuron and step, by firing layer."""
        return {name: float(spikes.mean()) for name, spikes in self.spikes.items()}

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        right = "" if self.accuracy is None else f", accuracy={self.accuracy:.4f}"
        names = ", ".join(self.spikes)
        count = len(self.decisions)
        return f"Simulation({self.executor!r}, samples={count}{right}, layers={names})"

    def _repr_html_(self) -> str:
        """For notebooks: accuracy, and the firing rate of every layer."""
        right = "" if self.accuracy is None else f", {100 * self.accuracy:.2f} % right"
        columns = (*layers("layer"), *numbers("neurons", "spikes", "per neuron and step"))
        rows = tuple(
            (name, f"{v[0, 0].size:,}", f"{int(v.sum()):,}", f"{100 * v.mean():.2f} %")
            for name, v in self.spikes.items()
        )
        count = len(self.decisions)
        heading = f"{count} sample{'' if count == 1 else 's'} on {self.executor}{right}"
        return listed(heading, Table("Spikes by layer", columns, rows))


def simulate(
    graph: Graph,
    samples: Samples | Any,
    *,
    on: Executor = "cpu",
    membranes: bool = False,
    conv: Convolution = "fast",
    jobs: int | None = None,
) -> Simulation:
    """Run samples on a network in integers.

    Args:
        graph: The last stage of a compilation; layers of the host encode first.
        samples: Or their inputs alone (T, B, *shape).
        on: ``cpu``, exact and fast, or ``lava``.
        membranes: Whether the cpu executor keeps those of all layers; Lava keeps integrators'.
        conv: Which convolution model Lava runs.
        jobs: Lava's runs at a time; None takes one for every two cores.

    Raises:
        UsageError: If the samples do not fit.
        CpuError: If the network is not in integers.
        LavaRunError: If Lava gave no result.
    """
    require_choice("on", Executor, on)
    require_choice("conv", Convolution, conv)
    given = samples if isinstance(samples, Samples) else Samples(samples)
    x = given.arrays()["inputs"]
    require_fit(graph, x, "the samples")
    chip, fed = chip_part(graph), encode(graph, x)
    if on == "cpu":
        trace = run_cpu(chip, fed, membranes=membranes)
        fire = {n.name for n in chip.nodes if isinstance(n.op, Neuron) and n.op.fires}
        spikes = {name: v for name, v in trace.values.items() if name in fire}
        return Simulation(on, decide(chip, trace), spikes, trace.membranes, given.labels)
    run = run_lava(chip, fed, conv=conv, jobs=jobs)
    return Simulation(on, lava_decisions(chip, run), run.spikes, run.membranes, given.labels)
