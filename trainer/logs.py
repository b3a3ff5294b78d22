"""What a training logged, read back: for plots, and for whoever compares trainings."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from purespike.compiler.errors import PurespikeError

__all__ = ["LAYERS", "LogError", "Run", "read_run"]

LAYERS = "layers.json"  # paths in order of depth, which metrics.csv does not keep


class LogError(PurespikeError):
    """A folder that holds no training, or an epoch that was not trained."""


@dataclass(frozen=True)
class Run:
    """What a training logged.

    Attributes:
        name: for the legend.
        values: by metric, its value after each epoch.
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
        found = [self.values.get(f"gradient/{name}", {}).get(epoch) for name in self.main_layers]
        if not found or any(value is None for value in found):
            epochs = sorted(self.values.get("loss", {}))
            raise LogError(
                "this epoch has no gradient norms",
                where=self.name,
                found=f"epoch {epoch}",
                allowed=f"{epochs[0]} to {epochs[-1]}" if epochs else "no epoch was trained",
                remedy="choose another --epoch",
            )
        return [value for value in found if value is not None]

    @property
    def main_layers(self) -> list[str]:
        """The layers one after the other: those on identity paths lie beside them."""
        return [name for name in self.layers if "identity" not in name.split(".")]


def read_run(folder: Path) -> Run:
    """Read what a training wrote, all of its parts where it was interrupted and resumed.

    Args:
        folder: what ``purespike train --out`` named.

    Raises:
        LogError: if it holds no log.
    """
    logs = sorted(
        (folder / "log").glob("version_*/metrics.csv"),
        key=lambda path: int(path.parent.name.rpartition("_")[2]),
    )
    order = folder / LAYERS
    if not logs or not order.is_file():
        raise LogError(
            "there is no training in this folder",
            where=str(folder),
            found="no log/version_*/metrics.csv" if not logs else f"no {LAYERS}",
            allowed="the folder that `purespike train --out` wrote",
        )
    values: dict[str, dict[int, float]] = {}
    try:
        for log in logs:  # a resumed training trains the epoch that was cut short again
            with log.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    epoch = int(row["epoch"])
                    for name, text in row.items():
                        if text and name not in ("epoch", "step"):
                            values.setdefault(name, {})[epoch] = float(text)
        paths = json.loads(order.read_text(encoding="utf-8"))
        layers, neurons = tuple(paths["layers"]), tuple(paths["neurons"])
    except (ValueError, KeyError, TypeError) as error:
        raise LogError(
            "the log of this training is damaged", where=str(folder), found=str(error)
        ) from error
    return Run(folder.name or str(folder), values, layers, neurons)
