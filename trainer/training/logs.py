"""What a training logged, read back: for plots, and for whoever compares trainings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from purespike.compiler.errors import UsageError
from purespike.compiler.files.reading import read_text
from purespike.compiler.wording import Advice

__all__ = [
    "EPOCHS",
    "FIRST_LOG",
    "LAYERS",
    "RECIPE",
    "SILENT",
    "LogError",
    "Run",
    "log_files",
    "read_run",
]

LAYERS = "layers.json"  # paths in order of depth, which metrics.csv does not keep
SILENT = 1e-3  # spikes a neuron and step; below it the trainer warns
EPOCHS = "epochs"  # its entry: how many there are in all
RECIPE = "recipe"  # its entry: the tables that the training was started with; none if from Python
FIRST_LOG = "first_log"  # its entry: the number of the log with which this training began


_LARGEST_LAYERS, _LARGEST_LOG = 1 << 24, 1 << 28  # bytes


class LogError(UsageError):
    """A folder that holds no training, or an epoch that was not trained."""


@dataclass(frozen=True)
class Run:
    """What a training logged.

    Attributes:
        name: for the legend.
        values: by metric, its value after each epoch; the first is 1.
        layers: paths of the deployed weights, in order of depth.
        neurons: paths of the neuron layers, in order of depth.
    """

    name: str
    values: dict[str, dict[int, float]]
    layers: tuple[str, ...]
    neurons: tuple[str, ...]

    def gradients(self, epoch: int) -> list[float]:
        """The mean gradient norm of every layer over an epoch; paths beside the main one left out.

        Raises:
            LogError: if that epoch was not trained.
        """
        return self._layers("gradient", self.main_layers, epoch)

    def rates(self, epoch: int) -> list[float]:
        """The mean firing rate of every neuron layer over an epoch.

        Raises:
            LogError: if that epoch was not trained.
        """
        return self._layers("rate", self.neurons, epoch)

    def _layers(self, metric: str, names: Sequence[str], epoch: int) -> list[float]:
        found = [self.values.get(f"{metric}/{name}", {}).get(epoch) for name in names]
        if not found or any(value is None for value in found):
            epochs = sorted(self.values.get("loss", {}))
            raise LogError(
                f"this epoch has no {metric} of every layer",
                where=self.name,
                found=f"epoch {epoch}",
                allowed=f"{epochs[0]} to {epochs[-1]}" if epochs else "no epoch was trained",
                remedy=Advice("choose another: {epoch}"),
            )
        return [value for value in found if value is not None]

    @property
    def main_layers(self) -> list[str]:
        """The layers one after the other: those on identity paths lie beside them."""
        return [name for name in self.layers if "identity" not in name.split(".")]


def _damaged(folder: Path, error: Exception) -> LogError:
    found = str(error) or type(error).__name__
    return LogError("the log of this training is damaged", where=str(folder), found=found[:120])


def log_files(folder: Path) -> dict[int, Path]:
    """The logs in a folder by number, one for each time that a training was started or resumed."""
    logs = (folder / "log").glob("version_*/metrics.csv")
    return {int(log.parent.name.rpartition("_")[2]): log for log in logs}


def read_run(folder: Path) -> Run:
    """Read what a training wrote, all of its parts where it was interrupted and resumed.

    Args:
        folder: what ``purespike train --out`` named.

    Raises:
        LogError: if it holds no log.
    """
    order = folder / LAYERS
    try:
        logs = log_files(folder)
    except ValueError as error:
        raise _damaged(folder, error) from error
    if not logs or not order.is_file():
        raise LogError(
            "there is no training in this folder",
            where=str(folder),
            found="no log/version_*/metrics.csv" if not logs else f"no {LAYERS}",
            allowed="the folder that `purespike train --out` wrote",
        )
    values: dict[str, dict[int, float]] = {}
    try:
        paths = json.loads(read_text(order, _LARGEST_LAYERS, LogError, "the list of layers"))
        layers, neurons = tuple(paths["layers"]), tuple(paths["neurons"])
        first = int(paths.get(FIRST_LOG, 0))  # those before it are another training's
        for number in sorted(number for number in logs if number >= first):
            # A resumed training trains the epoch that was cut short again.
            text = read_text(logs[number], _LARGEST_LOG, LogError, "the log")
            for row in csv.DictReader(io.StringIO(text)):
                epoch = int(row["epoch"]) + 1  # Lightning counts from 0
                for name, number_said in row.items():
                    if number_said and name not in ("epoch", "step"):
                        values.setdefault(name, {})[epoch] = float(number_said)
    except (
        AttributeError, LookupError, OSError, OverflowError, RecursionError, TypeError, ValueError,
        csv.Error,
    ) as error:  # fmt: skip
        raise _damaged(folder, error) from error
    return Run(folder.name or str(folder), values, layers, neurons)
