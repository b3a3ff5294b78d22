"""How fast exact simulation is: the cpu executor beside other executors and simulators.

    python benchmarks/simulate.py [--rounds N] [--lava] [NET:SIZE:BATCH[:RATE] ...]

Untrained networks of published shapes (benchmarks/lava_scale.py), random inputs at a rate of 20 %
or at the one that is named; those of `digits` are scikit-learn's images unless one is. All take
turns in one process on one thread; processor time (user and system) per image, medians. Before
anything is timed, every spike is compared with the interpreter's. `--lava` adds Lava's CPU backend,
fast and with its own convolution, after half of the rounds (benchmarks/simulation_lava.py). Two
threads: how long they take by the clock (other programs disturb it), and how much more work they
do, which nothing else disturbs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lava_scale
import numpy as np
from simulation_lava import streaming
from simulation_peers import bare_convolutions, float_simulator
from sklearn.datasets import load_digits

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.native import level
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.run import run_onnx

CASES = ("resnet20:32:1", "resnet20:32:32", "vgg16:32:1", "vgg16:32:8", "7b:64:1", "digits:8:32",
         *(f"nmnist:34:8:{rate}" for rate in (0.02, 0.1, 0.3)))  # fmt: skip
RATE = 0.2
BARE_RATE = 0.14  # of the inputs of the bare convolutions, whose time does not depend on it
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TWO = "two threads"


def processor() -> str:
    """What this machine calls itself."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), "")
    return f"{name or platform.machine()}, {level() or 'no vector extensions'}"


def inputs(name: str, graph: Graph, samples: int, rate: str) -> np.ndarray:
    """Spikes (T, B, C, H, W)."""
    shape = (graph.steps, samples, *graph.inputs[0].shape)
    if name == "digits" and not rate:  # the bit planes of 17 levels of grey
        grey = load_digits().images[:samples].astype(np.uint8)[None, :, None]
        return np.broadcast_to(grey >> np.arange(5)[:, None, None] & 1, shape).astype(np.uint8)
    random = np.random.default_rng(1).random(shape, dtype=np.float32)
    return (random < float(rate or RATE)).astype(np.uint8)


def compare(case: str, rounds: int, lava: bool) -> None:
    """Check one network, time everything on it, print a line for each."""
    name, size, batch, *rate = case.split(":")
    graph, _ = lava_scale.compiled(lava_scale.NETWORKS[name], int(size))
    samples = int(batch)
    x = inputs(name, graph, samples, *rate or [""])
    made = plan(graph)
    one, two = (Program(made, samples, threads=n) for n in (1, 2))
    firing = [n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]
    expected = run(graph, x, record=firing, lean=True)
    for program in (one, two):
        program.run([x])
        for n in firing:
            want = expected.values[n]
            if not np.array_equal(program.spikes(n).reshape(want.shape), want):
                raise SystemExit(f"{case}: spikes of {n} differ from the interpreter's")
    rates = [float(expected.values[n].mean()) for n in firing]
    model = step_model(graph)
    bare = bare_convolutions(graph, samples, BARE_RATE)
    actions: dict[str, Callable[[], object]] = {
        "cpu executor": lambda: one.run([x]),
        TWO: lambda: two.run([x]),
        "interpreter": lambda: run(graph, x, record=graph.outputs, lean=True),
        "ONNX Runtime": lambda: run_onnx(model, graph, x),
        **{
            f"{k}, float": float_simulator(k, graph, x)
            for k in ("SpikingJelly", "snnTorch", "Norse")
        },
        "bare float32 convolutions": bare[0],
        "bare int8 convolutions": bare[1],
    }
    work: dict[str, list[float]] = {n: [] for n in actions}
    clock: dict[str, list[float]] = {n: [] for n in actions}
    streamed: dict[str, float] = {}
    for k in range(rounds):
        if lava and k == rounds // 2:
            streamed = streaming(graph, x)
        for what, action in actions.items():
            for _ in range(8 if what in ("cpu executor", TWO) else 1):  # the short ones more often
                start, used = time.perf_counter(), time.process_time()
                action()
                work[what].append(time.process_time() - used)
                clock[what].append(time.perf_counter() - start)
    own = float(np.median(work["cpu executor"]))
    print(
        f"\n{case}: {graph.steps} steps, {samples} samples, inputs firing {x.mean():.1%}, "
        f"layers {min(rates):.1%} to {max(rates):.1%} (median {np.median(rates):.1%})"
    )
    seconds = {n: float(np.median(t)) / samples for n, t in work.items()} | streamed
    for what, took in seconds.items():
        print(f"  {what:28s}{1e3 * took:10.3f} ms an image {took * samples / own:9.1f}x")
    one_s, two_s = min(clock["cpu executor"]), min(clock[TWO])
    print(f"  two threads by the clock: {one_s / two_s:.2f}x, best of all runs", flush=True)


def main() -> None:
    if "OMP_NUM_THREADS" not in os.environ:  # read when numpy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lava", action="store_true", help="minutes more for each network")
    parser.add_argument("cases", nargs="*", default=CASES)
    options = parser.parse_args()
    print(f"{processor()}; {platform.platform()}")
    for case in options.cases:
        compare(case, options.rounds, options.lava)


if __name__ == "__main__":
    main()
