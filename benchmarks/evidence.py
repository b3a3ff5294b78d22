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
demonstration network. Without ``--networks``: shallow or narrow, and deep. On ``mnist-5k`` the
networks are ``10``, ``18`` and ``34`` layers deep, from random weights, and choices are made on the
500 images of the validation part; ``--part test`` is for the end.
Accuracy is that of the main head alone, the network that is deployed, on the held-out images after
the last epoch. The gradient is the norm of the first convolution's, the mean over the first epoch;
the file also has the gradient of each layer in that epoch, the firing rate of each neuron layer in
the last one, and the accuracy of each head.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
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
    """A network of the comparison: its blocks, and how long it is trained on each data set."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    zero_init: bool
    epochs: dict[str, int]


def layers(depth: int) -> Kind:
    """Blocks of two convolutions between stem and classifier, on 14 x 14, 7 x 7 and 4 x 4."""
    blocks = (depth - 2) // 2
    part = max(1, blocks // 4)
    last = blocks - 2 * part
    widths = (8,) * part + (12,) * part + (16,) * last
    strides = tuple(2 if i in (0, part, 2 * part) else 1 for i in range(blocks))
    return Kind(widths, strides, zero_init=False, epochs={"mnist-5k": 30})


NARROW, DEEP = (8, 8, 16, 16), (8,) * 8 + (16,) * 8
LONG = {"digits": 24, "event_digits": 8}
HALVED = (1,) * 8 + (2,) + (1,) * 7
NETWORKS = {
    "shallow": Kind((12, 12, 24, 24), (1, 1, 2, 1), zero_init=True, epochs=LONG),
    "narrow": Kind(NARROW, (1, 1, 2, 1), zero_init=True, epochs=LONG),
    "deep": Kind(DEEP, HALVED, zero_init=False, epochs={"digits": 10, "event_digits": 4}),
    "deep-identity": Kind(DEEP, HALVED, zero_init=True, epochs={"digits": 8, "event_digits": 4}),
    **{str(depth): layers(depth) for depth in (10, 18, 34)},
}
# name: (data, input channels, image side, T); None is the digits in bit planes.
DATA: dict[str, tuple[DataConfig | None, int, int, int]] = {
    "digits": (None, 5, 8, 4),
    "event_digits": (DataConfig("event_digits", augment=("roll:1",)), 2, 16, 5),
    "mnist-5k": (DataConfig("mnist-5k", augment=("crop:2",)), 8, 28, 2),
}
GRID = {
    "digits": ("shallow", "deep"),
    "event_digits": ("narrow", "deep"),
    "mnist-5k": ("10", "18", "34"),
}


def run(
    data: str, network: str, gate: str, method: str, seed: int, epochs: int, part: str
) -> dict[str, Any]:
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
    config = replace(DEMO.train, epochs=epochs, integer_epochs=0, seed=seed, balance=balance)
    if source is not None:  # as in the recipe event-digits
        config = replace(config, shift=False)
        if data == "mnist-5k":
            config, source = replace(config, batch_size=50), replace(source, held_out=part)
    elif network != "demo":
        config = replace(config, batch_size=64)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, config, Path(folder), data=source, progress=False)
        with (Path(folder) / "log" / "version_0" / "metrics.csv").open() as log:
            epoch = list(csv.DictReader(log))
    return {
        "correct": result.correct,
        "n": result.n,
        "gradient": result.gradient_norm,
        "cpu_s": round(time.process_time() - start, 1),
        "heads": {k: round(v, 4) for k, v in result.heads.items()},
        "gradients": _columns(epoch[0], "gradient/"),
        "rates": _columns(epoch[-1], "rate/"),
        "with": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}",
    }


def _columns(row: dict[str, str], prefix: str) -> dict[str, float]:
    found = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix) and v}
    return {k: float(f"{float(v):.4g}") for k, v in found.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out as Markdown: one table per data and network, a line per gate and method."""
    groups: dict[tuple[str, str, int, str], dict[tuple[str, str], list[Any]]] = defaultdict(dict)
    for row in rows:
        group = groups[row["data"], row["network"], row["epochs"], row.get("part", "test")]
        group.setdefault((row["gate"], row["method"]), []).append(row)
    text = []
    for (data, network, epochs, part), found in sorted(groups.items()):
        text += [
            f"**{data}{'' if part == 'test' else ', ' + part}, {network}, {epochs} epochs**",
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
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
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
    names = ("data", "network", "gate", "method", "seed", "epochs", "part")
    done = {tuple(row.get(name, "test") for name in names) for row in rows}
    networks = [(d, n) for d in options.data for n in options.networks or GRID[d]]
    for seed, (data, network), gate, method in product(
        options.seeds, networks, options.gates, options.methods
    ):
        kind = NETWORKS.get(network)
        epochs = options.epochs or (kind.epochs[data] if kind else DEMO.train.epochs)
        part = options.part if data == "mnist-5k" else "test"
        key = (data, network, gate, method, seed, epochs, part)
        if key in done:
            continue
        row = dict(zip(names, key, strict=True)) | run(*key)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
