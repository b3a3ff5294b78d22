"""What the auxiliary paths are worth: one network, five ways to train it, several seeds.

    python benchmarks/methods.py [--network hard|demo] [--epochs N] [--seeds N] [--threads N]

``hard`` is a network whose residual functions start silent (zero-init), where training on spikes
alone is slow; ``demo`` is the demonstration network. Accuracy is that of the main head alone on the
360 test digits, after the last epoch. The gradient norm is that of the first convolution's weights,
the mean over the first epoch.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

from purespike.trainer.auxiliary import BalanceSchedule
from purespike.trainer.fit import TrainResult, train
from purespike.trainer.learner import DeadLayerWarning
from purespike.trainer.presets import DEMO, Preset

NETWORKS = {
    "demo": DEMO,
    "hard": replace(
        DEMO,
        model=replace(
            DEMO.model,
            stem=12,
            widths=(12, 12, 24, 24),
            strides=(1, 1, 2, 1),
            zero_init_residual=True,
        ),
        train=replace(DEMO.train, batch_size=64),
    ),
}
CONSTANT = BalanceSchedule(1.0, "constant")
EVOLUTIONARY = BalanceSchedule(0.25, "linear")
# name: (accumulation pathway, shortcut branches, their balance coefficient)
METHODS = {
    "vanilla": (False, False, EVOLUTIONARY),
    "AAP": (True, False, EVOLUTIONARY),
    "shortcut": (False, True, CONSTANT),
    "shortcut + evolutionary": (False, True, EVOLUTIONARY),
    "AAP + evolutionary": (True, True, EVOLUTIONARY),
}


def run(preset: Preset, method: str, epochs: int, seed: int) -> TrainResult:
    aap, shortcut, balance = METHODS[method]
    model = replace(preset.model, aap=aap, shortcut=shortcut)
    config = replace(preset.train, epochs=epochs, seed=seed, balance=balance)
    with tempfile.TemporaryDirectory() as folder:
        return train(model, config, Path(folder), progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="hard")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Zero-init starts with silent layers on purpose.
    warnings.simplefilter("ignore", DeadLayerWarning)
    preset = NETWORKS[options.network]
    print(f"network {options.network}, {options.epochs} epochs, seeds 0 to {options.seeds - 1}")
    print(f"{'method':26s}{'mean %':>8s}  {'each seed %':24s}{'gradient':>9s}{'s a run':>9s}")
    for method in METHODS:
        results = [run(preset, method, options.epochs, seed) for seed in range(options.seeds)]
        each = "  ".join(f"{100 * r.accuracy:5.1f}" for r in results)
        print(
            f"{method:26s}{100 * mean(r.accuracy for r in results):8.1f}  {each:24s}"
            f"{mean(r.gradient_norm for r in results):9.3f}"
            f"{mean(r.seconds for r in results):9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
