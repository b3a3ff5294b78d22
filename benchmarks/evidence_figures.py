"""The figures of docs/depth.md, most of them as ``purespike plot`` draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from pathlib import Path
from statistics import mean

from evidence_cells import METHODS, layers
from evidence_rows import DEPTHS, GATES, Evidence, Row, half_width
from matplotlib.figure import Figure

from purespike.compiler.statistics import wilson_interval
from purespike.trainer.training.logs import Run
from purespike.trainer.training.plots import by_depth, curves, save

__all__ = ["as_run", "draw"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


def as_run(rows: Sequence[Row], name: str) -> Run:
    """A cell as ``purespike plot`` reads a training: the mean over its seeds.

    Of rates and gradients the file has two epochs.
    """
    runs = [_values(row) for row in rows]
    values = {
        metric: {epoch: mean(run[metric][epoch] for run in runs) for epoch in epochs}
        for metric, epochs in runs[0].items()
    }
    blocks = range(len(layers(int(rows[0]["network"])).widths))
    weights = ("stem.0", *(f"blocks.{i}.conv{k}" for i in blocks for k in (1, 2)), "fc")
    return Run(name, values, weights, tuple(f"blocks.{i}" for i in blocks))


def _values(row: Row) -> dict[str, dict[int, float]]:
    """What one training logged, by metric and epoch."""
    values = {name: dict(enumerate(curve)) for name, curve in row["curve"].items()}
    last = row["epochs"] - 1
    ends = {"gradient": ("gradients", "gradients_last"), "rate": ("rates_first", "rates")}
    for metric, (first, final) in ends.items():
        values |= {f"{metric}/{n}": {0: v, last: row[final][n]} for n, v in row[first].items()}
    values["first_layer_gradient_norm"] = values["gradient/stem.0"]
    return values


def accuracy(evidence: Evidence) -> Figure:
    """Accuracy by depth, a panel a gate and a line a method, with the intervals of the tables."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for panel, gate in zip(figure.subplots(1, len(GATES), sharey=True), GATES, strict=True):
        for number, method in enumerate(METHODS):
            middles, below, above = [], [], []
            for depth in DEPTHS:
                middle, low, high = _interval(evidence.cell((depth, gate, method, "")))
                middles.append(middle)
                below.append(middle - low)
                above.append(high - middle)
            # Side by side, where they would hide each other.
            places = [place + 0.07 * (number - 2) for place in range(len(DEPTHS))]
            panel.errorbar(
                *(places, middles, (below, above)),
                fmt="os^Dv"[number] + "-",
                color=COLOURS[number],
                label="plain" if method == "vanilla" else method,
                markersize=4,
                linewidth=1,
                capsize=2,
            )
        panel.axhline(10.0, color="black", linewidth=0.8, linestyle=":")  # chance
        panel.set(title=gate.upper(), xlabel="layers", ylim=(0, 100))
        panel.set_xticks(range(len(DEPTHS)), DEPTHS)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("deployed network, % of 500 images")
    figure.axes[0].legend(fontsize="x-small", loc="lower left")
    return figure


def _interval(rows: list[Row]) -> tuple[float, float, float]:
    """Accuracy in %, and the ends of its interval."""
    if not rows:
        return nan, nan, nan
    values = [100 * r["correct"] / r["n"] for r in rows]
    if len(rows) == 1:
        low, high = (100 * x for x in wilson_interval(rows[0]["correct"], rows[0]["n"]))
        return values[0], low, high
    half, middle = half_width(values), mean(values)
    return middle, max(0.0, middle - half), min(100.0, middle + half)


def draw(evidence: Evidence, folder: Path) -> Iterator[Path]:
    """Write them all, as SVG."""
    yield save(accuracy(evidence), folder / "depth-accuracy.svg")
    both = (("vanilla", "plain"), ("AAP", "AAP"))
    cells = {
        "depth-methods.svg": [(m, ("34", "or", m, "")) for m in METHODS],
        "depth-gates.svg": [(f"{g.upper()}, plain", ("34", g, "vanilla", "")) for g in GATES],
        "depth-layers.svg": [
            (f"{depth}, {text}", (depth, "or", m, "")) for depth in DEPTHS for m, text in both
        ],
    }
    for name, chosen in cells.items():
        runs = [as_run(rows, text) for text, key in chosen if (rows := evidence.cell(key))]
        yield save(by_depth(runs, 0), folder / name)
        if name == "depth-methods.svg":
            yield save(curves(runs), folder / "depth-curves.svg")
