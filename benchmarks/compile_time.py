"""Processor time and memory of whole compilations from the command line, without Lava.

    python benchmarks/compile_time.py [--cases nmnist demo fsnn-18] [--rounds 1]
        [--against /path/of/an/older/checkout/.venv/bin/python]

- ``nmnist``: the N-MNIST CNN of the NIR paper (34 x 34, tests/helpers/nir_paper_cases.py; random
  weights), 24 recordings of 300 steps with 2 % of the inputs firing, and random labels.
- ``demo``: a checkpoint of `purespike train digits`, made by the first of the two builds.
- ``fsnn-18``: that network, untrained, as a module of one's own at 224 x 224, T = 4, 2 samples.

Each compilation is a process of its own with one thread, writing to a folder that is not there
yet. Processor time is user and system time of the process and of the children that it waited for;
peak is the largest resident memory of one of them. With ``--against`` both builds take turns. A
first run of each, not counted, builds kernels and compiles modules.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from datetime import date
from pathlib import Path

import nir
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.nir_paper_cases import cnn

MODULE = """
def network():
    try:
        from purespike.trainer.networks.models import build_network
    except ImportError:  # before it moved
        from purespike.trainer.models import build_network
    return build_network("fsnn-18", seed=0, size=224, steps=4, aap=False).eval()
"""
COMMANDS = {
    "nmnist": "nmnist.nir --data nmnist.npz --dt 1e-4 --reset subtract --if-r step --spike-input "
    "--fires at",
    "demo": "digits/model",
    "fsnn-18": "fsnn_18:network --shape 3,224,224 --steps 4 --samples 2",
}


def prepare(folder: Path, cases: list[str], python: str) -> None:
    """Write what the cases compile; the checkpoint is trained by ``python``."""
    nir.write(folder / "nmnist.nir", cnn())
    r = np.random.default_rng(0)
    x = (r.random((300, 24, 2, 34, 34)) < 0.02).astype(np.uint8)
    np.savez_compressed(folder / "nmnist.npz", inputs=x, labels=r.integers(0, 10, 24))
    (folder / "fsnn_18.py").write_text(MODULE, encoding="utf-8")
    if "demo" in cases:
        timed(python, "train digits --out digits", folder, allowed=(0,))


def timed(
    python: str, command: str, folder: Path, allowed: tuple[int, ...] = (0, 1)
) -> tuple[float, float]:
    """(processor seconds, peak in MiB) of a command; 1 is a verdict that is not compliant."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    shell = 'cd "$0" && exec "$@" > log.txt 2>&1'
    words = ["/bin/sh", "-c", shell, str(folder), python, "-m", "purespike", *command.split()]
    child = os.posix_spawn(words[0], words, environment)
    _, status, used = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status) not in allowed:
        raise SystemExit((folder / "log.txt").read_text(encoding="utf-8"))
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", help="the Python of another checkout")
    options = parser.parse_args()
    builds = [b for b in (options.against, sys.executable) if b]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{platform.platform()}, Python {platform.python_version()}; {date.today()}")
        prepare(folder, options.cases, builds[0])
        print("| case | " + " | ".join(f"{b}: s | MiB" for b in builds) + " | ratio |")
        print("|---" * (2 * len(builds) + 2) + "|")
        for n, build in enumerate(builds):
            command = f"compile {COMMANDS['nmnist']} --samples 1 --lava none -o warm-{n}"
            timed(build, command, folder)
        for case in options.cases:
            found: dict[str, list[tuple[float, float]]] = {build: [] for build in builds}
            for k in range(options.rounds):
                for n, build in enumerate(builds):
                    command = f"compile {COMMANDS[case]} --lava none -o {case}-{k}-{n}"
                    found[build].append(timed(build, command, folder))
            times = [statistics.median(s for s, _ in rows) for rows in found.values()]
            peaks = [max(m for _, m in rows) for rows in found.values()]
            cells = [f"{s:.1f} | {m:.0f}" for s, m in zip(times, peaks, strict=True)]
            print(f"| {case} |", " | ".join(cells), f"| {times[0] / times[-1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
