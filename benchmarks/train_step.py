"""What a training step costs: ours, SpikingJelly's, snnTorch's, Norse's, and without neurons.

    python benchmarks/train_step.py [--rounds N] [--threads N] [--batch N]

Three times convolution 3x3, batch normalization, LIF (tau 2, threshold 1, ATan, hard reset) and
average pooling (32, 64, 128 channels), then a linear layer; 3 x 32 x 32, T = 4. One step is
forward, backward and SGD with momentum. All networks are timed in turns in one process, the best of
all rounds counts; peak memory is that of three steps in a process of their own, above what it had
before (Linux). 'best' is channels-last, the static image through the stem once, and bf16 autocast
where the processor has instructions for it (elsewhere bf16 is the slowest setting). All start from
the same weights: equal losses in the third step show that they compute the same. snnTorch's hard
reset comes one step late, by design, and Norse has another surrogate (SuperSpike) and does not
detach its reset, so their losses are others. The limit, snnTorch and Norse are timed with torch's
own layers. SpikingJelly has no kernel for CPUs but torch's operations.

Norse is not a dependency: ``pip download --no-deps --no-binary :all: norse``, unpack it, and put
the folder into PYTHONPATH. Its compiled extension is for other neurons than the one used here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from purespike.trainer.nn import native
from purespike.trainer.nn.layers import AvgPool2d, BatchNorm2d, Conv2d
from purespike.trainer.nn.neuron import LIF
from purespike.trainer.training.processor import multiplies_bf16

STEPS, WIDTHS, SIZE, CLASSES = 4, (3, 32, 64, 128), 32, 10
HALF = bool(multiplies_bf16())
Step = Callable[[], float]


class Net(nn.Module):
    """(B, C, H, W) to logits (B, classes), of our layers."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.once = once
        self.stages = nn.ModuleList(
            nn.ModuleList([convolution(Conv2d, c, d), BatchNorm2d(d), LIF(), AvgPool2d(2)])
            for c, d in pairwise(WIDTHS)
        )
        self.fc = classifier()

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the logits over time."""
        x = image.expand(1 if self.once else STEPS, *image.shape)
        for convolution, norm, neuron, pool in self.stages:
            current = norm(convolution(x))
            x = pool(neuron(current, STEPS if len(current) < STEPS else None))
        return self.fc(x.flatten(2)).mean(0)


class Limit(nn.Module):
    """The same of torch's own layers on (T B, C, H, W), without neurons."""

    def __init__(self, once: bool) -> None:
        super().__init__()
        self.once = once
        self.stages = nn.ModuleList(plain_stage(c, d) for c, d in pairwise(WIDTHS))
        self.fc = classifier()

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the logits over time."""
        x = image if self.once else image.repeat(STEPS, 1, 1, 1)
        for convolution, norm, pool in self.stages:
            current = norm(convolution(x))
            if len(current) < STEPS * len(image):
                current = current.repeat(STEPS, 1, 1, 1)
            x = pool(current)
        return self.fc(x.flatten(1)).unflatten(0, (STEPS, -1)).mean(0)


def convolution(kind: type[nn.Conv2d], inputs: int, outputs: int) -> nn.Conv2d:
    return kind(inputs, outputs, 3, padding=1, bias=False)


def plain_stage(inputs: int, outputs: int) -> nn.ModuleList:
    kernel = convolution(nn.Conv2d, inputs, outputs)
    return nn.ModuleList([kernel, nn.BatchNorm2d(outputs), nn.AvgPool2d(2)])


def classifier() -> nn.Linear:
    return nn.Linear(WIDTHS[-1] * (SIZE // 8) ** 2, CLASSES)


def spikingjelly(once: bool) -> nn.Module:
    from spikingjelly.activation_based import functional as sj
    from spikingjelly.activation_based import layer, neuron, surrogate

    class Jelly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for c, d in pairwise(WIDTHS):
                layers += [
                    layer.Conv2d(c, d, 3, padding=1, bias=False),
                    layer.BatchNorm2d(d),
                    neuron.LIFNode(2.0, surrogate_function=surrogate.ATan(), detach_reset=True),
                    layer.AvgPool2d(2),
                ]
            self.body = nn.Sequential(*layers)
            self.fc = layer.Linear(WIDTHS[-1] * (SIZE // 8) ** 2, CLASSES)
            sj.set_step_mode(self, "m")
            if once:
                sj.set_step_mode(self.body[:2], "s")

        def forward(self, image: Tensor) -> Tensor:
            stem = self.body[:2] if once else nn.Identity()
            x = stem(image).unsqueeze(0)
            x = x.expand(STEPS, *x.shape[1:])  # faster than written out
            logits = self.fc(self.body[2 if once else 0 :](x).flatten(2)).mean(0)
            sj.reset_net(self)
            return logits

    return Jelly()


class Loop(nn.Module):
    """Step by step, with any neuron ``(current, state) -> (spikes, state)``."""

    def __init__(
        self, once: bool, neuron: Callable[[], nn.Module], start: Callable[[], object], scale: float
    ) -> None:
        super().__init__()
        self.once, self.start, self.scale = once, start, scale
        self.stages = nn.ModuleList(plain_stage(c, d) for c, d in pairwise(WIDTHS))
        self.neurons = nn.ModuleList(neuron() for _ in WIDTHS[1:])
        self.fc = classifier()

    def current(self, stage: int, x: Tensor) -> Tensor:
        """Return what enters the neurons of a stage."""
        convolution, norm, _ = self.stages[stage]
        current: Tensor = norm(convolution(x)) * self.scale
        return current

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean of the logits over time."""
        states = [self.start() for _ in self.neurons]
        stem = self.current(0, image) if self.once else None
        logits = []
        for _ in range(STEPS):
            x = image
            for i, (_, _, pool) in enumerate(self.stages):
                current = self.current(i, x) if stem is None or i > 0 else stem
                spikes, states[i] = self.neurons[i](current, states[i])
                x = pool(spikes)
            logits.append(self.fc(x.flatten(1)))
        return torch.stack(logits).mean(0)


