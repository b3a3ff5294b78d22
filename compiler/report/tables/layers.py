"""Tables of what layers did: firing, membranes, timing, cores."""

from __future__ import annotations

from purespike.compiler.report.page.charts import boxes, slack, span, step_bars
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.cores import CoreLayer, CoreMap
from purespike.compiler.report.tables.table import (
    Cell,
    Column,
    Drawing,
    Table,
    headings,
    layers,
    numbers,
)


def firing_table(report: Report) -> Table:
    """Firing rate by layer and step."""
    active = [a for a in report.activity if a.rate_by_step]
    largest = max((max(a.rate_by_step) for a in active), default=0.0)
    rows = tuple(
        (
            a.name,
            f"{100 * sum(a.rate_by_step) / len(a.rate_by_step):.2f} %",
            Drawing(
                lambda a=a: step_bars(a.rate_by_step, largest, lambda r: f"{100 * r:.1f} %")  # type: ignore[misc]
            ),
        )
        for a in active
    )
    title = f"Spikes per neuron at each step; the tallest bar is {100 * largest:.1f} %"
    return Table(title, (*layers("layer"), *numbers("mean"), *headings("step 0, 1, ...")), rows)


def membranes_table(report: Report) -> Table:
    """The bound for any input against what was observed."""
    limit = report.membrane_limit
    rows = tuple(
        (
            a.name,
            _range(a.membrane_observed),
            _range(a.membrane_bound),
            Drawing(lambda a=a: span(a.membrane_bound, a.membrane_observed, limit)),  # type: ignore[misc]
        )
        for a in report.activity
    )
    columns = (*layers("layer"), *numbers("observed", "bound"), *headings(""))
    return Table("Membranes by layer", columns, rows)


def _range(ends: tuple[float | None, float | None]) -> str:
    def word(x: float) -> str:
        return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"

    if all(x is None for x in ends):
        return "not proved"
    low, high = (("-∞", "∞")[k] if x is None else word(x) for k, x in enumerate(ends))
    return f"{low} to {high}"


def timing_table(report: Report) -> Table:
    """How long each branch of a join is held back."""
    most = max([1, *(row.earliest + row.delay for row in report.timing)])
    rows = tuple(
        (
            row.neuron,
            row.source,
            str(row.earliest),
            str(row.delay),
            str(row.earliest + row.delay),
            Drawing(lambda row=row: slack(row.earliest, row.delay, most)),  # type: ignore[misc]
        )
        for row in report.timing
    )
    steps = numbers("arrives after", "delayed by", "used after")
    columns = (*layers("join", "branch from"), *steps, *headings(""))
    return Table("Timing of joins (steps)", columns, rows)


def cores_table(mapping: CoreMap) -> Table:
    """The core map: what the fullest core of each layer needs, beside each published limit."""
    rows: list[tuple[Cell, ...]] = []
    for layer in mapping.layers:
        used = [c.used for c in layer.cores]
        fullest = max((p for u in used for p in u.items()), key=lambda p: p[1], default=("", 0.0))
        rows.append(
            (
                layer.layer,
                f"{layer.neurons:,}",
                f"{len(used):,}",
                *(_most(mapping, layer, name) for name in _NEEDS),
                f"{fullest[1]:.1f} % {_NEEDS.get(fullest[0], '')}".rstrip(),
                Drawing(lambda used=used: boxes(used)),  # type: ignore[misc]
            )
        )
    columns = (
        *layers("layer"),
        *numbers("neurons", "cores", *(f"{name} per core" for name in _NEEDS.values()), "fullest"),
        Column("one box per core, filled by use", wordy=True),
    )
    title = f"Cores on {mapping.chip} ({mapping.label}): the most that a core of a layer needs"
    return Table(title, columns, tuple(rows))


_NEEDS = {
    "neurons": "neurons",
    "in_axons": "in-axons",
    "out_axons": "out-axons",
    "memory": "bytes",
    "thresholds": "thresholds",
}


def _most(mapping: CoreMap, layer: CoreLayer, resource: str) -> str:
    most = max((int(getattr(c, resource)) for c in layer.cores), default=0)
    limit = mapping.limits[resource].value
    return f"{most:,} ({100 * most / limit:.0f} %)" if limit else f"{most:,}"


def violations_table(mapping: CoreMap) -> Table:
    """Every limit that is broken, and what to do."""
    rows = tuple(
        (v.where, v.what, f"{v.measured:,}", f"{v.limit:,} {v.unit}", v.remedy)
        for v in mapping.violations
    )
    columns = (
        *layers("where"),
        *headings("what"),
        *numbers("needed", "limit"),
        Column("to do", wordy=True),
    )
    return Table("Does not fit", columns, rows)
