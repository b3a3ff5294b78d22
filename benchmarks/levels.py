"""Counts against binary spikes on handwritten digits: accuracy, accumulations, neurons, cores.

One network, trained with integrate-and-fire neurons over four steps, with level activations of D
levels in one step, and with I-LIF; each compiled to 8-bit integers and judged on 360 test images.
``python benchmarks/levels.py [--seeds 3] [--epochs 30] [--kinds D=3,IF]`` prints a table.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

import purespike as ps
from purespike import nn as pn
from purespike.trainer.data.digits import digits

KINDS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "IF, T = 4": (pn.IF, 4),
    **{
        f"levels D = {d}, T = 1": ((lambda d=d: pn.LevelActivation(d)), 1) for d in (1, 3, 4, 7, 15)
    },
    "I-LIF D = 4, decay 1, T = 2": (lambda: pn.ILIF(4, decay=1.0), 2),
}


def network(kind: str) -> nn.Module:
    """Three convolutions and a linear readout, averaged over time."""
    neuron = KINDS[kind][0]
    widths, layers = (5, 16, 32, 32), []
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        conv = pn.Conv2d(inputs, outputs, 3, stride=1 + (k > 0), padding=1, bias=False)
        layers += [conv, pn.BatchNorm2d(outputs), neuron()]
    return nn.Sequential(*layers, pn.Flatten(), pn.TimeMean(), nn.Linear(32 * 4, 10))


def spikes(images: Tensor, steps: int) -> Tensor:
    """The five bit planes of 17 grey levels, the same at every step: (T, B, 5, 8, 8)."""
    planes = torch.arange(5).view(1, 5, 1, 1)
    bits = ((images.long() >> planes) & 1).float()
    return bits.expand(steps, *bits.shape)


def trained(kind: str, seed: int, epochs: int) -> nn.Module:
    """Adam with a cosine, batches of 64; the last epoch counts."""
    torch.manual_seed(seed)
    net, data, steps = network(kind), digits(), KINDS[kind][1]
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.train_labels)).split(64):
            logits = net(spikes(data.train_images[rows], steps))
            loss = nn.functional.cross_entropy(logits, data.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return net.eval()


def row(kind: str, seed: int, epochs: int) -> dict[str, float]:
    """One training, compiled and judged."""
    begun = time.process_time()
    net, data, steps = trained(kind, seed, epochs), digits(), KINDS[kind][1]
    samples = ps.Samples(
        spikes(data.test_images, steps).numpy().astype(np.uint8),
        data.test_labels.numpy(),
        calibration=spikes(data.train_images[:128], steps).numpy().astype(np.uint8),
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
    parser.add_argument("--kinds", default="", help="Words, any of which a name has.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = [w for w in options.kinds.split(",") if w]
    print("| activation | trained % | as spikes % | AC per sample | neurons | cores |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        if words and not any(w in kind for w in words):
            continue
        rows = [row(kind, seed, options.epochs) for seed in range(options.seeds)]
        means = [", ".join(f"{r[name]:.1f}" for r in rows) for name in ("trained", "spikes")]
        ac = np.mean([r["ac"] for r in rows])
        print(
            f"| {kind} | {means[0]} | {means[1]} | {ac:,.0f} | {rows[0]['neurons']:,} | "
            f"{rows[0]['cores']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
