"""What few bits cost a trained network.

    python benchmarks/quantization.py [--data digits|event-digits] [--seeds N ...]
                                      [--checkpoints FOLDER ...] [--bits N ...] [--qat EPOCHS]
                                      [--cameras N] [--methods] [--channels] [--threads N]

One line for each trained network and width: accuracy in real numbers and in integers, and how much
was lost, as the command line compiles it (percentile scales; biases and thresholds rounded together
on 128 training samples). With ``--qat`` fewer than 8 bits are measured once more after fine-tuning
for so many epochs. Event digits are judged by the 360 test images as several simulated cameras see
them: 0 is the camera of the test set, the others differ in mismatch and noise. The 95 % interval of
the loss takes the images, not the recordings, as independent.

With ``--methods`` instead one table a network, without fine-tuning: each way to choose scales by
each way to round: correct samples, and in brackets the decisions that differ from the real-valued
network's. ``nearest`` rounds to the nearest, ``together`` biases and thresholds together as
`purespike.compiler.passes.quantize.rounding` chooses. With ``--channels`` each channel has a scale.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.quantize.calibrate import Method, calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.passes.quantize.rounding import choose_rounding
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.statistics import wilson_interval
from purespike.flow.build import Subject
from purespike.flow.inputs.checkpoints import digits_subject
from purespike.trainer.capture.trace import capture
from purespike.trainer.data import digits
from purespike.trainer.data.camera import Camera, watch
from purespike.trainer.data.events import to_frames
from purespike.trainer.nn.encoders import LEVELS
from purespike.trainer.training.fine_tuning import FineTuneConfig, fine_tune
from purespike.trainer.training.fit import train
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe import read_recipe

BATCH = 120
METHOD: Method = "percentile"  # the command line's


def trained(data: str, seed: int) -> Subject:
    """The demonstration network, or the one on event digits, trained anew."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = DEMO if data == "digits" else read_recipe(data)
        config = replace(recipe.train, seed=seed)
        source = getattr(recipe, "data", None)
        done = train(recipe.model, config, Path(folder), data=source, progress=False)
        return digits_subject(done.checkpoint)


def recordings(subject: Subject, cameras: int) -> Subject:
    """The test images as seen by several cameras, the test set's first."""
    images, seen = digits().test_images, [subject.spikes]
    for seed in range(1, cameras):
        camera = Camera(seed=seed)
        span = 0, camera.duration
        frames = [
            to_frames(s, len(subject.spikes), sensor=(camera.side,) * 2, bins="time", span=span)
            for s in watch(images, camera, LEVELS)
        ]
        seen.append(torch.stack(frames, 1).numpy().astype(np.uint8))
    return replace(
        subject, spikes=np.concatenate(seen, 1), labels=np.tile(subject.labels, len(seen))
    )


def decide(graph: Graph, spikes: Array) -> Array:
    """The class of each sample: the largest readout at the last step."""
    (out,) = graph.outputs
    parts = [spikes[:, k : k + BATCH] for k in range(0, spikes.shape[1], BATCH)]
    return np.concatenate(
        [run(graph, x, record={out}).values[out][-1].argmax(axis=1) for x in parts]
    )


def front(subject: Subject) -> Graph:
    """What the compiler is about to quantize."""
    assert isinstance(subject.model, torch.nn.Module)
    captured = capture(subject.model, subject.shape, len(subject.spikes)).graph
    probe = subject.spikes[:, :16].astype(np.float64)
    return compile_graph(captured, standard_pipeline().network, probe).graph


class Loss(NamedTuple):
    """Points of accuracy lost, with half the width of their 95 % interval."""

    points: float
    half: float

    @classmethod
    def of(cls, before: Array, after: Array, images: int) -> Loss:
        """Of right decisions (recordings), image after image for one camera after the other."""
        lost = (before.astype(float) - after).reshape(-1, images).mean(axis=0) * 100
        return cls(float(lost.mean()), 1.96 * float(lost.std(ddof=1)) / images**0.5)


def few_bits(subject: Subject, name: str, bits: list[int], grid: Grid, epochs: int) -> None:
    """Print the lines of one network."""
    real, images = front(subject), len(digits().test_labels)
    wanted = decide(real, subject.spikes)
    for width, tuned, graph in integers(subject, real, bits, grid, epochs):
        found = decide(graph, subject.spikes)
        before, after = (d == subject.labels for d in (wanted, found))
        loss = Loss.of(before, after, images)
        own = Loss.of(before[:images], after[:images], images)
        low, high = wilson_interval(int(after[:images].sum()), images)
        print(
            f"| {name} | {width} | {tuned or 'no'} | {before[:images].sum()} -> "
            f"{after[:images].sum()} of {images} ({low * 100:.1f} to {high * 100:.1f} %) "
            f"| {own.points:+.2f} | {len(after)} | {loss.points:+.2f} ± {loss.half:.2f} "
            f"| {(found != wanted).mean() * 100:.1f} % |",
            flush=True,
        )


def integers(
    subject: Subject, real: Graph, bits: list[int], grid: Grid, epochs: int
) -> Iterator[tuple[int, int, Graph]]:
    """Each width without, and if so asked with, fine-tuning."""
    assert subject.calibration is not None and subject.training is not None
    for width in bits:
        own = replace(grid, weight_bits=width)
        scales = calibrate(real, None, own, METHOD)
        rounded = choose_rounding(real, subject.calibration, own, scales)
        yield width, 0, quantize(real, own, scales, rounded)
        if epochs and width < 8:
            config = FineTuneConfig(epochs, method=METHOD)
            tuned = fine_tune(real, subject.training(), own, config)
            yield width, epochs, quantize(tuned, own, calibrate(tuned, None, own, METHOD))


def measure(subject: Subject, name: str, bits: list[int], grid: Grid) -> None:
    """Print one table of all methods."""
    real, spikes = front(subject), subject.spikes
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
                if rounding != "nearest":
                    ops = choose_rounding(real, subject.calibration, own, chosen)
                found = decide(quantize(real, own, chosen, ops), spikes)
                moved = int((found != wanted).sum())
                cells.append(f"{int((found == subject.labels).sum()):>8} ({moved:3})")
            print(f"{width:>4}  {rounding:9}" + "".join(f"{c:>14}" for c in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=("digits", "event-digits"), default="digits")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--checkpoints", type=Path, nargs="*", default=[])
    parser.add_argument("--bits", type=int, nargs="*", default=[8, 4])
    parser.add_argument("--qat", type=int, default=0, metavar="EPOCHS")
    parser.add_argument("--cameras", type=int, default=5, help="of event digits")
    parser.add_argument("--methods", action="store_true", help="all scales and roundings")
    parser.add_argument("--channels", action="store_true", help="one scale per channel")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    grid = Grid(per_channel=options.channels)
    if not options.methods:
        columns = "network", "bits", "fine-tuned", "correct", "loss", "N", "loss, all N", "moved"
        print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    for source in options.checkpoints or options.seeds:
        is_path = isinstance(source, Path)
        subject = digits_subject(source) if is_path else trained(options.data, source)
        name = str(source) if is_path else f"{options.data}, seed {source}"
        if subject.name.startswith("event_digits"):
            subject = recordings(subject, options.cameras)
        if options.methods:
            measure(subject, name, options.bits, grid)
        else:
            few_bits(subject, name, options.bits, grid, options.qat)


if __name__ == "__main__":
    main()
