"""What a training step of deep networks costs: ours, SpikingJelly's, and without neurons.

    python benchmarks/train_deep.py [--networks resnet20 mnist34] [--rounds N] [--batch N]

``resnet20`` has 16, 32 and 64 channels on 32 x 32, T = 4, ``mnist34`` is the 34-layer network of
evidence.py on 28 x 28, T = 2. Joins are OR, neurons IF with hard reset and ATan; inputs are the bit
planes of random images. One step is forward, backward and SGD with momentum, on one thread. All
are timed in turns in one process, the median of all rounds counts, after ``--warm`` steps of
training; peak memory is that of three steps in a process of their own, above what it had before.
The limit is the same network of torch's own layers without neurons, joined by sums. All that spike
start from the same weights: equal losses in the third step show that they compute the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from statistics import median

import torch
from evidence_cells import NETWORKS as EVIDENCE
from torch import Tensor, nn
from torch.nn import functional
from train_step import resident

from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn.spiking import spike_kernels

STAGES = (16,) * 3 + (32,) * 3 + (64,) * 3
MNIST = EVIDENCE["34"]
# name: network, batch
NETWORKS: dict[str, tuple[ModelConfig, int]] = {
    "resnet20": (
        ModelConfig(
            in_channels=15, size=(32, 32), steps=4, stem=16, widths=STAGES,
            strides=(1, 1, 1, 2, 1, 1, 2, 1, 1), gate="or", classes=10,
            aap=False, shortcut=False,
        ),
        32,
    ),
    "mnist34": (
        ModelConfig(
            in_channels=8, size=(28, 28), steps=2, stem=8, widths=MNIST.widths,
            strides=MNIST.strides, gate="or", classes=10,
            aap=False, shortcut=False,
        ),
        50,
    ),
}  # fmt: skip
Step = Callable[[], float]


class Plain(nn.Module):
    """The same of torch's own layers on (T B, C, H, W), without neurons."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.steps = config.steps
        self.stem = unit(config.in_channels, config.stem, 3, 1)
        inputs = (config.stem, *config.widths[:-1])
        self.blocks = nn.ModuleList()
        for c, d, stride in zip(inputs, config.widths, config.strides, strict=True):
            same = c == d and stride == 1
            join = nn.Identity() if same else unit(c, d, 1, stride)
            self.blocks.append(nn.ModuleList([unit(c, d, 3, stride), unit(d, d, 3, 1), join]))
        self.fc = nn.Linear(config.widths[-1], config.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the logits over time; x is (T, B, C, H, W), one image at each T."""
        x = self.stem(x[0]).repeat(self.steps, 1, 1, 1)
        for first, second, join in self.blocks:
            x = second(first(x)) + join(x)
        return self.fc(x.mean((2, 3)).unflatten(0, (self.steps, -1)).mean(0))


def unit(c: int, d: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(c, d, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(d))


class Jelly(nn.Module):
    """The same in SpikingJelly, multi-step."""

    def __init__(self, config: ModelConfig) -> None:
        from spikingjelly.activation_based import functional as sj

        super().__init__()
        self.steps, self.forget = config.steps, sj.reset_net
        self.stem = jelly_unit(config.in_channels, config.stem, 3, 1)
        inputs = (config.stem, *config.widths[:-1])
        self.blocks = nn.ModuleList()
        for c, d, stride in zip(inputs, config.widths, config.strides, strict=True):
            same = c == d and stride == 1
            join = nn.Identity() if same else jelly_unit(c, d, 1, stride)
            residual = nn.Sequential(jelly_unit(c, d, 3, stride), jelly_unit(d, d, 3, 1))
            self.blocks.append(nn.ModuleList([residual, join]))
        self.fc = nn.Linear(config.widths[-1], config.classes)
        sj.set_step_mode(self, "m")
        sj.set_step_mode(self.stem[:2], "s")

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the logits over time; x is (T, B, C, H, W), one image at each T."""
        current = self.stem[:2](x[0])
        s = self.stem[2](current.unsqueeze(0).expand(self.steps, *current.shape))
        for residual, join in self.blocks:
            a, b = residual(s), join(s)
            s = a + b - a * b
        self.forget(self)
        return self.fc(s.mean((3, 4)).mean(0))


def jelly_unit(c: int, d: int, kernel: int, stride: int) -> nn.Sequential:
    from spikingjelly.activation_based import layer, neuron, surrogate

    return nn.Sequential(
        layer.Conv2d(c, d, kernel, stride=stride, padding=kernel // 2, bias=False),
        layer.BatchNorm2d(d),
        neuron.IFNode(1.0, surrogate_function=surrogate.ATan(), detach_reset=True),
    )


def ours(config: ModelConfig) -> nn.Module:
    return build(config, 0)


def added(config: ModelConfig) -> nn.Module:
    model = build(config, 0)
    model.on = ExitStack()  # for as long as the model lives
    model.kernels = model.on.enter_context(spike_kernels(model))
    return model


def jelly(config: ModelConfig) -> nn.Module:
    model = Jelly(config)
    weights = [p for m in build(config, 0).modules() for p in m.parameters(recurse=False)]
    with torch.no_grad():
        for to, weight in zip(model.parameters(), weights, strict=True):
            to.copy_(weight)
    return model


# name: how it is built, and whether channels lie last and matrix products are in bfloat16.
ROWS: dict[str, tuple[Callable[[ModelConfig], nn.Module], bool, bool]] = {
    "without neurons": (Plain, False, False),
    "without neurons, channels-last": (Plain, True, False),
    "ours": (ours, False, False),
    "ours, channels-last": (ours, True, False),
    "ours, spike kernels": (added, True, False),
    "SpikingJelly": (jelly, False, False),
    "SpikingJelly, channels-last": (jelly, True, False),
    "without neurons, channels-last, bf16": (Plain, True, True),
    "ours, channels-last, bf16": (ours, True, True),
    "ours, spike kernels, bf16": (added, True, True),
    "SpikingJelly, channels-last, bf16": (jelly, True, True),
}


def training(network: str, row: str, batch: int) -> tuple[nn.Module, Step]:
    """Make a network and what trains it for one step and returns the loss."""
    config, _ = NETWORKS[network]
    make, last, half = ROWS[row]
    generator = torch.Generator().manual_seed(0)
    grey = torch.rand(batch, 1, *config.size, generator=generator)
    grey = functional.avg_pool2d(grey, 5, 1, 2)  # neighbouring pixels are alike
    grey = (grey - grey.amin()) / (grey.amax() - grey.amin())
    levels = torch.arange(1, config.in_channels + 1) / (config.in_channels + 1)
    x = (grey >= levels[:, None, None]).float()
    labels = torch.randint(0, config.classes, (batch,), generator=generator)
    torch.manual_seed(1)
    model = make(config).train()
    if last:
        model, x = (
            model.to(memory_format=torch.channels_last),
            x.contiguous(memory_format=torch.channels_last),
        )
    x = x.expand(config.steps, *x.shape)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            logits = model(x)
        logits = logits["main"] if isinstance(logits, dict) else logits
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def peak(network: str, row: str, batch: int) -> None:
    """Print the peak memory of three steps in MB; the work of a child process."""
    _, step = training(network, row, batch)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = resident("VmRSS")
    for _ in range(3):
        step()
    print(resident("VmHWM") - before)


def compare(network: str, options: argparse.Namespace) -> None:
    batch = options.batch or NETWORKS[network][1]
    rows = [row for row in ROWS if options.half or not ROWS[row][2]]
    built = {row: training(network, row, batch) for row in rows}
    losses = {row: [step() for _ in range(3)][-1] for row, (_, step) in built.items()}
    for _, step in built.values():
        for _ in range(options.warm):
            step()
    cpu: dict[str, list[float]] = {row: [] for row in rows}
    for _ in range(options.rounds):
        for row, (_, step) in built.items():
            before = time.process_time()
            step()
            cpu[row].append(1e3 * (time.process_time() - before))
    print(f"\n{network}, batch {batch}, T = {NETWORKS[network][0].steps}, {options.rounds} rounds")
    print(f"{'':38s}{'CPU ms':>8s}{'least':>8s}{'peak MB':>9s}{'loss':>10s}")
    for row in rows:
        command = [sys.executable, __file__, "--networks", network, "--batch", str(batch)]
        made = subprocess.run([*command, "--peak", row], capture_output=True, text=True, check=True)
        print(
            f"{row:38s}{median(cpu[row]):8.1f}{min(cpu[row]):8.1f}{float(made.stdout):9.0f}"
            f"{losses[row]:10.6f}",
            flush=True,
        )
    kernels = built["ours, spike kernels"][0].kernels
    print(kernels)
    print("rates:", ", ".join(f"{choice.rate:.2f}" for choice in kernels.choices.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, help="default: 32, 50")
    parser.add_argument("--warm", type=int, default=0, help="steps of training before the rounds")
    parser.add_argument("--half", action="store_true", help="bfloat16, too")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for network in options.networks:
        if options.peak:
            peak(network, options.peak, options.batch)
        else:
            compare(network, options)


if __name__ == "__main__":
    main()
