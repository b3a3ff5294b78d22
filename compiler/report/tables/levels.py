"""What level activations cost: neurons, cores and additions, before and after they are unrolled."""

from __future__ import annotations

import math
import re

from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.network import NodeRow
from purespike.compiler.report.tables.stages import UNROLL
from purespike.compiler.report.tables.table import Column, Table, layers, numbers

_COPY = re.compile(r"\.(level|late|reset)(\d+)(?=$|\.count$)")
_KIND = {"level": "", "late": ".late", "reset": ".reset"}


def copies(report: Report) -> dict[str, str]:
    """Every copy that ``unroll_levels`` made, with the name that it shares with the others.

    What the pass made stands in the ledger, so a module that happens to be called ``x.level1`` is
    none; reports that do not say what a pass made have no stacks.
    """
    made = {
        name
        for line in report.ledger
        if line.name == UNROLL
        for name, change in (line.changes or {}).items()
        if change == "made"
    }
    return {
        name: name[: m.start()] + _KIND[m[1]] + name[m.end() :]
        for name in sorted(made)
        if (m := _COPY.search(name))
    }


def levels_table(report: Report) -> Table:
    """Each level activation: its levels, its neurons before and after, cores, what reads it."""
    shared = copies(report)
    nodes = report.network.nodes if report.network else ()
    line = next((x for x in report.ledger if x.name == UNROLL), None)
    stacks: dict[tuple[str, str], list[NodeRow]] = {}
    for n in nodes:
        if n.name in shared and n.fires and any(_names(note, n.origin) for note in line.notes):  # type: ignore[union-attr]
            stacks.setdefault((shared[n.name], n.origin), []).append(n)
    cores = {x.layer: len(x.cores) for x in report.resources.layers} if report.resources else {}
    counts = {c.name: c.counts.ac for c in report.census.layers}
    rows = []
    for (name, _), own in stacks.items():
        size = math.prod(own[0].shape)
        readers = _readers({n.name for n in own}, nodes, set(shared) - {n.name for n in own})
        known = [counts[r] for r in readers if r in counts]
        rows.append(
            (
                own[0].name,
                name,
                str(len(own)),
                f"{size:,} → {len(own) * size:,}",
                f"{sum(cores.get(n.name, 0) for n in own):,}" if cores else "not estimated",
                f"{sum(known):,.0f}" if known else "not counted",
            )
        )
    columns = (
        *layers("first copy"),
        Column("activation"),
        *numbers("levels", "neurons, before → after", "cores", "AC of its synapses per sample"),
    )
    notes: tuple[str, ...] = ()
    if line and rows:
        before, after = line.counts_before, line.counts_after
        notes = (
            "The whole network, per step, if every neuron fires. Before, synapses read counts and "
            f"multiply: {before.mac:,.0f} MAC and {before.ac:,.0f} AC. As spikes: "
            f"{after.mac:,.0f} MAC and {after.ac:,.0f} AC.",
        )
    return Table("Level activations: what each costs as spikes", columns, tuple(rows), notes)


def _names(note: str, origin: str) -> bool:
    return note.startswith(f"unrolled {origin}: ")


def _readers(sources: set[str], nodes: tuple[NodeRow, ...], copied: set[str]) -> list[str]:
    """The synapses that read these spikes, also through flattens, delays and copied pools."""
    found, passed = [], set(sources)
    for n in nodes:
        if passed & set(n.reads):
            pool = n.name in copied and (n.fires or n.name.endswith(".count"))
            if n.operation in _HANDS_ON or pool:
                passed.add(n.name)
            if n.operation not in _HANDS_ON and not n.fires:
                found.append(n.name)
    return found


_HANDS_ON = ("Flatten", "Delay")
