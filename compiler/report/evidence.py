"""What judging fills in and the report is made from: what was judged, all that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from purespike.compiler.proofs.counts import Counts, total_counts
from purespike.compiler.report.rows.basic import Choice
from purespike.compiler.report.rows.c_program import CProgram
from purespike.compiler.report.rows.census import (
    Census,
    Conventions,
    Energy,
    LayerCount,
    Operations,
)
from purespike.compiler.report.rows.cores import CoreMap
from purespike.compiler.report.rows.network import Network, NetworkFile, Source
from purespike.compiler.report.rows.stages import Activity, ExecutorRow, Join, PassLine
from purespike.compiler.report.rows.verdict import Accuracy, Chance
from purespike.compiler.rules.energy import TABLES, EnergyTable, project
from purespike.compiler.rules.policy import Policy
from purespike.compiler.rules.waiver import Waivers


@dataclass(frozen=True)
class Judged:
    """What was judged, and by what.

    Attributes:
        model: Name of the network.
        target: Name of the chip.
        policy: What the team accepts.
        waivers: Broken findings that it accepts by name.
        options: What the compiler was told, but for policy and waivers.
        samples: How many were given.
        versions: Of purespike and of what decides the numbers.
        sources: Where the class of each module is written, by its path.
        file: That the network came from, if it came from one.
    """

    model: str
    target: str
    policy: Policy
    waivers: Waivers | None
    options: Mapping[str, Choice]
    samples: int
    versions: Mapping[str, str]
    sources: Mapping[str, Source]
    file: NetworkFile | None = None


@dataclass(frozen=True)
class Evidence:
    """What judging filled in, beside the findings: all that was measured and proved.

    Attributes:
        network: The graph that was judged, as it is drawn.
        ledger: What each pass did.
        executors: What each executor made of the golden samples.
        accuracy: By stage, the trained network first.
        chance: What an accuracy has to beat; None without labels.
        layers: The census, by layer.
        counted: The network that the census is of; empty if nothing was counted.
        counted_samples: Over which the census is averaged.
        uncounted: Why nothing was counted.
        ac_range: (fewest, most) AC of one sample on the chip.
        conventions: The same run as other tools count it.
        updates: Neuron updates per sample; None where no chip would make them.
        timing: The branches of every join.
        latency: Steps of Lava until the deepest layer has seen what the input said in one step.
        activity: What every neuron layer did.
        membrane_limit: Of the target, in weights.
        resources: Layers on cores, an estimate.
        c_program: What the C program needs, where one was asked for.
    """

    network: Network | None = None
    ledger: tuple[PassLine, ...] = ()
    executors: tuple[ExecutorRow, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    chance: Chance | None = None
    layers: tuple[LayerCount, ...] = ()
    counted: str = ""
    counted_samples: int | None = None
    uncounted: str = ""
    ac_range: tuple[float, float] | None = None
    conventions: Conventions | None = None
    updates: float | None = None
    timing: tuple[Join, ...] = ()
    latency: int | None = None
    activity: tuple[Activity, ...] = ()
    membrane_limit: float | None = None
    resources: CoreMap | None = None
    c_program: CProgram | None = None

    def census(self) -> Census:
        """What ran, with its sum over the chip."""
        on_chip = [c.counts.counts() for c in self.layers if c.runs_on == "chip"]
        return Census(
            unit="operations per sample, averaged over the samples that ran",
            network=self.counted or None,
            samples=self.counted_samples,
            not_counted=self.uncounted or None,
            chip=Operations.of(total_counts(on_chip)) if self.layers else None,
            layers=self.layers,
            conventions=self.conventions,
        )

    def silent(self) -> tuple[str, ...]:
        """Modules none of whose neurons fired; of levels the highest may, so they count as one."""
        rates: dict[str, list[float]] = {}
        for row in self.layers:
            if row.runs_on == "chip" and row.firing_rate is not None:
                rates.setdefault(row.origin or row.name, []).append(row.firing_rate)
        return tuple(name for name, fired in rates.items() if not any(fired))

    def energy(self) -> tuple[Energy, ...]:
        """Projections of the chip's work for one sample, each with its source and boundary.

        A range is that of the samples that ran, from the quietest to the busiest. A figure is None
        where a table has none for what runs, and where nothing was counted.
        """
        chip = self.census().chip

        def figure(table: EnergyTable, ac: float | None) -> float | None:
            if chip is None:
                return None
            counts: Counts = chip.counts() if ac is None else replace(chip, ac=ac).counts()
            return project(table, counts, self.updates)

        low, high = self.ac_range or (None, None)
        return tuple(
            Energy(
                table=t.name,
                per_sample=figure(t, None),
                range=(figure(t, low), figure(t, high)),
                source=t.source,
                boundary=t.boundary,
                label="projection",
            )
            for t in TABLES
        )
