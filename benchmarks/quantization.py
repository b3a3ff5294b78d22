"""What few bits cost: a trained network in integers, each way to choose scales and to round.

    python benchmarks/quantization.py [--seeds N | --checkpoints FOLDER ...] [--bits N ...]
                                      [--channels] [--threads N]

The demonstration network on handwritten digits, without fine-tuning: correct test digits of 360,
and in brackets the decisions that differ from the real-valued network's. Calibration uses 128
training digits. ``nearest`` rounds biases and thresholds to the nearest, ``together`` as
`purespike.compiler.passes.rounding` chooses. With ``--channels`` each channel has a scale.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from purespike.build import Subject
from purespike.compiler.domain import Array
from purespike.compiler.interpret import run
from purespike.compiler.ir import Graph
from purespike.compiler.passes.calibrate import Method, calibrate
from purespike.compiler.passes.quantize import quantize
from purespike.compiler.passes.rounding import choose_rounding
from purespike.compiler.passes.scales import Grid
from purespike.compiler.pipeline import compile_graph, standard_passes
from purespike.subjects import digits_subject
from purespike.trainer.capture import capture
from purespike.trainer.fit import train
from purespike.trainer.presets import DEMO

BATCH = 120


def trained(seed: int) -> Subject:
    """The demonstration network, trained anew."""
    with tempfile.TemporaryDirectory() as folder:
        config = replace(DEMO.train, seed=seed)
        return digits_subject(train(DEMO.model, config, Path(folder), progress=False).checkpoint)


def decide(graph: Graph, spikes: Array) -> Array:
    """The class of each sample: the largest readout at the last step."""
    (out,) = graph.outputs
    parts = [spikes[:, k : k + BATCH] for k in range(0, spikes.shape[1], BATCH)]
    return np.concatenate(
        [run(graph, x, record={out}).values[out][-1].argmax(axis=1) for x in parts]
    )


def measure(subject: Subject, name: str, bits: list[int], grid: Grid) -> None:
    """Print one table."""
    spikes = subject.spikes.astype(np.float64)
    captured = capture(subject.model, subject.shape, len(spikes)).graph
    real = compile_graph(captured, standard_passes()[:-1], spikes[:, :16]).graph
    wanted = decide(real, spikes)
    correct = int((wanted == subject.labels).sum())
    print(f"\n{name}: {correct} of {len(wanted)} in real numbers")
    methods = get_args(Method)
    print(f"{'bits':>4}  {'rounding':9}" + "".join(f"{m:>14}" for m in methods), flush=True)
    assert subject.calibration is not None
    for width in bits:
        own = replace(grid, weight_bits=width)
        scales = {m: calibrate(real, subject.calibration, own, m) for m in methods}
        for rounding in ("nearest", "together"):
            cells = []
            for chosen in scales.values():
                ops = {}
                if rounding == "together":
                    ops = choose_rounding(real, subject.calibration, own, chosen)
                found = decide(quantize(real, own, chosen, ops), spikes)
                moved = int((found != wanted).sum())
                cells.append(f"{int((found == subject.labels).sum()):>8} ({moved:3})")
            print(f"{width:>4}  {rounding:9}" + "".join(f"{c:>14}" for c in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--checkpoints", type=Path, nargs="*", default=[])
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 6, 4, 3, 2])
    parser.add_argument("--channels", action="store_true", help="one scale a channel")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grid = Grid(per_channel=options.channels)
    for path in options.checkpoints:
        measure(digits_subject(path), str(path), options.bits, grid)
    for seed in range(0 if options.checkpoints else options.seeds):
        measure(trained(seed), f"seed {seed}", options.bits, grid)


if __name__ == "__main__":
    main()
