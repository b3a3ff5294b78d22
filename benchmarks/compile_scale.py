"""What it costs to compile networks of ImageNet size, without data: time and memory by stage.

    python benchmarks/compile_scale.py [--networks fsnn-18 ...] [--size 224] [--threads 2]

Untrained networks of the published shapes (full-spike AAP paper, Table 2) at T = 4. Each runs in a
process of its own, whose largest resident memory is that of its stages, torch included; a graph is
let go when its stage is over. The passes are compared on the first of the four steps of one sample,
and the ledger says so. Bounds of every neuron, domains, NIR, ONNX, the network of the golden
vectors and the Lava program of one sample are part of it; recordings of golden samples are not. On
a busy machine the processor time tells more than the clock.

Limits: 20 s for FSNN-18 and 90 s for FSNN-101 from stripping to the files on 2 idle cores, and 3
times the weights in float32 plus 1 GB.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NETWORKS = ("fsnn-18", "fsnn-34", "fsnn-50", "fsnn-101")
STEPS = 4


def compile_one(name: str, size: int, threads: int) -> dict[str, float]:
    """Seconds and largest megabytes so far by stage: the keys ``stage.s``, ``.cpu``, ``.mb``."""
    import torch

    from purespike.compiler.ir.domain import SPIKE
    from purespike.compiler.pipeline import compile_graph, standard_pipeline
    from purespike.compiler.proofs.domains import prove_domains
    from purespike.compiler.proofs.ranges import bound_neurons
    from purespike.compiler.proofs.widths import unproved
    from purespike.targets.bundle.golden_network import write_golden_network
    from purespike.targets.lava.lower.emit import emit
    from purespike.targets.lava.lower.schedule import schedule
    from purespike.targets.lava.program.file import write as write_program
    from purespike.targets.nir.emit import write_nir
    from purespike.targets.onnx import write_onnx
    from purespike.targets.spec import LOIHI2
    from purespike.trainer.capture.trace import capture
    from purespike.trainer.networks.models import build_network

    torch.set_num_threads(threads)
    rows: dict[str, float] = {}
    begun, worked = time.perf_counter(), time.process_time()

    def stage(what: str) -> None:
        nonlocal begun, worked
        now, work = time.perf_counter(), time.process_time()
        rows[f"{what}.s"], rows[f"{what}.cpu"] = now - begun, work - worked
        rows[f"{what}.mb"] = peak()
        begun, worked = now, work

    stage("imports")
    # The pathway that is stripped is tested elsewhere; its weights would only be carried along.
    model = build_network(name, seed=0, size=size, steps=STEPS, aap=False).eval()
    rows["parameters"] = float(sum(p.numel() for p in model.parameters()))
    stage("build")
    captured = [capture(model, (3, size, size), STEPS, domain=SPIKE).graph]
    del model
    gc.collect()  # torch.fx holds what it traced in a circle
    stage("capture")
    probe = (np.random.default_rng(0).random((1, 1, 3, size, size)) < 0.3).astype(np.float64)
    compiled = compile_graph(captured.pop(), standard_pipeline(), probe, keep=())
    assert all("first 1 of 4 steps" in line.notes[-1] for line in compiled.ledger)
    rows["quantized agreement"] = compiled.ledger[-1].agreement
    graph = compiled.graph
    rows["nodes"] = len(graph.nodes)
    stage("passes")
    bounds = bound_neurons(graph, current_limit=LOIHI2.current_limit)
    assert len(prove_domains(graph)) > len(bounds)
    for verdict in ("proved", "saturates", "may wrap"):
        rows[verdict] = sum(b.verdict == verdict for b in bounds.values())
    assert rows["may wrap"] == len(unproved(bounds))
    stage("proofs")
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        write_nir(graph, Path(folder) / "model.nir")
        stage("NIR")
        write_onnx(graph, Path(folder) / "model.onnx")
        stage("ONNX")
        write_golden_network(graph, Path(folder))
        stage("golden network")
        plan = schedule(graph)
        write_program(emit(graph, plan, np.repeat(probe, STEPS, axis=0)), Path(folder) / "lava")
        stage("Lava program")
    return rows


def peak() -> float:
    """The largest resident memory of this program, MB (Linux).

    ``getrusage`` would give that of the process which started it, where that was larger.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


COMPILE = ("passes", "proofs", "NIR", "ONNX", "golden network", "Lava program")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(compile_one(options.child, options.size, options.threads)))
        return
    stages = ("build", "capture", *COMPILE)
    print("| network | M weights | nodes |", " | ".join(f"{s}, s" for s in stages), end=" ")
    print("| strip to files, s | processor, s | processor, ms a node", end=" ")
    print("| peak, MB | limit, MB | proved, saturates, may wrap |")
    print("|" + "---|" * (3 + len(stages) + 6))
    for name in options.networks:
        command = [sys.executable, __file__, "--child", name, "--size", str(options.size)]
        command += ["--threads", str(options.threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}  # numpy's, too
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=environment
        )
        rows = json.loads(done.stdout.splitlines()[-1])
        total, work = (sum(rows[f"{s}.{unit}"] for s in COMPILE) for unit in ("s", "cpu"))
        weights = rows["parameters"]
        limit = 3 * weights * 4 / 2**20 + 1024
        verdicts = ", ".join(f"{rows[v]:.0f}" for v in ("proved", "saturates", "may wrap"))
        print(f"| {name} | {weights / 1e6:.1f} | {rows['nodes']:.0f} |", end=" ")
        print(" | ".join(f"{rows[f'{s}.s']:.1f}" for s in stages), end=" | ")
        print(f"{total:.1f} | {work:.1f} | {1e3 * work / rows['nodes']:.0f}", end=" | ")
        print(f"{rows['Lava program.mb']:.0f} | {limit:.0f} | {verdicts} |")


if __name__ == "__main__":
    main()