def snntorch(once: bool) -> nn.Module:
    import snntorch as snn
    from snntorch import surrogate

    # Leaky(0.5) with hard reset gets half the current, so that it is the same LIF.
    def neuron() -> nn.Module:
        return snn.Leaky(0.5, spike_grad=surrogate.atan(2.0), reset_mechanism="zero")

    return Loop(once, neuron, neuron().init_leaky, 0.5)


def norse(once: bool) -> nn.Module:
    from norse.torch import LIFBoxCell, LIFBoxParameters

    constants = LIFBoxParameters(tau_mem_inv=torch.tensor(500.0), v_th=torch.tensor(1.0))
    return Loop(once, lambda: LIFBoxCell(constants, dt=0.001), lambda: None, 1.0)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    build: Callable[[bool], nn.Module]
    best: bool = False
    kernel: str = "auto"
    needs: str = "torch"


ROWS = (
    Row("without neurons: the limit", Limit),
    Row("ours", Net),
    Row("ours, torch only", Net, kernel="off"),
    Row("SpikingJelly, multi-step", spikingjelly, needs="spikingjelly"),
    Row("snnTorch", snntorch, needs="snntorch"),
    Row("Norse", norse, needs="norse"),
    Row("without neurons: the limit", Limit, best=True),
    Row("ours", Net, best=True),
    Row("ours, torch only", Net, best=True, kernel="off"),
    Row("SpikingJelly, multi-step", spikingjelly, best=True, needs="spikingjelly"),
    Row("snnTorch", snntorch, best=True, needs="snntorch"),
    Row("Norse", norse, best=True, needs="norse"),
)


def training(row: Row, batch: int) -> Step:
    """Make a network and what trains it for one step and returns the loss."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, WIDTHS[0], SIZE, SIZE, generator=generator)
    labels = torch.randint(0, CLASSES, (batch,), generator=generator)
    torch.manual_seed(1)
    model = row.build(row.best).train()
    if row.best:
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        os.environ["PURESPIKE_KERNEL"] = row.kernel
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16) if row.best and HALF else nullcontext():
            logits = model(images)
        loss = functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def peak(index: int, batch: int) -> None:
    """Print the peak memory of three steps in MB; the work of a child process."""
    step = training(ROWS[index], batch)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before = resident("VmRSS")
    for _ in range(3):
        step()
    print(resident("VmHWM") - before)


def resident(what: str) -> float:
    """Read present or peak memory of this process in MB; getrusage's peak is inherited."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith(what)) * 1024 / 1e6


def child(index: int, options: argparse.Namespace) -> float:
    arguments = ["--peak", str(index), "--batch", str(options.batch)]
    command = [sys.executable, __file__, *arguments, "--threads", str(options.threads)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        peak(options.peak, options.batch)
        return
    print(
        f"kernel: {native.available() or 'built'}; {options.threads} threads, T = {STEPS}", end=""
    )
    print(f", batch {options.batch}, best of {options.rounds} rounds")
    print(f"best: channels-last, the stem once, {'bf16' if HALF else 'float32: no bf16 here'}")
    steps: dict[int, Step] = {}
    losses: dict[int, float] = {}
    for index, row in enumerate(ROWS):
        if importlib.util.find_spec(row.needs) is None:
            print(f"{row.name}: left out, not installed")
            continue
        steps[index] = training(row, options.batch)
        losses[index] = [steps[index]() for _ in range(3)][-1]
    cpu = dict.fromkeys(steps, float("inf"))
    wall = dict.fromkeys(steps, float("inf"))
    for _ in range(options.rounds):
        for index, step in steps.items():
            wall_before, cpu_before = time.perf_counter(), time.process_time()
            step()
            cpu[index] = min(cpu[index], time.process_time() - cpu_before)
            wall[index] = min(wall[index], time.perf_counter() - wall_before)
    print(
        f"{'':30s}{'settings':10s}{'CPU ms':>8s}{'x limit':>9s}{'wall ms':>9s}{'x limit':>9s}"
        f"{'peak':>11s}{'loss':>12s}"
    )
    limit = 0
    for index in steps:
        row = ROWS[index]
        if row.build is Limit:
            limit = index
        print(
            f"{row.name:30s}{'best' if row.best else 'float32':10s}{1e3 * cpu[index]:8.1f}"
            f"{cpu[index] / cpu[limit]:9.2f}{1e3 * wall[index]:9.1f}"
            f"{wall[index] / wall[limit]:9.2f}{child(index, options):8.0f} MB"
            f"{losses[index]:12.6f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
