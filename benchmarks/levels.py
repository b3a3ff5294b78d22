"""Counts against binary spikes on digits: accuracy, accumulations, neurons, cores.

One network, trained with integrate-and-fire neurons over four steps, with level activations of D
levels in one step, and with I-LIF; each compiled to 8-bit integers and judged on 360 test samples.
``python benchmarks/levels.py [--data event_digits] [--seeds 3] [--epochs 15] [--kinds D=3,IF]``
prints a table. The four frames of an event camera enter a network of one step as its channels, two
of each frame, so that both see the same events; ``one frame`` sees all of them at once.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import purespike as ps
from purespike import nn as pn
from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.data.digits import digits

Arrays = dict[str, tuple[Tensor, Tensor]]  # train, test: (T, N, C, H, W) and (N,)
FRAMES = 4
KINDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "IF, T = 4": (pn.IF, 4),
    **{
        f"levels D = {d}, T = 1": ((lambda d=d: pn.LevelActivation(d)), 1) for d in (1, 3, 4, 7, 15)
    },
    "I-LIF D = 4, decay 1, T = 2": (lambda: pn.ILIF(4, decay=1.0), 2),
    "levels D = 4, T = 1, one frame": (lambda: pn.LevelActivation(4), 1),
}


@lru_cache(maxsize=4)
def load(data: str, steps: int, one_frame: bool) -> Arrays:
    """Digits: five bit planes of 17 grey levels, the same at every step. Events: see above."""
    if data == "digits":
        images, planes = digits(), torch.arange(5).view(1, 5, 1, 1)
        found = {}
        for part in ("train", "test"):
            pixels = getattr(images, f"{part}_images").long()
            bits = ((pixels >> planes) & 1).float()
            found[part] = bits.expand(steps, *bits.shape), getattr(images, f"{part}_labels")
        return found
    source = load_data(DataConfig(data), 1 if one_frame else FRAMES)
    found = {}
    for part in ("train", "test"):
        x, y = (torch.from_numpy(a) for a in source.arrays(part))
        if steps == 1:  # (4, N, 2, H, W) -> (1, N, 8, H, W)
            x = x.transpose(0, 1).flatten(1, 2)[None]
        elif steps != len(x):  # two frames of each half
            x = x.unflatten(0, (steps, -1)).transpose(1, 2).flatten(2, 3)
        found[part] = x.float(), y.long()
    return found


def network(kind: str, shape: tuple[int, ...]) -> nn.Module:
    """Three convolutions and a linear readout, averaged over time."""
    neuron = KINDS[kind][0]
    widths, layers = (shape[0], 16, 32, 32), []
    halvings = (1 if shape[-1] == 8 else 2, 2, 2)  # to 2 x 2 places
    for stride, (inputs, outputs) in zip(halvings, pairwise(widths), strict=True):
        conv = pn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        layers += [conv, pn.BatchNorm2d(outputs), neuron()]
    return nn.Sequential(*layers, pn.Flatten(), pn.TimeMean(), nn.Linear(32 * 4, 10))


def trained(kind: str, data: Arrays, seed: int, epochs: int) -> nn.Module:
    """Adam with a cosine, batches of 64; the last epoch counts."""
    torch.manual_seed(seed)
    x, labels = data["train"]
    net = network(kind, tuple(x.shape[2:]))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(64):
            loss = nn.functional.cross_entropy(net(x[:, rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return net.eval()


def row(kind: str, data: str, seed: int, epochs: int) -> dict[str, float]:
    """One training, compiled and judged."""
    begun = time.process_time()
    arrays = load(data, KINDS[kind][1], "one frame" in kind)
    net = trained(kind, arrays, seed, epochs)
    samples = ps.Samples(
        arrays["test"][0].numpy().astype(np.uint8),
        arrays["test"][1].numpy(),
        calibration=arrays["train"][0][:, :128].numpy().astype(np.uint8),
    )
    report = ps.compile(net, samples, golden=8, lava="none").report
    said = report.data()
    rates = [entry["rate"] for entry in said["accuracy"]]
    print(kind, seed, rates, f"{time.process_time() - begun:.0f} s", file=sys.stderr, flush=True)
    layers = said["resources"]["layers"]
    return {
        "trained": 100 * rates[0],
        "spikes": 100 * rates[-1],
        "ac": said["census"]["chip"]["ac"],
        "neurons": sum(entry["neurons"] for entry in layers),
        "cores": said["resources"]["cores"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--data", choices=("digits", "event_digits"), default="digits")
    parser.add_argument("--kinds", default="", help="Words, any of which a name has.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = [w for w in options.kinds.split(",") if w]
    print("| activation | trained % | as spikes % | AC per sample | neurons | cores |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        if words and not any(w in kind for w in words):
            continue
        if "one frame" in kind and options.data == "digits":
            continue
        rows = [row(kind, options.data, seed, options.epochs) for seed in range(options.seeds)]
        means = [", ".join(f"{r[name]:.1f}" for r in rows) for name in ("trained", "spikes")]
        ac = np.mean([r["ac"] for r in rows])
        print(
            f"| {kind} | {means[0]} | {means[1]} | {ac:,.0f} | {rows[0]['neurons']:,} | "
            f"{rows[0]['cores']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
