"""How well the untrained network foretells what its training will reach.

    python benchmarks/evidence_scan.py --out SCANS --rows ROWS [--data D ...] [--networks N ...]

For each training in ROWS adds a line of JSON to SCANS with what one batch of 64 says before it:
the gain of the gradient a layer and the lowest firing rate, as ``purespike scan`` measures them on
the network without its auxiliary paths, and the gradient at the first neurons under the whole
objective, auxiliary heads included. benchmarks/evidence_page.py ranks the trainings by them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from evidence import read_rows
from evidence_cells import CONSTANT, NAMES, settings
from torch import Tensor

from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.training.gradients import SurrogateScan, layer_gradients, scan_surrogates
from purespike.trainer.training.losses import default_fusion, total_loss
from purespike.trainer.training.recipe import Recipe
from purespike.trainer.training.scan import first_batch, outlook

SAMPLES = 64


def foretell(recipe: Recipe) -> dict[str, Any]:
    """What the untrained network says."""
    batch = first_batch(recipe, SAMPLES)
    config = recipe.train

    def objective(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
        return total_loss(
            logits,
            labels,
            balance=config.balance.at(0, 1000),
            fusion=config.fusion or default_fusion(config.balance.kind),
            label_smoothing=config.label_smoothing,
        )

    bare = replace(recipe.model, aap=False, shortcut=False)
    plain = _scan(replace(recipe, model=bare, train=replace(config, balance=CONSTANT)))
    whole = layer_gradients(build(recipe.model, config.seed), *batch, objective)
    return {
        "gain": float(f"{plain.gain:.4g}"),
        "rate": float(f"{min(layer.rate for layer in plain.layers):.4g}"),
        "first": float(f"{whole[0].gradient:.4g}"),
        "findings": sorted({finding.kind for finding in outlook(plain)}),
    }


@lru_cache
def _scan(recipe: Recipe) -> SurrogateScan:
    """The network as ``purespike scan`` measures it: the same for every method."""
    assert isinstance(recipe.model, ModelConfig)
    batch = first_batch(recipe, SAMPLES)
    surrogate = recipe.model.neuron.surrogate
    return scan_surrogates(build(recipe.model, recipe.train.seed), [surrogate], *batch)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=["mnist-5k", "digits"])
    parser.add_argument("--networks", nargs="+", default=["10", "18", "34", "deep"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {tuple(row[name] for name in NAMES) for row in read_rows(options.out)}
    for row in read_rows(options.rows):
        cell = tuple(row[name] for name in NAMES)
        wanted = row["data"] in options.data and row["network"] in options.networks
        if not wanted or cell in done or (row["data"] == "mnist-5k" and row["part"] == "test"):
            continue
        recipe = settings(*cell)
        if recipe.model.neuron.levels:  # counts have no surrogate to scan
            continue
        line = dict(zip(NAMES, cell, strict=True)) | foretell(recipe)
        with options.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
