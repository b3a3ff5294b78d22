"""How fast and how large the C program is, beside the other executors, one image at a time.

    python benchmarks/c_program.py [--rounds N] [CASE ...]

Cases: ``digits``, the demo's network, and ``resnet20``, of the shape of CIFAR (lava_scale.py); both
untrained and in integers, 20 % of the inputs firing. All take turns on one core and one thread:
milliseconds of processor time (user and system) per image, medians. The program checks every
output while it is timed, and is compared with the interpreter in every membrane before.

ONNX Runtime: ``session.run`` of the step form, states fed back, nothing recorded. numpy:
golden_network.json as replay.py runs it, on one sample.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lava_scale
import numpy as np
from simulate import processor

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.bundle.replay import replay
from purespike.targets.c.footprint import footprint
from purespike.targets.c.golden import write_c
from purespike.targets.c.run import NETWORK, run_c
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.metadata import metadata


def digits() -> Graph:
    """The demo's network in integers; its weights are those of an untrained one."""
    from purespike.flow.exporting import exported
    from purespike.options import Options
    from purespike.subject import Subject
    from purespike.trainer.networks.models import build
    from purespike.trainer.training.presets import DEMO

    config = DEMO.model
    shape = (config.in_channels, *config.size)
    x = (np.random.default_rng(0).random((config.steps, 16, *shape)) < 0.2).astype(np.uint8)
    return exported(
        Subject("digits", build(config, seed=0), shape, x, None), Options(), integers=True
    )


def onnxruntime_steps(graph: Graph, x: np.ndarray) -> Callable[[], object]:
    """T calls of a session on one thread."""
    import onnxruntime

    model = step_model(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    first = session.get_inputs()[0]
    kinds = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(bool)": np.bool_}
    given = x.astype(kinds[first.type])
    states = metadata(model)["states"]

    def steps() -> None:
        held = {s["before"]: np.full((1, *s["shape"]), s["initial"], s["dtype"]) for s in states}
        for frame in given:
            made = dict(zip(names, session.run(names, {first.name: frame, **held}), strict=True))
            held = {s["before"]: made[s["after"]] for s in states}

    return steps


def used(children: bool = False) -> float:
    """Processor seconds so far."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime


def compare(name: str, graph: Graph, rounds: int, folder: Path) -> None:
    """Check the program, time all, print a line for each."""
    shape = (graph.steps, 1, *graph.inputs[0].shape)
    x = (np.random.default_rng(1).random(shape) < 0.2).astype(np.uint8)
    trace = run(graph, x)
    fires = [n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]
    found = run_c(graph, x)
    for n, values in found.membranes.items():
        if not np.array_equal(values, trace.membranes[n]):
            raise SystemExit(f"{name}: membranes of {n} differ from the interpreter's")
    spikes = {n: trace.values[n] for n in fires}
    write_c(graph, folder, x, spikes, trace.membranes)
    write_golden_network(graph, folder)
    arrays: dict[str, Any] = {"inputs": x, "labels": np.zeros(1, np.int64)}
    arrays |= {f"spikes/{n}": a.astype(np.uint8) for n, a in spikes.items()}
    arrays |= {f"membranes/{n}": a.astype(np.int32) for n, a in trace.membranes.items()}
    np.savez(folder / "golden.npz", **arrays)
    program = Program(plan(graph), 1, threads=1)
    onnx = onnxruntime_steps(graph, x)
    for flags in ("-O2", "-O3"):
        sources = [str(folder / f) for f in ("main.c", *NETWORK, "golden.c")]
        subprocess.run(["gcc", "-std=c99", flags, "-o", str(folder / flags), *sources], check=True)
    times: dict[str, list[float]] = {}

    def note(what: str, images: int, action: Callable[[], object]) -> None:
        start = used()
        for _ in range(images):
            action()
        times.setdefault(what, []).append((used() - start) / images)

    for _ in range(rounds):
        for flags in ("-O2", "-O3"):
            done = subprocess.run(
                [str(folder / flags), "time", "8"], capture_output=True, text=True, check=True
            )
            ms = float(re.search(r"([\d.]+) ms per sample", done.stdout).group(1))  # type: ignore[union-attr]
            times.setdefault(f"C, gcc {flags}", []).append(ms / 1000)
        note("cpu executor", 8, lambda: program.run([x]))
        note("ONNX Runtime", 4, onnx)
        note("numpy replay", 1, lambda: replay(folder, 1))
    own = float(np.median(times["C, gcc -O2"]))
    needs = footprint(graph)
    weights = sum(r.weights for r in needs.rows)
    packed = sum(r.state + r.spikes for r in needs.rows)
    code = int(
        subprocess.run(["size", str(folder / "-O2")], capture_output=True, text=True, check=True)
        .stdout.splitlines()[1]
        .split()[0]
    )
    print(f"\n{name}: {graph.steps} steps")
    for what, took in times.items():
        print(
            f"  {what:16s}{1000 * np.median(took):10.3f} ms per image {np.median(took) / own:8.2f}x"
        )
    print(
        f"  constants {needs.rom:,} bytes ({needs.rom / weights:.3f} of the weights), memory "
        f"{needs.ram:,} bytes ({needs.ram / packed:.3f} of the packed state), text with the golden "
        f"sample and the C library's part {code:,} bytes",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("cases", nargs="*", default=("digits", "resnet20"))
    options = parser.parse_args()
    print(processor())
    for case in options.cases:
        if case == "digits":
            graph = digits()
        else:
            graph, _ = lava_scale.compiled(lava_scale.NETWORKS[case], 32)
        with tempfile.TemporaryDirectory() as name:
            compare(case, graph, options.rounds, Path(name))


if __name__ == "__main__":
    main()
