"""What the papers' methods are worth: data x network x gate x method x variant x seed.

    python benchmarks/evidence.py --out FILE [--data D ...] [--networks N ...] [--gates G ...]
                                  [--methods M ...] [--variants V ...] [--seeds S ...] [--epochs N]
    python benchmarks/evidence.py --out FILE --queue [--keep FOLDER]
    python benchmarks/evidence.py --out FILE --keep FOLDER --part test [--networks N ...] ...
    python benchmarks/evidence.py --out FILE --table

Each training adds one line of JSON to FILE; what stands there already is not trained again.
benchmarks/evidence_cells.py has the networks; ``--queue`` trains its map of depths on MNIST in the
order of worth, and ``--keep`` keeps the checkpoints. There choices are made on the 500 images of
the validation part; with ``--part test`` the kept checkpoints of those trainings read the test
part, at the end. ``--table`` prints what FILE holds as Markdown; docs/depth.md is written by
benchmarks/evidence_page.py.

Accuracy is that of the main head alone, the network that is deployed, on the held-out images after
the last epoch. The gradient is the norm of the first convolution's, the mean over the first epoch;
the file also has gradients and firing rates by layer in the first and in the last epoch, loss and
training accuracy by epoch, and the accuracy of each head.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import shutil
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from evidence_cells import (
    DATA,
    GATES,
    GRID,
    METHODS,
    MNIST,
    NAMES,
    NETWORKS,
    VARIANTS,
    Cell,
    queue,
    settings,
)

from purespike.trainer.data import load_data
from purespike.trainer.data.config import DataFile
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.nn.surrogate import Shaped
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import count_correct, train
from purespike.trainer.training.learner import DeadLayerWarning
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe import Recipe


def run(recipe: Recipe, keep: Path | None = None) -> dict[str, Any]:
    """Train once; ``keep`` is where the checkpoint goes that is compiled."""
    assert isinstance(recipe.model, ModelConfig)
    assert not isinstance(recipe.data, DataFile)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe.model, recipe.train, Path(folder), data=recipe.data, progress=False)
        with (Path(folder) / "log" / "version_0" / "metrics.csv").open() as log:
            epoch = list(csv.DictReader(log))
        if keep:
            shutil.copytree(result.checkpoint, keep, dirs_exist_ok=True)
    surrogate = recipe.model.neuron.surrogate
    return {
        "correct": result.correct,
        "n": result.n,
        "gradient": result.gradient_norm,
        "cpu_s": round(time.process_time() - start, 1),
        "batch": recipe.train.batch_size,
        **({"width": surrogate.width} if isinstance(surrogate, Shaped) else {}),
        "heads": {k: round(v, 4) for k, v in result.heads.items()},
        "gradients": _columns(epoch[0], "gradient/"),
        "gradients_last": _columns(epoch[-1], "gradient/"),
        "rates_first": _columns(epoch[0], "rate/"),
        "rates": _columns(epoch[-1], "rate/"),
        "curve": {k: [float(f"{float(e[k]):.4g}") for e in epoch] for k in ("loss", "accuracy")},
        "with": f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"Python {platform.python_version()}",
    }


def judge(checkpoint: Path, name: str) -> dict[str, Any]:
    """Read the test part of a data set with what was trained before."""
    kept = load_checkpoint(checkpoint)
    data = load_data(DATA[name][0], DATA[name][3])
    heads = count_correct(kept.model, data.loader(data.test, batch_size=250))
    correct, n = heads["main"]
    return {
        "correct": correct,
        "n": n,
        "heads": {name: round(right / n, 4) for name, (right, _) in heads.items()},
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
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[""])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--queue", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the checkpoints")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        print(table(read_rows(options.out)))
        return
    torch.set_num_threads(1)
    # Zero-init starts with silent layers on purpose.
    warnings.simplefilter("ignore", DeadLayerWarning)
    for cell in queue() if options.queue else _cells(options):
        # Read anew each time: another process may train other cells of the same file.
        if cell in {tuple(row[name] for name in NAMES) for row in read_rows(options.out)}:
            continue
        kept = options.keep and options.keep / "-".join(str(part) for part in cell if part != "")
        row = dict(zip(NAMES, cell, strict=True))
        chosen = kept and kept.with_name(kept.name.removesuffix("test") + "validation")
        if options.part == "test" and chosen and chosen.is_dir():
            row |= judge(chosen, row["data"])
        else:
            row |= run(settings(*cell), kept)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The trainings in a file; older ones have no variant and were tested on the test part."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [{"variant": "", "part": "test"} | json.loads(line) for line in lines]


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    networks = [(d, n) for d in options.data for n in options.networks or GRID[d]]
    for seed, (data, network), gate, method, variant in product(
        options.seeds, networks, options.gates, options.methods, options.variants
    ):
        kind = NETWORKS.get(network)
        epochs = options.epochs or (kind.epochs[data] if kind else DEMO.train.epochs)
        part = options.part if data in MNIST else "test"
        yield data, network, gate, method, variant, seed, epochs, part


if __name__ == "__main__":
    main()
