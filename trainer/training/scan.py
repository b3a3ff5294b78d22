"""Which surrogate carries gradients through a network: widths and heights tried on one batch.

The tool behind ``purespike scan``; Ledinauskas et al. 2020 choose the surrogate of a deep network
so. Nothing is trained.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from purespike.compiler.files.writing import write_file
from purespike.trainer.data.config import DataFile
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig
from purespike.trainer.networks.models import build, without_paths
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.nn.surrogate import SHAPES, Shaped
from purespike.trainer.training.batches import open_feed
from purespike.trainer.training.distributed import World
from purespike.trainer.training.gradients import SurrogateScan, scan_surrogates
from purespike.trainer.training.health import Finding, diagnose
from purespike.trainer.training.places import TABLE_HEADER, is_ours
from purespike.trainer.training.recipe import Recipe

__all__ = ["draw_scan", "first_batch", "outlook", "scan", "write_scan"]

RANDOM_RATE = 0.2  # spikes a pixel and step, where no data are read


def first_batch(recipe: Recipe, samples: int, *, random: bool = False) -> tuple[Tensor, Tensor]:
    """The batch that a scan measures: input (T, B, C, H, W) and labels (B,).

    Args:
        recipe: network and data.
        samples: B.
        random: spikes at a rate of 0.2 instead of the recipe's data, which need not be there.

    Raises:
        ConfigError: if the data do not fit the network or are too few.
        DataError: if they are missing or damaged.
    """
    model, config = _catalogue(recipe), recipe.train
    if not random:
        if isinstance(recipe.data, DataFile):
            raise ConfigError(
                "a scan does not read files of arrays",
                found=recipe.data.file,
                allowed="a data set by its name",
                where="data.file",
                remedy="scan on random spikes instead",
            )
        config = replace(
            config, batch_size=samples, workers=0, validation=0, patience=0, deploy="last"
        )
        batch: tuple[Tensor, Tensor] = next(
            iter(open_feed(model, config, recipe.data, World()).training)
        )
        return batch
    generator = torch.Generator().manual_seed(config.seed)
    shape = (model.steps, samples, model.in_channels, *model.size)
    spikes = (torch.rand(shape, generator=generator) < RANDOM_RATE).float()
    return spikes, torch.randint(model.classes, (samples,), generator=generator)


def _catalogue(recipe: Recipe) -> ModelConfig | NetworkConfig:
    if isinstance(recipe.model, ModuleConfig):
        raise ConfigError(
            "a scan tries surrogates on networks that purespike builds",
            found=recipe.model.module,
            allowed="a network of the catalogue, or the demo's",
            where="model.module",
            remedy="call purespike.trainer.training.gradients.scan_surrogates with your module",
        )
    return recipe.model


def scan(
    recipe: Recipe,
    batch: tuple[Tensor, Tensor],
    shape: str,
    widths: Iterable[float],
    heights: Iterable[float],
) -> tuple[SurrogateScan, ...]:
    """Measure the gradient at every neuron layer, for each height and width in turn.

    Args:
        recipe: whose network is measured, at its initial weights and without auxiliary paths.
        batch: see :func:`first_batch`.
        shape: one of :data:`purespike.trainer.nn.surrogate.SHAPES`.
        widths: full widths at half the height.
        heights: peaks.

    Raises:
        ConfigError: if there is no such shape, or a width or height is not positive.
    """
    tried = [Shaped(shape, width, height) for height in heights for width in widths]
    if not tried:
        raise ConfigError(
            "there is nothing to scan",
            found="no width or no height",
            allowed=f"at least one of each, of the shapes {', '.join(SHAPES)}",
        )
    bare = without_paths(_catalogue(recipe))
    return scan_surrogates(build(bare, recipe.train.seed), tried, *batch)


def outlook(row: SurrogateScan) -> tuple[Finding, ...]:
    """What would keep this network from learning, as a training warns of it after an epoch."""
    rates = {layer.name: layer.rate for layer in row.layers}
    return diagnose(rates, {layer.name: layer.gradient for layer in row.layers})


def write_scan(rows: Sequence[SurrogateScan], file: Path) -> None:
    """Write a line for each surrogate and layer, whole or not at all.

    Raises:
        OutputError: if the file cannot be written, or one of someone else's is there.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(TABLE_HEADER)
    for row in rows:
        s = _shaped(row)
        for layer in row.layers:
            values = (s.shape, s.width, s.height, row.gain)
            writer.writerow((*values, layer.name, layer.rate, layer.gradient))
    write_file(file, text.getvalue(), ours=is_ours)


def draw_scan(rows: Sequence[SurrogateScan], name: str) -> Figure:
    """Gradient by depth, a panel a height and a line a width; the gain by width at the end.

    Args:
        rows: what :func:`scan` gave.
        name: of the network, for the title.
    """
    heights = sorted({_shaped(row).height for row in rows})
    widths = sorted({_shaped(row).width for row in rows})
    figure = Figure(figsize=(2 + 4.2 * (len(heights) + 1), 4.6), layout="constrained")
    *panels, last = figure.subplots(1, len(heights) + 1, squeeze=False)[0]
    colours = colormaps["viridis"]
    for panel, height in zip(panels, heights, strict=True):
        for row in (row for row in rows if _shaped(row).height == height):
            width = _shaped(row).width
            main = [layer for layer in row.layers if "identity" not in layer.name.split(".")]
            sizes = [layer.gradient or float("nan") for layer in main]  # a logarithm has no 0
            colour = colours(0.9 * widths.index(width) / max(len(widths) - 1, 1))
            panel.plot(range(1, len(main) + 1), sizes, ".-", color=colour, label=f"{width:g}")
        panel.set(
            title=f"{name}: {_shaped(rows[0]).shape} of height {height:g}",
            xlabel="neuron layer, counted from the input",
            yscale="log",
        )
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(title="width", fontsize="small")
    panels[0].set_ylabel("root mean square of dL/d(spikes)")
    for number, height in enumerate(heights):
        found = {_shaped(r).width: r.gain for r in rows if _shaped(r).height == height}
        marker = "osD^v*x"[number % 7]
        last.plot(list(found), list(found.values()), f"{marker}-", label=f"{height:g}")
    last.axhline(1.0, color="black", linewidth=0.8)
    last.set(
        title="Gain a layer: above 1 gradients explode",
        xlabel="width of the surrogate",
        ylabel="gain",
        xscale="log",
    )
    last.set_ylim(bottom=0)
    last.set_xticks(widths, [f"{width:g}" for width in widths])
    last.minorticks_off()
    last.legend(title="height", fontsize="small")
    for axis in (*panels, last):
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _shaped(row: SurrogateScan) -> Shaped:
    assert isinstance(row.surrogate, Shaped)
    return row.surrogate
