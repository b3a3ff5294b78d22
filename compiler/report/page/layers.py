"""What the page says of each layer: by its number, under which everything about it is found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.report.lookup import node_of
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.census import LayerCount
from purespike.compiler.report.rows.network import EdgeRow, NodeRow
from purespike.compiler.report.rows.stages import Activity

_INTEGERS = re.compile(r"int\[(-?\d+), (-?\d+)\]")


@dataclass(frozen=True)
class Layers:
    """Every layer of a report, numbered as it is drawn: the inputs, then the nodes.

    Attributes:
        report: Of the network.
        recorded: Layers of golden samples; those that are not drawn have the last numbers.
    """

    report: Report
    recorded: tuple[str, ...] = ()

    @cached_property
    def edges(self) -> tuple[EdgeRow, ...]:
        """Inputs and nodes, in order."""
        network = self.report.network
        return (*network.inputs, *network.nodes) if network else ()

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """The number of a layer by its name."""
        names = dict.fromkeys((*(e.name for e in self.edges), *self.recorded))
        return {name: k for k, name in enumerate(names)}

    def about(self, places: Iterable[str]) -> str | None:
        """Numbers of the layers that texts name, with spaces between; None if there is none."""
        found = (node_of(p, self.numbers) for p in places if p)
        return " ".join(dict.fromkeys(str(self.numbers[n]) for n in found if n)) or None

    @cached_property
    def cores(self) -> Mapping[str, int]:
        """Cores of each layer of neurons, as far as they were estimated."""
        mapped = self.report.resources
        return {row.layer: len(row.cores) for row in mapped.layers} if mapped else {}

    @cached_property
    def counts(self) -> Mapping[str, LayerCount]:
        """The operations of each layer that was counted."""
        return {c.name: c for c in self.report.census.layers}

    @cached_property
    def activity(self) -> Mapping[str, Activity]:
        """What each layer of neurons did."""
        return {a.name: a for a in self.report.activity}

    @cached_property
    def weight_bits(self) -> int | None:
        """Bits of a weight on the chip; None where nothing was quantized."""
        bits = self.report.options.get("weight_bits")
        quantized = any(line.name == "quantize" for line in self.report.ledger)
        return bits if quantized and isinstance(bits, int) else None

    @cached_property
    def thresholds(self) -> Mapping[str, NDArray[np.float64]]:
        """Of every neuron, of the layers in which they differ and are listed; NaN where none is."""
        found = {}
        for e in self.edges:
            if isinstance(e, NodeRow) and e.threshold_of:
                known = [math.nan if x is None else x for x in e.threshold_of]
                found[e.name] = np.broadcast_to(np.reshape(known, e.threshold_shape), e.shape)
        return found

    def rate(self, name: str) -> float | None:
        """Spikes per neuron and step; None for what does not fire, or was not run."""
        counted = self.counts.get(name)
        if counted and counted.firing_rate is not None:
            return counted.firing_rate
        steps = self.activity[name].rate_by_step if name in self.activity else ()
        return sum(steps) / len(steps) if steps else None

    def bits(self, edge: EdgeRow) -> list[str]:
        """Bits of its weights, of the current that leaves it, and of its membrane."""
        said = []
        counted = self.counts.get(edge.name)
        host = isinstance(edge, NodeRow) and edge.role == "host"  # its weights are real numbers
        if self.weight_bits and counted and counted.arrays is not None and not host:
            said.append(f"{self.weight_bits}-bit weights")
        if ends := _INTEGERS.fullmatch(edge.domain):
            said.append(f"{signed_bits(*map(float, ends.groups()))}-bit current")
        if membrane := self.membrane_bits(edge.name):
            said.append(f"{membrane}-bit membrane")
        return said

    def membrane_bits(self, name: str) -> int | None:
        """Bits that hold the membranes of a layer for any input; None where nothing is proved."""
        if name not in self.activity or not self.weight_bits:
            return None
        low, high = self.activity[name].membrane_bound
        return None if low is None or high is None else signed_bits(low, high)

    def brief(self, edge: EdgeRow, copies: Sequence[EdgeRow] = ()) -> str:
        """Domain, rate, bits and cores, for a line in a box; of copies mean and sum."""
        names = [e.name for e in (copies or (edge,))]
        rates = [r for n in names if (r := self.rate(n)) is not None]
        cores = sum(self.cores.get(n, 0) for n in names)
        parts = [edge.domain if len(edge.domain) < 20 else edge.domain.partition("[")[0]]
        if rates and isinstance(edge, NodeRow):
            parts.append(f"{100 * sum(rates) / len(rates):.1f} %")
        parts += [b.replace("-bit ", " b ") for b in self.bits(edge)[:1]]
        if cores:
            parts.append(f"{cores} core{'s' * (cores != 1)}")
        return " · ".join(parts)

    def words(self, edge: EdgeRow) -> str:
        """The same in words, for a screen reader and the line at the bottom."""
        rate, cores = self.rate(edge.name), self.cores.get(edge.name)
        counted = self.counts.get(edge.name)
        parts = [edge.domain]
        if rate is not None and isinstance(edge, NodeRow):
            parts.append(f"fires {100 * rate:.2f} %")
        parts += self.bits(edge)
        if cores is not None:
            parts.append(f"{cores} core{'s' * (cores != 1)}")
        if counted and counted.counts.ac:
            parts.append(f"{counted.counts.ac:,.0f} AC")
        if counted and counted.counts.mac:
            parts.append(f"{counted.counts.mac:,.0f} MAC")
        return ", ".join(parts)


def signed_bits(low: float, high: float) -> int:
    """The fewest bits of a signed integer that hold a range of whole numbers.

    >>> signed_bits(-128, 127), signed_bits(-129, 0), signed_bits(0, 128)
    (8, 9, 9)
    """
    return 1 + max(math.ceil(-low - 1).bit_length() if low < 0 else 0, _above(high))


def _above(high: float) -> int:
    return math.floor(high).bit_length() if high > 0 else 0
