"""Energy as a labelled projection: operation counts times a published table. Never a result."""

from __future__ import annotations

from dataclasses import dataclass

from purespike.compiler.proofs.counts import Counts


@dataclass(frozen=True)
class EnergyTable:
    """Energy per operation in pJ, where it comes from and what it leaves out."""

    name: str
    ac: float
    mac: float
    update: float  # one neuron update
    source: str
    boundary: str


TABLES = (
    EnergyTable(
        "45 nm, 32-bit float",
        0.9,
        4.6,
        0.0,
        "Horowitz, ISSCC 2014; used by the full-spike AAP paper (Eq. 7)",
        "AC and MAC only: no other arithmetic, no memory, no routing, no neuron updates",
    ),
    EnergyTable(
        "45 nm, 8-bit integer",
        0.03,
        0.23,
        0.0,
        "Horowitz, ISSCC 2014",
        "AC and MAC only: no other arithmetic, no memory, no routing, no neuron updates",
    ),
    EnergyTable(
        "Loihi (14 nm)",
        23.6 + 3.5,
        float("nan"),
        81.0,
        "Davies et al., IEEE Micro 2018, as tabulated by keras-spiking",
        "synaptic operations and neuron updates; no static power, no input and output",
    ),
)


def project(table: EnergyTable, counts: Counts, updates: float | None) -> float | None:
    """Energy of one sample in nJ, or None where the table has no figure for what runs.

    Args:
        table: Energy per operation.
        counts: Operations of one sample.
        updates: Neuron updates of one sample; None if no chip runs the network, so that what is
            known of a chip says nothing about it.
    """
    if counts.mac and table.mac != table.mac:
        return None
    if table.update and updates is None:
        return None
    mac = 0.0 if not counts.mac else table.mac * counts.mac
    return (table.ac * counts.ac + mac + table.update * (updates or 0.0)) / 1000
