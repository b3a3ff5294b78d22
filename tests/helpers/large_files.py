"""Good files of megabytes, of each format, and what one takes in memory for each of its bytes.

As a process, ``large_files.py FORMAT SMALL LARGE`` reads the small file, so that all code is
loaded, then the large one, and prints how much memory the second took at most.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.fuzz_formats import STATED, Read, _exported
from purespike.compiler.report.lookup import read_report
from purespike.flow.inputs.datafile import read_data
from purespike.targets.bundle.bundle import read_bundle, read_golden
from purespike.targets.bundle.golden_network import replay_rows
from purespike.targets.lava.program.file import read as read_program
from purespike.targets.netx.emit import write_netx
from purespike.targets.netx.read import read_netx
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx.foreign.step import read_step
from purespike.targets.onnx.graph import read_graph

SIZES = {"small": 3, "large": 1000}  # inputs, and neurons, of one dense layer
STEPS = 6
STATED_HERE = {**STATED, "steps": STEPS}


def user_file(folder: Path, n: int) -> Path:
    """A NIR file of n x n weights that do not repeat."""
    weight = np.random.default_rng(0).normal(0, 2 / n**0.5, (n, n)).astype(np.float32)
    ones = np.ones(n, np.float32)
    nodes = {
        "in": nir.Input(np.array([n])),
        "w": nir.Affine(weight, 0 * ones),
        "if": nir.IF(ones, ones),
        "out": nir.Output(np.array([n])),
    }
    path = folder / "user.nir"
    nir.write(path, nir.NIRGraph(nodes, [("in", "w"), ("w", "if"), ("if", "out")]))
    return path


def bundle_of(folder: Path, n: int) -> Path:
    """The bundle of such a network, made once; its golden samples make a file of megabytes."""
    made = folder / "bundle"
    if not made.is_dir():
        from purespike.flow.build import build
        from purespike.options import Options
        from purespike.subject import Subject

        source = user_file(folder, n)
        samples = max(2, n // 8)
        x = (np.random.default_rng(0).random((STEPS, samples, n)) < 0.5).astype(np.uint8)
        subject = Subject("user", read_nir(source, **STATED_HERE), (n,), x)
        build(subject, Options(lava="none", golden=samples, lava_samples=1)).save(made)
    return made


def _netx(folder: Path, n: int) -> Path:
    path = folder / "model.net"
    write_netx(read_bundle(bundle_of(folder, n)).graph, path)
    return path


def _data(kind: str, packed: bool) -> Callable[[Path, int], Path]:
    def make(folder: Path, n: int) -> Path:
        r = np.random.default_rng(0)
        values = r.integers(0, 2, (4, n, n))
        x = values.astype(kind) if kind != "f8" else r.random((4, n, n))
        path = folder / "d.npz"
        (np.savez_compressed if packed else np.savez)(path, inputs=x)
        return path

    return make


def _report(folder: Path, n: int) -> Path:
    """A report of many findings."""
    data = json.loads((bundle_of(folder, SIZES["small"]) / "report.json").read_text())
    data["findings"] *= n
    path = folder / "report.json"
    path.write_text(json.dumps(data))
    return path


def _torch(kind: str) -> Callable[[Path, int], Path]:
    def make(folder: Path, n: int) -> Path:
        import torch
        from torch import nn

        from purespike.trainer.nn.neuron import IF

        if kind == "pt2":
            model = nn.Sequential(nn.Linear(n, n), IF()).eval()
            exported = torch.export.export(model, (torch.zeros(4, 2, n),))
            torch.export.save(exported, folder / "m.pt2")
            return folder / "m.pt2"

        class Step(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(n, n)

            def forward(self, x: Any, mem: Any) -> Any:
                u = 0.5 * mem + self.layer(x)
                fired = (u > 1.0).to(u.dtype)
                return fired, u * (1 - fired)

        names = {"input_names": ["x", "mem"], "output_names": ["spk", "mem_out"]}
        given = torch.zeros(1, n), torch.zeros(1, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Step().eval(), given, str(folder / "s.onnx"), dynamo=False, **names)
        return folder / "s.onnx"

    return make


def _weights(folder: Path, n: int) -> Path:
    """The weights of a checkpoint: about 2 n^2 of them."""
    from purespike.trainer.networks.configuration import ModelConfig
    from purespike.trainer.networks.models import build
    from purespike.trainer.training.checkpoint import save_checkpoint
    from purespike.trainer.training.settings import TrainConfig

    k = max(2, n // 3)  # channels of two convolutions of 3 x 3
    config = ModelConfig(in_channels=2, classes=3, steps=3, size=(4, 4), stem=k, widths=(k,),
                         strides=(1,))  # fmt: skip
    save_checkpoint(folder / "checkpoint", build(config), TrainConfig(), metrics={})
    return folder / "checkpoint" / "weights.safetensors"


def _loaded(path: Path) -> object:
    from purespike.trainer.training.checkpoint import load_checkpoint

    return load_checkpoint(path.parent)


# By format: how a file of n x n values is made, what reads it, and the bytes of memory that each
# of its bytes may take: twice what was measured.
LARGE: dict[str, tuple[Callable[[Path, int], Path], Read, float]] = {
    "nir": (user_file, lambda p: read_nir(p, **STATED_HERE), 8),
    "nir, ours": (lambda f, n: bundle_of(f, n) / "model.nir", read_nir, 26),
    "netx": (_netx, lambda p: read_netx(p, steps=STEPS, dt=1e-3), 66),
    "onnx": (lambda f, n: bundle_of(f, n) / "model.onnx", read_graph, 52),
    "onnx-step": (_torch("step"), lambda p: read_step(p, steps=STEPS, domain=STATED["domain"]), 16),
    "pt2": (_torch("pt2"), _exported, 6),
    "safetensors": (_weights, _loaded, 6),
    "data, spikes": (_data("u1", False), read_data, 4),
    "data, int64": (_data("i8", False), read_data, 2),
    "data, float64": (_data("f8", False), read_data, 2),
    "data, packed": (_data("u1", True), read_data, 24),
    "golden": (lambda f, n: bundle_of(f, n) / "golden.npz", read_golden, 8),
    "network": (
        lambda f, n: bundle_of(f, n) / "golden_network.npz",
        lambda p: replay_rows(p.parent, 1),
        30,
    ),
    "program": (
        lambda f, n: bundle_of(f, n) / "lava/arrays.npz",
        lambda p: read_program(p.parent),
        5,
    ),
    "report": (_report, read_report, 10),
}


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key + ":"))


def measured(name: str, small: Path, large: Path) -> dict[str, int]:
    """Bytes of the large file, and of memory here and in the process that parses HDF5."""
    read = LARGE[name][1]
    read(small)
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    read(large)
    there = (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - child) << 10
    return {"bytes": large.stat().st_size, "here": _status("VmHWM") - before, "there": there}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
