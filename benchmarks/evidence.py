"""What the papers' methods are worth: data x network x gate x method x seed; can be resumed.

    python benchmarks/evidence.py --out FILE [--data D ...] [--networks N ...] [--gates G ...]
                                  [--methods M ...] [--seeds S ...] [--epochs N]
    python benchmarks/evidence.py --out FILE --table

Each training adds one line of JSON to FILE; what stands there already is not trained again.
``--table`` prints what FILE holds as Markdown. ``shallow`` has 4 blocks (9 convolutions) and starts
as identity mappings (zero-init), where training on spikes alone is slow; ``narrow`` is the same
with fewer channels, for the four times larger event frames. ``deep`` has 16 blocks (33 convolutions
and the shortcut's; 34 layers with the classifier) and starts from random weights, as the AAP
paper's released command does; ``deep-identity`` starts as identity mappings. ``demo`` is the
demonstration network. Without ``--networks``: shallow or narrow, and deep.
Accuracy is that of the main head alone, the network that is deployed, on the 360 test digits after
the last epoch. The gradient is the norm of the first convolution's, the mean over the first epoch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from purespike.trainer.data.config import DataConfig
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.training.fit import train
from purespike.trainer.training.learner import DeadLayerWarning
from purespike.trainer.training.presets import DEMO

CONSTANT = BalanceSchedule(1.0, "constant")
EVOLUTIONARY = BalanceSchedule(0.25, "linear")
# name: (accumulation pathway, shortcut branches, their balance coefficient)
METHODS = {
    "vanilla": (False, False, EVOLUTIONARY),
    "shortcut": (False, True, CONSTANT),
    "shortcut + evolutionary": (False, True, EVOLUTIONARY),
    "AAP": (True, False, EVOLUTIONARY),
    "AAP + evolutionary": (True, True, EVOLUTIONARY),
}
GATES = ("iand", "and", "or", "xor", "sn")


@dataclass(frozen=True)
class Kind:
    """A network of the comparison: its blocks, and how long it is trained."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    zero_init: bool
    epochs: tuple[int, int]  # on digits, on event digits


NARROW, DEEP = (8, 8, 16, 16), (8,) * 8 + (16,) * 8
HALVED = (1,) * 8 + (2,) + (1,) * 7
NETWORKS = {
    "shallow": Kind((12, 12, 24, 24), (1, 1, 2, 1), zero_init=True, epochs=(24, 8)),
    "narrow": Kind(NARROW, (1, 1, 2, 1), zero_init=True, epochs=(24, 8)),
    "deep": Kind(DEEP, HALVED, zero_init=False, epochs=(10, 4)),
    "deep-identity": Kind(DEEP, HALVED, zero_init=True, epochs=(8, 4)),
}
# name: (data, input channels, image side, T); None is the digits in bit planes.
DATA: dict[str, tuple[DataConfig | None, int, int, int]] = {
    "digits": (None, 5, 8, 4),
    "event_digits": (DataConfig("event_digits", augment=("roll:1",)), 2, 16, 5),
}
GRID = {"digits": ("shallow", "deep"), "event_digits": ("narrow", "deep")}


def run(data: str, network: str, gate: str, method: str, seed: int, epochs: int) -> dict[str, Any]:
    aap, shortcut, balance = METHODS[method]
    source, channels, side, steps = DATA[data]
    model = replace(DEMO.model, gate=gate, aap=aap, shortcut=shortcut)
    if network != "demo":
        kind = NETWORKS[network]
        # An event frame has four times the pixels: the first block halves it.
        strides = (2, *kind.strides[1:]) if side == 16 else kind.strides
        model = replace(model, stem=8, widths=kind.widths, strides=strides)
        model = replace(model, zero_init_residual=kind.zero_init)
    model = replace(model, in_channels=channels, size=(side, side), steps=steps)
    config = replace(DEMO.train, epochs=epochs, seed=seed, balance=balance)
    if source is not None:  # as in the recipe event-digits
        config = replace(config, shift=False)
    elif network != "demo":
        config = replace(config, batch_size=64)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, config, Path(folder), data=source, progress=False)
    return {
        "correct": result.correct,
        "n": result.n,
        "gradient": result.gradient_norm,
        "cpu_s": round(time.process_time() - start, 1),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as Markdown: one table per data and network, a line per gate and method."""
    groups: dict[tuple[str, str, int], dict[tuple[str, str], list[Any]]] = defaultdict(dict)
    for row in rows:
        group = groups[row["data"], row["network"], row["epochs"]]
        group.setdefault((row["gate"], row["method"]), []).append(row)
    text = []
    for (data, network, epochs), found in sorted(groups.items()):
        text += [
            f"**{data}, {network}, {epochs} epochs**",
            "",
            "| gate | method | mean % | spread | each seed | gradient |",
            "|---|---|---|---|---|---|",
        ]
        for gate, method in product(GATES, METHODS):
            runs = sorted(found.get((gate, method), []), key=lambda r: r["seed"])
            if not runs:
                continue
            shares = [100 * r["correct"] / r["n"] for r in runs]
            spread = f"{stdev(shares):.1f}" if len(shares) > 1 else ""
            each = ", ".join(f"{s:.1f}" for s in shares)
            gradient = mean(r["gradient"] for r in runs)
            text.append(
                f"| {gate.upper()} | {method} | {mean(shares):.1f} | {spread} | {each} "
                f"| {gradient:.3g} |"
            )
        text.append("")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS, "demo"])
    parser.add_argument("--gates", nargs="+", choices=GATES, default=list(GATES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = []
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    if options.table:
        print(table(rows))
        return
    torch.set_num_threads(1)
    # Zero-init starts with silent layers on purpose.
    warnings.simplefilter("ignore", DeadLayerWarning)
    names = ("data", "network", "gate", "method", "seed", "epochs")
    done = {tuple(row[name] for name in names) for row in rows}
    networks = [(d, n) for d in options.data for n in options.networks or GRID[d]]
    for seed, (data, network), gate, method in product(
        options.seeds, networks, options.gates, options.methods
    ):
        kind = NETWORKS.get(network)
        epochs = options.epochs or (
            kind.epochs[list(DATA).index(data)] if kind else DEMO.train.epochs
        )
        key = (data, network, gate, method, seed, epochs)
        if key in done:
            continue
        row = dict(zip(names, key, strict=True)) | run(*key)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
