"""What networks of published size cost on Lava's CPU backend, and whether they run exactly.

    python benchmarks/lava_scale.py [--networks NAME ...] [--stock-steps N] [--size N]

Untrained networks of the published shapes, batch norm calibrated on random spikes, quantized to 8
bits, the classifier to fewer where its integrators could reach the highest threshold.

One sample of T steps runs with fast convolution, through to the deepest layer, and each layer is
compared with the interpreter. Lava's own convolution runs for the first few steps only, since its
cost does not depend on what it receives; those steps are compared with the fast run. Start is the
time to build, connect, start and stop all processes; memory is the largest sum of their
proportional set sizes that was seen.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch
from torch import nn

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.quantize.quantize import choose_scales, quantize
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.targets.lava.lower.emit import NEVER, emit, from_lava
from purespike.targets.lava.lower.schedule import incoming, schedule
from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Program
from purespike.targets.lava.run.guard import Result, run_guarded
from purespike.targets.lava.worker import session
from purespike.trainer.capture.trace import capture
from purespike.trainer.networks.blocks import ResidualBlock
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.layers import BatchNorm2d, Flatten, MaxPool2d, TimeMean

SPREAD = 0.7  # of a batch norm's output: what makes layers fire at 5 to 30 %
SECONDS = 3600.0


class Blocks(nn.Sequential):
    """Residual blocks (without auxiliary path) between other layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, classes) of spikes (T, B, C, H, W)."""
        for layer in self:
            x = layer(x)[0] if isinstance(layer, ResidualBlock) else layer(x)
        return x


def head(features: int, classes: int) -> list[nn.Module]:
    return [Flatten(), TimeMean(), nn.Linear(features, classes)]


def resnet20(size: int) -> nn.Module:
    widths, strides = [16] * 3 + [32] * 3 + [64] * 3, [1, 1, 1, 2, 1, 1, 2, 1, 1]
    return build(
        ModelConfig(
            3, 10, 4, (size, size), 16, tuple(widths), tuple(strides), aap=False, shortcut=False
        ),
        seed=0,
    )


def vgg16(size: int) -> nn.Module:
    plan = [3, 64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
    layers: list[nn.Module] = []
    channels = 3
    for width in plan[1:]:
        layers.append(SpikingUnit(channels, width, NeuronConfig()) if width else MaxPool2d(2))
        channels = width or channels
    return Blocks(*layers, *head(512 * (size // 32) ** 2, 10))


def sevenb(size: int) -> nn.Module:
    layers: list[nn.Module] = [SpikingUnit(2, 32, NeuronConfig())]
    while size > 1:
        layers += [ResidualBlock(32, 32, 1, "or", NeuronConfig(), aap=False), MaxPool2d(2)]
        size //= 2
    return Blocks(*layers, *head(32, 11))


def digits(size: int) -> nn.Module:
    """What remains of the demo's network (recipes/digits.toml)."""
    widths, strides = (16, 32, 32), (1, 2, 1)
    return build(
        ModelConfig(5, 10, 4, (size, size), 16, widths, strides, aap=False, shortcut=False), seed=0
    )


