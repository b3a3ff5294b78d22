"""The 10,000 networks by number, and what became of a range of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from helpers import cpu_cases
from helpers.differential import EXECUTORS, SELDOM, compare, difference, integers_of
from helpers.kept_graphs import KEPT, Kept, save
from helpers.random_graphs import Sample, captured, encoded, integer, quantized
from helpers.recurrent_cases import recurrent_graphs
from helpers.shrinking import shrunk
from helpers.strategies import chip_graphs, spikes, trained_graphs
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.check import check as check_program
from purespike.targets.lava.run.simulate import simulate

COUNT, SLICE = 10_000, 50
LAVA_SLICES, ON_LAVA = 30, 10  # networks of a slice


def _kernels(number: int) -> Sample:
    """A network of `cpu_cases`: channels and weights on both sides of every kernel's limits."""
    graph, x = cpu_cases.network(number)
    return Sample(graph, x.astype(float), True)


def _drawn(strategy: SearchStrategy[Graph], whole: bool) -> Callable[[int], Sample]:
    """The third graph that hypothesis draws from a seed: its first is the least of all."""

    def make(number: int) -> Sample:
        found: list[Graph] = []

        @seed(number)
        @settings(
            max_examples=3,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def keep(graph: Graph) -> None:
            found.append(graph)

        keep()
        return Sample(found[-1], spikes(found[-1], 2, number), whole)

    return make


KINDS: dict[str, Callable[[int], Sample]] = {
    "captured": captured,
    "captured blind": lambda n: captured(n, directed=False),
    "captured levels": lambda n: captured(n, levels=True),
    "integer": integer,
    "integer blind": lambda n: integer(n, directed=False),
    "kernels": _kernels,
    "encoded": encoded,
    "quantized": quantized,
    "recurrent": _drawn(recurrent_graphs(clocked=False), True),
    "chip": _drawn(chip_graphs(), True),
    "trained": _drawn(trained_graphs(), False),
}
# What twenty networks in a row are.
ROW = (
    *("captured", "integer", "captured levels", "kernels", "recurrent"),
    *("captured", "integer", "captured levels", "encoded", "captured"),
    *("captured", "integer", "chip", "trained", "captured blind"),
    *("captured", "quantized", "kernels", "captured levels", "integer blind"),
)


def numbered(k: int) -> tuple[str, int]:
    """Kind and seed of network number ``k``."""
    return ROW[k % len(ROW)], k


@dataclass
class Tally:
    """What became of some networks."""

    networks: int = 0
    values: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unlisted: int = 0
    mismatches: list[str] = field(default_factory=list)


def check(numbers: Iterable[int], folder: Path = KEPT) -> Tally:
    """Compare networks by number. One that differs is shrunk, and saved into ``folder``."""
    tally = Tally()
    for k in numbers:
        kind, number = numbered(k)
        names = (*EXECUTORS, *(n for n, (every, _) in SELDOM.items() if (k + k // 5) % every == 0))
        sample = KINDS[kind](number)
        found = compare(sample, names, wordy=True)
        tally.networks += 1
        tally.values += found.values
        tally.refused += found.refused
        tally.unlisted += found.unlisted
        for mismatch in found.mismatches[:1]:  # the others are, as a rule, its consequences
            smaller, said = shrunk(sample, mismatch)
            kept = Kept(smaller, kind, number, mismatch.between, said)
            path = save(kept, folder)
            tally.mismatches.append(f"{kind} {number}: {mismatch.between}: {said} ({path})")
    return tally


def check_lava(part: int, folder: Path = KEPT) -> Tally:
    """The first ten networks of a part of the list that have a form in Lava, on Lava itself.

    One run each: many networks side by side in one run took as much time for each, or more, since
    every layer is a process of its own.
    """
    tally, every = Tally(), COUNT // LAVA_SLICES
    for k in range(part * every, (part + 1) * every):
        kind, number = numbered(k)
        sample = KINDS[kind](number)
        try:
            graph, x = integers_of(sample)
            program = emit(graph, schedule(graph), x)
            check_program(program)
        except PurespikeError as e:
            tally.refused[f"Lava: {e.message}"] += 1
            continue
        found = simulate(graph, x, jobs=1)
        trace = Trace(found.spikes, found.membranes)
        values, text = difference(run(graph, x), trace, graph)
        tally.networks += 1
        tally.values["Lava"] += values
        if text:  # not shrunk: that would take hundreds of runs of Lava
            kept = Kept(Sample(graph, x, True), kind, number, ("interpreter", "Lava"), text)
            tally.mismatches.append(f"{kind} {number}: Lava: {text} ({save(kept, folder)})")
        if tally.networks == ON_LAVA:
            break
    return tally
