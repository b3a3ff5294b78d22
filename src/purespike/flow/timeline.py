"""One sample on its way through a compiled network: in logical time, and in Lava's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Convolution, as_path, require_choice
from purespike.compiler.errors import UsageError
from purespike.compiler.files.writing import write_file
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.report.page.clocks import Clock, animation, senders
from purespike.compiler.report.rows.network import Network
from purespike.compiler.scratch import scratch_folder
from purespike.judge.executors import encode
from purespike.subject import Samples, require_fit
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.file import write
from purespike.targets.lava.run.guard import run_guarded

_SECONDS = 600.0  # for one sample on Lava


@dataclass(frozen=True)
class Timeline:
    """What every layer sent while one sample was on its way, by two clocks.

    Attributes:
        graph: The network on the chip.
        logical: uint8 (T, *shape) of the input and of every firing layer, by the interpreter.
        lava: uint8 (Lava's steps, *shape) of the same, as Lava's recorder saw them, its first step
            being step 0.
        late: Steps of Lava's clock by which each of them is behind logical time: what the scheduler
            planned.
    """

    graph: Graph
    logical: Mapping[str, NDArray[np.uint8]]
    lava: Mapping[str, NDArray[np.uint8]]
    late: Mapping[str, int]

    @property
    def equal(self) -> bool:
        """True if Lava sent every spike, and no other one, so many steps later as was planned."""
        steps = self.graph.steps
        return all(
            np.array_equal(self.lava[name][late : late + steps], self.logical[name])
            for name, late in self.late.items()
        )

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        lava = len(next(iter(self.lava.values())))
        said = "equal" if self.equal else "NOT EQUAL"
        return (
            f"Timeline(T={self.graph.steps}, Lava's steps={lava}, {said}, layers={len(self.late)})"
        )

    def _repr_svg_(self) -> str:
        """For notebooks: spikes on their way by both clocks, animated."""
        clocks = [
            Clock(
                "Logical time", "logical step", _counts(self.logical), dict.fromkeys(self.late, 0)
            ),
            Clock("Lava's time", "Lava's step", _counts(self.lava), self.late),
        ]
        words = ", ".join(f"{name} {late}" for name, late in self.late.items())
        title = f"Spikes in logical time and in Lava's; steps by which layers are late: {words}"
        network = senders(Network.of(self.graph, "on the chip"), self.logical)
        return animation(network, clocks, title)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the animation as an SVG file, whole or not at all: for a page, no script needed.

        Raises:
            UsageError: If the name does not end in .svg.
            OutputError: If it cannot be written.
        """
        path = as_path(path, "path")
        if path.suffix.lower() != ".svg":
            found = path.suffix or "none"
            raise UsageError(
                "a timeline is written as SVG", where=str(path), found=found, allowed=".svg"
            )
        write_file(path, self._repr_svg_())


def timeline(
    graph: Graph, samples: Samples | Any, *, sample: int = 0, conv: Convolution = "fast"
) -> Timeline:
    """Lead one sample through the interpreter and through Lava, and keep when each layer fired.

    Args:
        graph: The last stage of a compilation.
        samples: Or their inputs alone (T, B, *shape).
        sample: Which of them.
        conv: Which convolution model Lava runs.

    Raises:
        UsageError: If the samples do not fit, or there is no such one.
        EmitError, ScheduleError: If the graph has no exact form in Lava.
        LavaUnavailable, LavaRunError: If there is no Lava, or it gave no result.
    """
    require_choice("conv", Convolution, conv)
    given = samples if isinstance(samples, Samples) else Samples(samples)
    x = given.arrays()["inputs"]
    require_fit(graph, x, "the samples")
    if isinstance(sample, bool) or not isinstance(sample, int) or not 0 <= sample < x.shape[1]:
        raise UsageError(
            "there is no such sample",
            where="sample",
            found=repr(sample),
            allowed=f"0 to {x.shape[1] - 1}",
        )
    chip, fed = chip_part(graph), encode(graph, x[:, sample : sample + 1])
    source = chip.inputs[0].name
    fire = [n.name for n in chip.nodes if isinstance(n.op, Neuron) and n.op.fires]
    trace = run(chip, fed, record={source, *fire}, lean=True)
    plan = schedule(chip)
    program = emit(chip, plan, fed, conv=conv)
    # With delays a silent sample goes first; it is not shown.
    lead = chip.steps + plan.gap if plan.gap else 0
    with scratch_folder() as folder:
        write(replace(program, record=(source, *fire), record_v=()), folder)
        seen = run_guarded(folder, timeout=_SECONDS).spikes
    ours = {n: a[lead:].transpose(0, *range(a.ndim - 1, 0, -1)) for n, a in seen.items()}
    logical = {n: np.asarray(trace.values[n][:, 0], np.uint8) for n in ours}
    return Timeline(chip, logical, ours, {n: plan.depth[n] - lead for n in ours})


def _counts(sent: Mapping[str, NDArray[np.uint8]]) -> dict[str, list[int]]:
    return {n: a.reshape(len(a), -1).sum(axis=1).tolist() for n, a in sent.items()}
