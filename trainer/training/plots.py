"""Figures of one or several trainings, from what they logged: ``purespike plot``.

Needs matplotlib (the extra ``report``), and neither torch nor the trained weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from purespike.compiler.files.writing import write_file
from purespike.trainer.training.logs import SILENT, Run
from purespike.trainer.training.places import SOFTWARE, Form, figure_names, is_ours

__all__ = ["by_depth", "curves", "draw", "save"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKS = "os^Dv*x"


def draw(runs: Sequence[Run], folder: Path, *, epoch: int = 1, form: Form = "png") -> list[Path]:
    """Write ``curves``, ``firing_rates`` and ``gradients`` as PNG or SVG; older ones are replaced.

    Args:
        runs: trainings to compare.
        folder: where to write; made if missing.
        epoch: whose gradients and firing rates are shown by depth, 1 the first: there vanishing,
            exploding and silent layers show.
        form: ``png`` or ``svg``.

    Raises:
        LogError: if a run has not trained that epoch.
        OutputError: if one cannot be written.
    """
    figures = (curves(runs), _firing_rates(runs), by_depth(runs, epoch))
    names = figure_names(form)
    return [save(figure, folder / name) for figure, name in zip(figures, names, strict=True)]


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG by its name, whole or not at all; the same gives the same bytes.

    Raises:
        OutputError: if it cannot be written, or a file of someone else's is there.
    """
    form, image = path.suffix[1:], BytesIO()
    metadata = {"Creator": SOFTWARE, "Date": None} if form == "svg" else {"Software": SOFTWARE}
    # Texts stay texts, and ids do not change from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": SOFTWARE}):
        figure.savefig(image, format=form, dpi=150, metadata=metadata)
    write_file(path, image.getvalue(), ours=is_ours)
    return path


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def curves(runs: Sequence[Run]) -> Figure:
    """Loss, accuracy, mean firing rate and the first layer's gradient over the epochs."""
    figure, (loss, accuracy, rate, gradient) = _figure(9, 6.5, 2, 2)
    for number, run in enumerate(runs):
        colour = _COLOURS[number % len(_COLOURS)]
        _line(loss, run.values.get("loss", {}), colour, run.name)
        _line(accuracy, run.values.get("accuracy", {}), colour, f"{run.name}, training", "--")
        _line(accuracy, run.values.get("val_accuracy", {}), colour, f"{run.name}, validation")
        _line(rate, _mean_rate(run), colour, run.name)
        _line(gradient, run.values.get("first_layer_gradient_norm", {}), colour, run.name)
    for axis, title, label in (
        (loss, "Training objective", "loss"),
        (accuracy, "Accuracy of the deployed head", "fraction right"),
        (rate, "Mean firing rate of the neuron layers", "spikes a neuron and step"),
        (gradient, "Gradient of the first layer", "L2 norm, mean over the epoch"),
    ):
        axis.set(title=title, xlabel="epoch", ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy.set_ylim(0, 1)
    gradient.set_yscale("log")
    accuracy.legend(fontsize="small")
    if len(runs) > 1:
        loss.legend(fontsize="small")
    return figure


def _line(axis: Axes, values: dict[int, float], colour: str, label: str, style: str = "-") -> None:
    if values:
        x = sorted(values)
        mark = "o" if len(x) == 1 else None
        axis.plot(x, [values[e] for e in x], style, color=colour, label=label, marker=mark)


def _mean_rate(run: Run) -> dict[int, float]:
    rates = [run.values[f"rate/{name}"] for name in run.neurons if f"rate/{name}" in run.values]
    epochs = set.intersection(*map(set, rates)) if rates else set()
    return {epoch: sum(rate[epoch] for rate in rates) / len(rates) for epoch in epochs}


def _firing_rates(runs: Sequence[Run]) -> Figure:
    """Layers from bottom to top, epochs from left to right, one panel a run."""
    deepest = max(len(run.neurons) for run in runs)
    figure, axes = _figure(1 + 4.2 * len(runs), 1.5 + 0.22 * deepest, 1, len(runs))
    top = max(
        (value for run in runs for n in run.neurons for value in _rates(run, n).values()),
        default=1.0,
    )
    for axis, run in zip(axes, runs, strict=True):
        epochs = sorted(run.values.get("loss", {}))
        table = [[_rates(run, name).get(e, 0.0) for e in epochs] for name in run.neurons]
        axis.grid(visible=False)
        image = axis.imshow(
            table,
            aspect="auto",
            origin="lower",
            vmin=0,
            vmax=top,
            cmap="viridis",
            interpolation="nearest",  # a layer and epoch is one value
        )
        axis.set(title=f"Firing rates, {run.name}", xlabel="epoch")
        axis.set_yticks(range(len(run.neurons)), run.neurons, fontsize="x-small")
        axis.set_xticks(*_ticks(epochs))
        for row, rates in enumerate(table):
            if rates and rates[-1] < SILENT:
                edge = len(epochs) - 0.6
                axis.text(edge, row, "dead", color="white", ha="right", va="center")
    figure.colorbar(image, ax=axes, label="spikes a neuron and step")
    return figure


def _rates(run: Run, name: str) -> dict[int, float]:
    return run.values.get(f"rate/{name}", {})


def _ticks(epochs: Sequence[int]) -> tuple[list[int], list[str]]:
    """At most about ten, at whole epochs."""
    every = max(1, len(epochs) // 10)
    places = list(range(0, len(epochs), every))
    return places, [str(epochs[place]) for place in places]


def by_depth(runs: Sequence[Run], epoch: int) -> Figure:
    """Gradient of every layer's weights, and firing rate of every neuron layer, in one epoch."""
    figure, (gradient, rate) = _figure(11, 4.5, 1, 2)
    for number, run in enumerate(runs):
        _by_depth(gradient, run.gradients(epoch), run.name, number)
        _by_depth(rate, run.rates(epoch), run.name, number)
    gradient.set(
        title=f"Gradient by depth, epoch {epoch}",
        xlabel="layer with weights, counted from the input",
        ylabel="L2 norm of its weights' gradient",
    )
    rate.set(
        title=f"Firing rate by depth, epoch {epoch}",
        xlabel="neuron layer, counted from the input",
        ylabel="spikes a neuron and step",
    )
    for axis in (gradient, rate):
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    gradient.legend(fontsize="small")
    return figure


def _by_depth(axis: Axes, values: Sequence[float], name: str, number: int) -> None:
    colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
    depth = range(1, len(values) + 1)
    shown = [value if value > 0 else float("nan") for value in values]
    axis.plot(depth, shown, color=colour, marker=mark, markersize=4, label=name)
    none = [place for place, value in zip(depth, values, strict=True) if value == 0]
    if none:  # a logarithm has no place for them
        axis.plot(
            none,
            [0.02 + 0.02 * number] * len(none),
            transform=axis.get_xaxis_transform(),
            color=colour,
            marker=mark,
            markersize=4,
            fillstyle="none",
            linestyle="none",
            label=f"{name}: exactly 0",
        )
