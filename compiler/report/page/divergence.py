"""The first difference between two runs, drawn as two traces of the neuron that it is in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from purespike.compiler.report.page.elements import Child, Html, el, number
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.stages import Traces

_WIDE, _HIGH, _LANE = 560.0, 130.0, 14.0  # px
_SHOWN = 12  # stages that are drawn


def divergences(report: Report, layers: Layers) -> Child:
    """A drawing for each pass and executor that differs from what it is compared with."""
    passes = [(line.name, "before", "after", line.traces) for line in report.ledger]
    runs = [(e.name, "expected", "found", e.traces) for e in report.executors]
    there = [(name, a, b, t) for name, a, b, t in (*passes, *runs) if t]
    drawn = [two_traces(t, name, (a, b), layers) for name, a, b, t in there[:_SHOWN]]
    if not drawn:
        return None
    more = len(there) - len(drawn)
    words = f"and {more} more stages that differ: see report.json" if more else None
    return [el("h3", "First differences, as traces"), *drawn, el("p", words) if words else None]


def two_traces(t: Traces, stage: str, names: tuple[str, str], layers: Layers) -> Html:
    """Membranes of one neuron in both runs, their spikes below, and the step that differs."""
    steps = max(len(t.spikes[0]), len(t.membranes[0]), 1)
    x = [16 + (_WIDE - 32) * (k + 0.5) / steps for k in range(steps)]
    tall = _HIGH + 2 * _LANE + 8
    values = [v for row in t.membranes for v in row if v is not None and math.isfinite(v)]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)
    scale = (_HIGH - 24) / ((high - low) or 1.0)
    parts: list[Child] = [
        el(
            "rect",
            x=x[t.step - t.start] - 6,
            y=0,
            width=12,
            height=tall,
            class_="differs",
        )
    ]
    words = []
    for k, (kind, row, fired) in enumerate(
        zip(("first", "second"), t.membranes, t.spikes, strict=True)
    ):
        points = [
            (x[n], _HIGH - 12 - scale * (v - low)) for n, v in enumerate(row) if v is not None
        ]
        if points:
            line = "M" + "L".join(f"{number(a)} {number(b)}" for a, b in points)
            parts.append(el("path", d=line, class_=f"trace {kind}"))
            parts += [el("circle", cx=a, cy=b, r=2.5, class_=f"dot {kind}") for a, b in points]
        y = _HIGH + 4 + k * _LANE
        ticks = "".join(f"M{number(x[n])} {number(y)}v10" for n, s in enumerate(fired) if s)
        parts.append(el("path", d=ticks, class_=f"tick {kind}") if ticks else None)
        words.append(f"{names[k]}: {_said(row, fired, t.start)}")
    at = ", ".join(map(str, t.index))
    there = [row[t.step - t.start] for row in t.membranes if len(row) > t.step - t.start]
    said = ", ".join(
        f"{name} {v:.6g}" for name, v in zip(names, there, strict=False) if v is not None
    )
    span = f"Steps {t.start} to {t.start + steps - 1}" if steps > 1 else f"Step {t.start} alone"
    caption = (
        f"{stage}: {t.layer}, sample {t.sample}, neuron ({at}), first different at step {t.step}"
        f"{f': {said}' if said else ''}. {span}; membrane {t.membrane}, "
        f"from {low:.6g} to {high:.6g}; below, its spikes."
    )
    legend = [
        el("li", el("svg", el("path", d="M0 6H36", class_=f"trace {kind}"), width=36, height=12,
                    aria_hidden="true"), name)
        for kind, name in zip(("first", "second"), names, strict=True)
    ]  # fmt: skip
    drawing = el(
        "svg",
        el("title", "; ".join(words)),
        parts,
        viewBox=f"0 0 {number(_WIDE)} {number(tall)}",
        role="img",
        class_="two",
    )
    return el(
        "figure",
        el("figcaption", caption),
        el("ul", legend, class_="legend"),
        drawing,
        data_l=layers.about([t.layer]),
    )


def _said(row: Sequence[float | None], fired: Sequence[float], start: int) -> str:
    shown = ", ".join("unknown" if v is None else f"{v:.6g}" for v in row)
    at = ", ".join(str(n) for n, s in enumerate(fired, start) if s)
    return f"membrane {shown or 'not recorded'}; spikes at steps {at or 'none'}"
