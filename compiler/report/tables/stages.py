"""Tables of what every stage kept, from torch to Lava."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purespike.compiler.report.lookup import layers_in_order
from purespike.compiler.report.page.charts import cells, interval
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.stages import PassLine
from purespike.compiler.report.sentences import percent
from purespike.compiler.report.tables.table import Cell, Column, Drawing, Table, headings, numbers

UNROLL = "unroll_levels"  # the pass whose notes say what it costs


def accuracy_table(report: Report) -> Table:
    """Accuracy, stage by stage; with what chance has to do with it."""
    low = max(0.0, int(20 * min((a.interval[0] for a in report.accuracy), default=0.0)) / 20)
    rows = tuple(
        (
            a.stage,
            f"{a.correct}/{a.n}",
            f"{100 * a.rate:.2f} %",
            f"{100 * a.interval[0]:.2f} to {100 * a.interval[1]:.2f} %",
            Drawing(lambda a=a: interval(a.rate, a.interval, low)),  # type: ignore[misc]
            "" if a.identical is None else f"{a.identical}/{a.n}",
        )
        for a in report.accuracy
    )
    scale = Column(f"{100 * low:.0f} to 100 %")
    columns = (
        Column("stage"),
        *numbers("correct", "accuracy", "95 % interval"),
        scale,
        *numbers("same decisions as before"),
    )
    notes = tuple(f"{a.stage}: {a.note}" for a in report.accuracy if a.note)
    return Table("Accuracy, stage by stage", columns, rows, notes)


def ledger_table(report: Report) -> Table:
    """Equal spikes, pass by pass, then executor by executor; where each first differs."""
    order = layers_in_order(report)
    rows: list[tuple[Cell, ...]] = []
    for line in report.ledger:
        macs = (f"{c.mac:,.0f}" for c in (line.counts_before, line.counts_after))
        rows.append(
            (
                line.name,
                line.promise,
                f"{line.nodes_before} → {line.nodes_after}",
                " → ".join(macs),
                "not compared" if line.deviation is None else f"{line.deviation:.3g}",
                "not compared" if line.agreement is None else percent(line.agreement),
                _drawn(line.layers, order, line.divergence),
                _least(line.layers),
            )
        )
    for e in report.executors:
        shares = e.shares()
        equal = sum(share == 1 for share in shares.values())
        compared = f"{equal} of {len(shares)} layers"
        drawn = _drawn(shares, order, e.divergence)
        rows.append((e.name, "same", "", "", "", compared, drawn, _least(shares)))
    columns = (
        *headings("stage"),
        Column("promise", detail=True),
        *numbers("nodes", "MAC per step", "outputs moved", "equal"),
        *headings("layer by layer", "least equal layer"),
    )
    differ = {s.name: s.divergence for s in report.ledger}
    differ |= {e.name: e.divergence for e in report.executors}
    notes = tuple(f"First divergence, {name}: {words}" for name, words in differ.items() if words)
    notes += tuple(
        _unrolled(line) + _cores(report)
        for line in report.ledger
        if line.name == UNROLL and line.notes
    )
    title = "Equal spikes, pass by pass, then executor by executor"
    return Table(title, columns, tuple(rows), notes)


def _unrolled(line: PassLine) -> str:
    """What neurons of counts cost as neurons of spikes, every spike present."""
    before, after = line.counts_before, line.counts_after
    return (
        f"{line.name}: {'; '.join(line.notes)}; of the whole network, per step, if every "
        f"neuron fires: {before.mac:,.0f} MAC and {before.ac:,.0f} AC while synapses read counts, "
        f"{after.mac:,.0f} MAC and {after.ac:,.0f} AC as spikes"
    )


def _cores(report: Report) -> str:
    """What the copies take of the chip, beside one layer of neurons in the place of each count."""
    layers = () if report.resources is None else report.resources.layers
    copies: dict[str, list[int]] = {}
    for row in layers:
        stem, level, _ = row.layer.rpartition(".level")
        if level:
            copies.setdefault(stem, []).append(len(row.cores))
    if not copies:
        return ""
    one, every = sum(c[0] for c in copies.values()), sum(map(sum, copies.values()))
    return f"; cores, estimated: {one} if each had one level, {every} with all"


def layers_table(report: Report) -> Table:
    """Equal values by layer, of the stages in which something differs."""
    stages = [
        *((line.name, line.layers) for line in report.ledger),
        *((e.name, e.shares()) for e in report.executors),
    ]
    shown = [(name, shares) for name, shares in stages if any(s < 1 for s in shares.values())]
    rows = tuple(
        (layer, *(percent(shares[layer]) if layer in shares else "" for _, shares in shown))
        for layer in layers_in_order(report)
        if any(layer in shares for _, shares in shown)
    )
    columns = (Column("layer", layer=True), *numbers(*(name for name, _ in shown)))
    return Table("Equal values by layer, where a stage changed any", columns, rows)


def _drawn(
    shares: Mapping[str, float], order: Sequence[str], divergence: str | None
) -> Drawing | None:
    if not shares:
        return None
    # The longest name wins: "block1" stands before "block1.gate" in a text.
    starts = [n for n in order if divergence and divergence.startswith(f"{n} ")]
    return Drawing(lambda: cells(shares, order, max(starts, key=len, default="")))


def _least(shares: Mapping[str, float]) -> str:
    name = min(shares, key=lambda layer: shares[layer], default="")
    return f"{name} {percent(shares[name])}" if name and shares[name] < 1 else ""
