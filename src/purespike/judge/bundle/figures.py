"""The figures of a report that golden samples decide or bound: counts, firing, membranes.

Where the golden samples are all that were judged, they decide every figure. Of a mean over more
samples they bound it: the others add at least nothing and at most what the dense network does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.labels import output_classes
from purespike.compiler.proofs.counts import Counts, dense_census
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.basic import both
from purespike.compiler.report.rows.census import (
    AapCost,
    AcMac,
    Conventions,
    LayerCount,
    LayerTools,
    Tools,
)
from purespike.compiler.report.rows.stages import Activity
from purespike.compiler.report.rows.verdict import Chance
from purespike.compiler.rules.conventions import aap_cost
from purespike.compiler.rules.energy import EnergyTable
from purespike.compiler.rules.measure import Measured
from purespike.judge.evidence import ac_range, activity, layer_counts
from purespike.targets.bundle.bundle import Bundle
from purespike.targets.spec import LOIHI2


@dataclass(frozen=True, eq=False)
class Part:
    """Golden samples as a part of those that the report is about.

    Attributes:
        said: The report.
        graph: The chip's network.
        measured: What it did on the golden samples.
        samples: How many the report is about.
        golden: How many of them are in the bundle.
        labels: Of the golden samples.
        right: Golden samples whose label is decided for.
        lava: Samples that Lava ran; 0 if it did not.
        mode: Which convolution model Lava ran.
        host: Whether an encoder runs before the chip.
    """

    said: Report
    graph: Graph
    measured: Measured
    samples: int
    golden: int
    labels: NDArray[np.int64]
    right: int
    lava: int
    mode: str
    host: bool

    @cached_property
    def most(self) -> dict[str, Counts]:
        """What every node counts in a step in which all inputs fire."""
        return dense_census(self.graph)

    @property
    def whole(self) -> bool:
        """Are the golden samples all samples?"""
        return self.samples == self.golden

    def between(self, value: float, low: float, high: float) -> float:
        """The value if it is possible, else the nearest that is; sums may be off by rounding."""
        slack = 1e-9 * max(abs(low), abs(high) if math.isfinite(high) else 0.0, 1.0)
        return value if low - slack <= value <= high + slack else min(max(value, low), high)

    def mean(self, value: float, here: float, most: float) -> float:
        """A mean over all samples, given that of the golden ones and the most of any sample."""
        if self.whole:
            return here
        known, others = here * self.golden, self.samples - self.golden
        return self.between(value, known / self.samples, (known + most * others) / self.samples)

    def layers(self) -> tuple[LayerCount, ...]:
        """What every layer of the chip counts."""
        rows = layer_counts(self.graph, self.measured)
        if self.whole:
            return rows
        said = by_name(self.said.census.layers)
        rates = {row.name: row.rate_by_step for row in self.activity()}
        return tuple(self._layer(row, said[row.name], rates) for row in rows)

    def _layer(
        self, row: LayerCount, said: LayerCount, rates: Mapping[str, tuple[float, ...]]
    ) -> LayerCount:
        if row.firing_rate is not None:
            row = replace(row, firing_rate=float(np.mean(rates[row.name])))
        if row.ac_by_sample is None:
            return row
        most = self.most[row.name].ac  # of one step
        pairs = zip(said.ac_by_step, row.ac_by_step, strict=True)
        steps = tuple(self.mean(value, here, most) for value, here in pairs)
        ac = self.between(said.counts.ac, sum(steps), sum(steps))
        low, high = row.ac_by_sample
        if said.ac_by_sample is None:
            raise ValueError(f"{row.name} has no AC by sample")
        ends = said.ac_by_sample
        extremes = (
            self.between(ends[0], 0, min(low, ac)),
            self.between(ends[1], max(high, ac), most * len(steps)),
        )
        counts = replace(row.counts, ac=ac)
        return replace(row, counts=counts, ac_by_step=steps, ac_by_sample=extremes)

    def host_rows(self) -> tuple[LayerCount, ...]:
        """The census of the encoder, as said."""
        return tuple(row for row in self.said.census.layers if row.runs_on == "host")

    def activity(self) -> tuple[Activity, ...]:
        """What every neuron layer did, beside what is proved for it."""
        rows = activity(
            self.measured, bound_neurons(self.graph, current_limit=LOIHI2.current_limit)
        )
        if self.whole:
            return rows
        said = by_name(self.said.activity)

        def one(row: Activity) -> Activity:
            found = said[row.name]
            pairs = zip(found.rate_by_step, row.rate_by_step, strict=True)
            low, high = both(row.membrane_observed)
            seen = both(found.membrane_observed)
            return replace(
                row,
                rate_by_step=tuple(self.mean(value, here, 1.0) for value, here in pairs),
                membrane_observed=(
                    self.between(seen[0], -math.inf, low),
                    self.between(seen[1], high, math.inf),
                ),
            )

        return tuple(one(row) for row in rows)

    def conventions(self) -> Conventions:
        """The same run as other tools count it."""
        counts = {row.name: row.counts.counts() for row in self.layers()}
        found = msgspec.convert(self.measured.conventions, Conventions)
        stated = self.said.census.conventions
        if stated is None:
            raise ValueError("the census lacks its conventions")
        if not self.whole:
            said = by_name(stated.layers)
            rows = tuple(self._columns(row, said[row.name], counts) for row in found.layers)
            found = replace(found, layers=rows, total=Tools.sum(rows))
        aap = msgspec.convert(aap_cost(self.graph, counts), AapCost)
        return replace(found, aap=stated.aap if self.host else aap)

    def _columns(
        self, row: LayerTools, said: LayerTools, counts: Mapping[str, Counts]
    ) -> LayerTools:
        def mean(said: AcMac, here: AcMac) -> AcMac:
            return AcMac(
                ac=self.mean(said.ac, here.ac, math.inf),
                mac=self.mean(said.mac, here.mac, math.inf),
            )

        exact = counts[row.name]
        return LayerTools(
            name=row.name,
            purespike=AcMac(ac=float(exact.ac), mac=float(exact.mac)),
            neurobench=mean(said.neurobench, row.neurobench),
            syops=mean(said.syops, row.syops),
        )

    def chance(self) -> Chance:
        """What an accuracy has to beat, as far as the golden labels decide it."""
        here = int(np.bincount(self.labels).max())
        count = here
        if not self.whole:
            if self.said.chance is None:
                raise ValueError("the report lacks what chance is right in")
            said = round(self.said.chance.commonest * self.samples)
            count = int(self.between(said, here, here + self.samples - self.golden))
        return Chance.of(output_classes(self.graph)[0], count, self.samples)

    def updates(self) -> float:
        """Neuron updates of one sample."""
        neurons = [n for n in self.graph.nodes if isinstance(n.op, Neuron)]
        return sum(float(np.prod(n.output.shape)) * self.graph.steps for n in neurons)

    def ac_range(self, table: EnergyTable) -> tuple[float, float] | None:
        """(fewest, most) accumulations of a sample, from the energy that ``table`` gives for it."""
        here = ac_range(self.graph, self.measured)
        if self.whole or here is None:
            return here
        ends = both(next(e for e in self.said.energy if e.table == table.name).range)
        work = table.update * self.updates()
        low, high = ((1000 * end - work) / table.ac for end in ends)
        mean = sum(row.counts.ac for row in self.layers())
        return (
            self.between(low, 0, min(here[0], mean)),
            self.between(high, max(here[1], mean), math.inf),
        )


def part_of(bundle: Bundle, measured: Measured) -> Part:
    """The golden samples of a bundle beside what its report is about."""
    said, golden = bundle.said, len(bundle.golden.labels)
    samples = max(said.samples, golden)
    options: Mapping[str, object] = said.options or bundle.manifest["options"]
    mode = str(options["lava"])
    asked, kept = (int(str(options[name])) for name in ("lava_samples", "golden"))
    lava = min(max(asked, kept), samples)
    if said.network is None:
        raise ValueError("the report lacks its network")
    return Part(
        said=said,
        graph=bundle.graph,
        measured=measured,
        samples=samples,
        golden=golden,
        labels=bundle.golden.labels,
        right=int((measured.decisions == bundle.golden.labels).sum()),
        lava=0 if mode == "none" else max(lava, golden),
        mode=mode,
        host=any(n.role == "host" for n in said.network.nodes),
    )


Named = TypeVar("Named", LayerCount, LayerTools, Activity)


def by_name(rows: Sequence[Named]) -> dict[str, Named]:
    """The rows by the names of their layers."""
    return {row.name: row for row in rows}