def nmnist(size: int) -> nn.Module:
    """As the CNN of the NIR paper, with max pooling and a readout of sums."""
    neuron, dense = NeuronConfig(), nn.Linear(8 * (size // 8) ** 2, 256, bias=False)
    nn.init.normal_(dense.weight, std=2 / dense.in_features**0.5)
    layers = [
        SpikingUnit(2, 16, neuron, kernel=5, stride=2), SpikingUnit(16, 16, neuron), MaxPool2d(2),
        SpikingUnit(16, 8, neuron), MaxPool2d(2), Flatten(), dense, neuron.build(),
    ]  # fmt: skip
    return Blocks(*layers, TimeMean(), nn.Linear(256, 10))


@dataclass(frozen=True)
class Network:
    """A published shape."""

    title: str
    make: object
    channels: int
    size: int
    steps: int  # T as published


NETWORKS = {
    "resnet20": Network("ResNet-20, CIFAR, OR gates", resnet20, 3, 32, 4),
    "vgg16": Network("VGG-16, CIFAR, max pooling", vgg16, 3, 32, 4),
    "digits": Network("the demo's, digits, OR gates", digits, 5, 8, 4),
    "nmnist": Network("CNN, N-MNIST, max pooling", nmnist, 2, 34, 300),
    "7b": Network("7B-Net, DVS Gesture, OR gates", sevenb, 2, 128, 16),
}


def compiled(network: Network, size: int) -> tuple[Graph, np.ndarray]:
    """The integer graph, and one sample of random spikes (T, 1, C, H, W) at 20 %."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = network.make(size)  # type: ignore[operator]
    shape = (network.channels, size, size)
    rng = np.random.default_rng(0)
    x = (rng.random((network.steps, 1, *shape)) < 0.2).astype(np.uint8)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            nn.init.constant_(module.weight, SPREAD)
            module.momentum = 1.0  # take over the statistics of the one batch
    with torch.no_grad():
        model.train()(torch.from_numpy(x.astype(np.float32)))
    captured = capture(model.eval(), shape, network.steps).graph
    graph = compile_graph(captured, standard_pipeline().network, x.astype(np.float64)).graph
    scales = choose_scales(graph)
    (readout,) = (n for n in graph.nodes if isinstance(n.op, Neuron) and not n.op.fires)
    while True:  # until no input can lift the integrators of the readout to the highest threshold
        integers = quantize(graph, scales=scales)
        bounds = bound_neurons(integers, current_limit=NEVER)[readout.name]
        if bounds.membrane[1] <= NEVER:
            return integers, x
        for node in (readout, *incoming(graph, readout)):
            scales[node.name] /= 2


class Memory(Thread):
    """Watches the proportional set size of all Lava processes that this process has started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.done = 0, Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self.done.wait(0.5):
            runs = [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if child(p)]
            self.peak = max(self.peak, sum(_pss(p) for r in runs for p in session.members(r)))


def child(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return int(fields[1]) == os.getpid() and int(fields[3]) == pid


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def measured(program: Program, folder: Path) -> tuple[Result, int]:
    write(program, folder)
    memory = Memory()
    memory.start()
    try:
        result = run_guarded(folder, timeout=SECONDS, stall=SECONDS, keep=folder)
    finally:
        memory.done.set()
        memory.join()
    return result, memory.peak


def line(name: str, size: int | None, stock_steps: int) -> None:
    network = NETWORKS[name]
    size = size or network.size
    start = time.perf_counter()
    graph, x = compiled(network, size)
    plan = schedule(graph)
    program = emit(graph, plan, x)
    print(
        f"{network.title}, {size}x{size}, T = {network.steps}: compiled in "
        f"{time.perf_counter() - start:.0f} s, {len(program.processes)} processes of the network, "
        f"depth {plan.latency}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        fast, peak = measured(program, Path(a))
        found = {
            n: from_lava(v, network.steps, 1, plan.depth[n])
            for r in (fast.spikes, fast.membranes)
            for n, v in r.items()
        }
        trace = run(graph, x, record=list(found))
        wrong = sum(
            int((found[n] != (trace.values if n in fast.spikes else trace.membranes)[n]).sum())
            for n in found
        )
        # Gates and pools are neurons too: they fire as often as what they join.
        rates = [float(found[n].mean()) for n in fast.spikes if _integrates(graph, n)]
        neurons = sum(int(v[0].size) for v in fast.spikes.values())
        print(
            f"  neurons {neurons:,}, firing {100 * min(rates):.0f} to {100 * max(rates):.0f} % "
            f"(median {100 * float(np.median(rates)):.0f} %)"
        )
        _row("fast", fast, program.steps, peak, wrong, sum(v.size for v in found.values()))
        if stock_steps:
            few = replace(program, steps=min(stock_steps, program.steps), conv="stock")
            few = replace(few, processes=tuple(cut(p, few.steps) for p in few.processes))
            stock, peak = measured(few, Path(b))
            pairs = [
                (v, r[n][: few.steps])
                for s, r in ((stock.spikes, fast.spikes), (stock.membranes, fast.membranes))
                for n, v in s.items()
            ]
            wrong = sum(int((u != v).sum()) for u, v in pairs)
            _row("stock", stock, few.steps, peak, wrong, sum(u.size for u, _ in pairs))


def cut(process: object, steps: int) -> object:
    spikes = getattr(process, "spikes", None)
    return process if spikes is None else replace(process, spikes=spikes[:steps])  # type: ignore[type-var]


def _integrates(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    return node is not None and isinstance(node.op, Neuron) and node.op.decay > 0


def _row(models: str, r: Result, steps: int, peak: int, wrong: int, values: int) -> None:
    print(
        f"  {models:6s}{r.processes:4d} processes{r.total_seconds - r.seconds:7.1f} s start"
        f"{1000 * r.seconds / steps:10.1f} ms per step, {steps:3d} steps{peak / 2**20:8.0f} MiB, "
        f"{wrong} of {values:,} values differ",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS, "all"], default=["resnet20"])
    parser.add_argument("--stock-steps", type=int, default=3, help="0 leaves it out")
    parser.add_argument(
        "--size", type=int, help="height and width of the input, if not as published"
    )
    options = parser.parse_args()
    names = list(NETWORKS) if "all" in options.networks else options.networks
    for name in names:
        line(name, options.size, options.stock_steps)


if __name__ == "__main__":
    main()
