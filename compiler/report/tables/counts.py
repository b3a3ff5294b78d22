"""Tables of counts: operations by layer, as other tools count, and projected energy."""

from __future__ import annotations

from purespike.compiler.report.page.charts import bar, decades, step_bars
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.census import AapCost, Conventions, LayerCount
from purespike.compiler.report.sentences import amount
from purespike.compiler.report.tables.table import Cell, Column, Drawing, Table, headings, numbers
from purespike.compiler.wording import figure

_KINDS = ("ac", "mac", "mul", "add", "cmp")


def operations_table(report: Report) -> Table:
    """AC, MAC, MUL, ADD and CMP by layer, and their sum on the chip."""
    layers = [
        c
        for c in report.census.layers
        if any(getattr(c.counts, k) for k in c.counts.__struct_fields__)
    ]
    largest = max((max(c.counts.ac, c.counts.mac) for c in layers), default=0.0)
    steps = max((x for c in layers for x in c.ac_by_step), default=0.0)
    multiplies = any(c.counts.mac or c.counts.mul for c in layers)

    def row(c: LayerCount) -> tuple[Cell, ...]:
        n = c.counts
        ac, mac, mul, add, cmp = (
            figure(x) if x else "" for x in (n.ac, n.mac, n.mul, n.add, n.cmp)
        )
        return (
            c.name,
            c.runs_on,
            "" if c.arrays is None else f"{c.arrays:,}",
            ac,
            Drawing(lambda: bar(n.ac, largest)) if n.ac else None,
            " to ".join(map(figure, c.ac_by_sample)) if c.ac_by_sample else "",
            Drawing(lambda: step_bars(c.ac_by_step, steps, figure)) if c.ac_by_step else None,
            mac,
            Drawing(lambda: bar(n.mac, largest, "mac")) if multiplies else None,
            mul,
            add,
            cmp,
            "" if c.firing_rate is None else f"{100 * c.firing_rate:.1f} %",
        )

    chip = report.census.chip
    totals = [amount(getattr(chip, k) if chip else None) for k in _KINDS]
    ac, mac, mul, add, cmp = totals
    total: tuple[Cell, ...] = ("chip", "", "", ac, None, "", None, mac, None, mul, add, cmp, "")
    columns = (
        Column("layer", layer=True),
        Column("runs on", usual="chip"),
        Column("arrays", numeric=True, usual="1"),
        *numbers("AC"),
        *headings(""),
        Column("by sample", numeric=True, detail=True),
        *headings("step 0, 1, ..."),
        *numbers("MAC"),
        *headings(""),
        *numbers("MUL", "ADD", "CMP", "fires"),
    )
    rows = (*map(row, layers), total) if layers else ()
    return Table("Operations per sample, all time steps", columns, rows, sums=1)


def conventions_table(found: Conventions) -> Table:
    """The same run as other tools count it."""
    rows = tuple(
        (tool, figure(n.ac), figure(n.mac), found.why.get(tool, _OURS))
        for tool, n in found.total.columns().items()
    )
    columns = (Column("counted by"), *numbers("AC", "MAC"), Column("why it differs", wordy=True))
    return Table(f"Unit: {found.unit}", columns, rows)


_OURS = "the proven domain of every input, exact at borders"


def conventions_by_layer(found: Conventions) -> Table:
    """The same, layer by layer."""
    tools = found.total.columns()
    rows = tuple(
        (row.name, *(figure(x) for n in row.columns().values() for x in (n.ac, n.mac)))
        for row in found.layers
    )
    names = [f"{tool}, {kind}" for tool in tools for kind in ("AC", "MAC")]
    return Table(f"Unit: {found.unit}", (Column("layer", layer=True), *numbers(*names)), rows)


def aap_table(costs: AapCost) -> Table:
    """As the full-spike AAP paper counts."""
    low, high = costs.ec
    rate = costs.firing_rate
    rows = (
        ("DC, Eq. 7", f"{figure(costs.dc, 1)} nJ", "the operations that were counted"),
        (
            "EC, Eq. 15",
            f"{figure(low, 1)} to {figure(high, 1)} nJ",
            "no spikes reach a synapse"
            if rate is None
            else f"any firing rate from 0 to 1; here it is {100 * rate:.2f} %",
        ),
        (
            "SNN to ANN, Eq. 6",
            "no figure" if costs.snn_to_ann is None else f"{100 * costs.snn_to_ann:.2f} %",
            "energy relative to the same network with real-valued activations",
        ),
    )
    columns = (*headings("cost"), *numbers(""), Column("of", wordy=True))
    return Table(f"Per sample; {costs.source}", columns, rows)


def known_energy(report: Report) -> list[float]:
    """Every projection that there is, in nJ."""
    return [x for e in report.energy for x in e.range if x is not None]


def energy_table(report: Report) -> Table:
    """The projections side by side."""
    known = known_energy(report)
    ends = (min(x for x in known if x > 0), max(known)) if known and max(known) > 0 else None
    rows: list[tuple[Cell, ...]] = []
    for e in report.energy if known else ():
        both = [x for x in e.range if x is not None]
        known_range = len(both) == 2
        rows.append(
            (
                e.table,
                "no figure" if e.per_sample is None else f"{figure(e.per_sample, 1)} nJ",
                " to ".join(figure(x, 1) for x in both) if known_range else "",
                Drawing(lambda b=both: decades(b, ends))  # type: ignore[misc]
                if ends and known_range and all(both)  # neither unknown nor zero
                else None,
                e.boundary,
                e.source,
            )
        )
    columns = (
        Column("table"),
        *numbers("per sample", "quietest to busiest sample"),
        Column(""),
        Column("leaves out or counts", wordy=True),
        Column("source", wordy=True, detail=True),
    )
    return Table(
        "Energy of one sample on the chip (a projection, not a result)", columns, tuple(rows)
    )
