"""How fast exact simulation is: the cpu executor beside the interpreter and ONNX Runtime.

``python benchmarks/simulate.py [NET:SIZE:BATCH ...]`` with networks of benchmarks/lava_scale.py
(untrained, random inputs at a rate of 0.2). All take turns in one process on one thread; processor
time (user and system) per image, medians. Before anything is timed, every spike is compared with
the interpreter's.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable

import lava_scale
import numpy as np

from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.native import level
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.run import run_onnx

CASES = ("resnet20:32:1", "resnet20:32:32", "vgg16:32:1", "vgg16:32:8", "7b:64:1")
ROUNDS = 5
RATE = 0.2


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    if "OMP_NUM_THREADS" not in os.environ:  # read when numpy is loaded
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})
    print(f"{platform.machine()}, {level() or 'no vector extensions'}, {platform.platform()}")
    names = ["cpu", "cpu, 2 threads (wall)", "interpreter", "ONNX Runtime"]
    print(f"{'network':18s}" + "".join(f"{n:>24s}" for n in names) + f"{'cpu / interpreter':>20s}")
    for case in sys.argv[1:] or CASES:
        name, size, batch = case.split(":")
        graph, _ = lava_scale.compiled(lava_scale.NETWORKS[name], int(size))
        samples = int(batch)
        shape = (graph.steps, samples, *graph.inputs[0].shape)
        x = (np.random.default_rng(1).random(shape) < RATE).astype(np.uint8)
        made = plan(graph)
        program, two = Program(made, samples, threads=1), Program(made, samples, threads=2)
        firing = [n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]
        expected = run(graph, x, record=firing, lean=True)
        program.run([x])
        wrong = sum(
            int((program.spikes(n).reshape(expected.values[n].shape) != expected.values[n]).sum())
            for n in firing
        )
        if wrong:
            raise SystemExit(f"{case}: {wrong} spikes differ from the interpreter's")
        model = step_model(graph)
        last = graph.outputs
        actions: dict[str, Callable[[], object]] = {
            "cpu": lambda p=program, x=x: p.run([x]),
            "interpreter": lambda g=graph, x=x, r=last: run(g, x, record=r, lean=True),
            "ONNX Runtime": lambda m=model, g=graph, x=x: run_onnx(m, g, x),
        }
        taken: dict[str, list[float]] = {n: [] for n in names}
        for _ in range(ROUNDS):
            for what, action in actions.items():
                taken[what].append(seconds(action))
            start = time.perf_counter()
            two.run([x])
            taken["cpu, 2 threads (wall)"].append(time.perf_counter() - start)
        each = {n: 1000 * float(np.median(t)) / samples for n, t in taken.items()}
        print(f"{case:18s}" + "".join(f"{each[n]:21.2f} ms" for n in names)
              + f"{each['interpreter'] / each['cpu']:19.0f}x", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
