"""How the cpu executor's time grows, and what a large test set would cost.

    python benchmarks/simulation_growth.py [--rounds N]

Chains of convolutions (3 x 3) and networks of published shapes, every layer's inputs filled with
random spikes of one rate: so that a rate can be set at all, and does not change with depth. One
thread; processor time, medians.

The cost model is the one that chooses the kernels (kernels/kernels.cpp), cycles of a neuron and a
step, times one factor that is fitted on the chains. It is checked on networks that were not fitted,
and extrapolated to ImageNet's validation set: no node but this one was measured.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import time

import lava_scale
import numpy as np
from simulate import ONE_THREAD, processor

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Gate, MaxPool2d, Neuron
from purespike.targets.cpu.library import LayerRecord, NetworkRecord
from purespike.targets.cpu.lookups import looked_up
from purespike.targets.cpu.plan import Layer
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program

BASE = {"depth": 4, "width": 32, "size": 16, "steps": 4, "samples": 8}
VARIED = {
    "depth": (2, 4, 8), "width": (16, 32, 64, 128), "size": (8, 16, 32),
    "steps": (4, 8, 16), "samples": (1, 4, 16),
}  # fmt: skip
RATES = (0.02, 0.1, 0.3)
IMAGES, NODES, CORES = 50_000, 100, 2  # of ImageNet's validation set; of a cluster like this


class Shape:
    """A network of convolutions, thresholds and gates under construction."""

    def __init__(self, channels: int, size: int) -> None:
        self.input = Edge("x", (channels, size, size), SPIKE)
        self.nodes: list[tuple[str, Op, tuple[str, ...]]] = []
        self.rng = np.random.default_rng(0)

    def add(self, op: Op, *reads: str) -> str:
        """Append a node; its name."""
        name = f"n{len(self.nodes)}"
        self.nodes.append((name, op, reads))
        return name

    def unit(self, source: str, ins: int, outs: int, kernel: int = 3, stride: int = 1) -> str:
        """A convolution and its neurons."""
        weight = self.rng.integers(-127, 128, (outs, ins, kernel, kernel)).astype(float)
        half = (kernel // 2, kernel // 2)
        current = self.add(Conv2d(weight, None, (stride, stride), half), source)
        return self.add(Neuron(np.array(1000.0), fixed=FixedPoint()), current)

    def graph(self, last: str, steps: int) -> Graph:
        """The finished network."""
        return build((self.input,), self.nodes, (last,), steps)


def chain(depth: int, width: int, size: int, steps: int) -> Graph:
    shape = Shape(width, size)
    last = "x"
    for _ in range(depth):
        last = shape.unit(last, width, width)
    return shape.graph(last, steps)


def resnet18(size: int, steps: int) -> Graph:
    """The spiking layers of a ResNet-18 whose joins are OR gates, without its classifier."""
    shape = Shape(3, size)
    last = shape.add(MaxPool2d((3, 3), (2, 2), (1, 1)), shape.unit("x", 3, 64, 7, 2))
    ins = 64
    for outs in (64, 128, 256, 512):
        for _ in range(2):
            stride = 2 if outs > ins else 1
            deep = shape.unit(shape.unit(last, ins, outs, 3, stride), outs, outs)
            near = shape.unit(last, ins, outs, 1, stride) if stride == 2 else last
            last, ins = shape.add(Gate("or"), deep, near), outs
    return shape.graph(last, steps)


def seconds_at(graph: Graph, samples: int, rate: float, rounds: int) -> float:
    """Processor time of all layers, each with inputs of random spikes."""
    program = Program(plan(graph), samples, threads=1)
    rng = np.random.default_rng(0)
    for b, bits in zip(program.plan.buffers, program.bits, strict=True):
        p, (c, h, w) = b.border, b.place
        for t in range(len(bits)):
            on = rng.random((samples, h, w, c), dtype=np.float32) < rate
            bits[t, :, p : p + h, p : p + w] = np.packbits(on, axis=-1, bitorder="little")
    took: list[float] = []
    first, size = ctypes.addressof(program._layers), ctypes.sizeof(LayerRecord)
    kept = [bits.copy() for bits in program.bits]
    for _ in range(rounds + 1):
        total = 0.0
        for k, layer in enumerate(program.plan.layers):
            one = NetworkRecord.from_buffer_copy(program._network)
            one.layers, one.count = first + k * size, 1
            start = time.process_time()
            program._library.run(ctypes.byref(one))
            total += time.process_time() - start
            if layer.out >= 0:  # the next layer hears what was drawn
                program.bits[layer.out][...] = kept[layer.out]
        took.append(total)
    return float(np.median(took[1:]))


def cycles(graph: Graph, samples: int, rate: float) -> float:
    """What the model says, before its factor."""
    return sum(
        _cycles(x, samples, rate) * graph.steps * samples * x.place[1] * x.place[2]
        for x in plan(graph).layers
        if x.task == "neurons"
    )


def _cycles(layer: Layer, samples: int, rate: float) -> float:
    """Of a neuron and a step: lookups, or lists and tables, as worth_lookups() in kernels.cpp."""
    outs, height, width = layer.place
    places = samples * height * width
    full = places / (32 * -(-places // 32))
    each = 1.4 if places > 64 else 1.9 if places > 32 else 3.2
    tile = next((n for n in (64, 32) if outs >= n), 16)
    tiles = -(-outs // tile)
    look, others = 6 + 0.3 * outs, 0.0
    for arm in layer.arms:
        channels, (kh, kw) = arm.weight.shape[1], arm.kernel
        left = channels - (channels - 1) // 16 * 16
        parts = 3 * ((channels - 1) // 16) + (3 if left > 10 else 2 if left > 5 else 1)
        look += kh * kw * parts * outs / 32 * each / full
        whole = -(-channels // 8)
        if arm.kind == "events":
            heard = kh * kw * channels * rate
            each_row = 2.1 if kh * kw * channels > 1000 else 1.5  # more than a cache holds
            others += 4.5 * kh * whole + tiles * (90 + each_row * heard)
        else:
            others += 12 + kh * kw * (2 * whole if channels > 4 else 1) * tiles * tile / 18
    return min(look, others) if looked_up(layer) else others


def main() -> None:
    if "OMP_NUM_THREADS" not in os.environ:  # read when numpy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(processor())
    points: list[tuple[float, float]] = []  # measured, modelled

    def measured(rate: float = 0.1, **varied: int) -> float:
        of = {**BASE, **varied}
        samples = of.pop("samples")
        graph = chain(**of)
        took = seconds_at(graph, samples, rate, rounds)
        points.append((took, cycles(graph, samples, rate)))
        return took

    print("\nchains: time grows with")
    for what, values in VARIED.items():
        took = [measured(**{what: v}) for v in values]
        power = np.polyfit(np.log(values), np.log(took), 1)[0]
        row = ", ".join(f"{v}: {1e3 * t:.2f} ms" for v, t in zip(values, took, strict=True))
        print(f"  {what:8s} ^ {power:.2f}   ({row})", flush=True)
    for width in (32, 128):
        took = [measured(rate, width=width) for rate in RATES]
        power = np.polyfit(np.log(RATES), np.log(took), 1)[0]
        row = ", ".join(f"{r:.0%}: {1e3 * t:.2f} ms" for r, t in zip(RATES, took, strict=True))
        print(f"  rate     ^ {power:.2f}   ({row}; width {width})", flush=True)

    found, said = (np.array(x) for x in zip(*points, strict=True))
    factor = float(np.exp(np.mean(np.log(found / said))))
    off = np.abs(np.log(found / said / factor))
    print(f"\nmodel: {1e-9 / factor:.2f} GHz; chains off by {np.exp(off.mean()) - 1:.0%} "
          f"on average, {np.exp(off.max()) - 1:.0%} at most")  # fmt: skip
    networks = [(f"{n}:{s}", lava_scale.compiled(lava_scale.NETWORKS[n], s)[0], b)
                for n, s, b in (("resnet20", 32, 32), ("vgg16", 32, 8), ("7b", 64, 1))]  # fmt: skip
    large = resnet18(224, 4)
    print("networks that were not fitted, ms an image: measured, modelled")
    for name, graph, samples in [*networks, ("ResNet-18:224", large, 1)]:
        for rate in RATES:
            took = seconds_at(graph, samples, rate, rounds) / samples
            model = factor * cycles(graph, samples, rate) / samples
            print(f"  {name:14s}{rate:5.0%}{1e3 * took:10.3f}{1e3 * model:10.3f}"
                  f"{model / took - 1:8.0%}", flush=True)  # fmt: skip
    for rate in RATES:
        each = factor * cycles(large, 1, rate)
        print(f"ImageNet, {IMAGES} images, ResNet-18 with T = 4, firing {rate:.0%}: "
              f"{IMAGES * each / 60:.0f} min on one core, {IMAGES * each / NODES / CORES:.1f} s on "
              f"{NODES} nodes of {CORES} cores")  # fmt: skip


if __name__ == "__main__":
    main()
