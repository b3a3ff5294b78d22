"""Every block of netx, node of nir and layer of an ONNX step, tried: read, or refused and why.

``python tests/helpers/file_kinds.py`` writes the table of docs/inputs.md anew.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import torch
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.targets.netx import read_netx
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx.foreign.step import read_step

DOCS = Path(__file__).parents[2] / "docs" / "inputs.md"
BEGIN, END = "<!-- files: begin -->", "<!-- files: end -->"
Row = tuple[str, str, str]  # format, what was tried, outcome
BLOCKS = ("input", "conv", "dense", "flatten", "dense_rec", "dense_comp", "pool", "convT")
BLOCKS += ("unpool", "average", "concat")
NEURONS = ("LOIHI", "CUBA", "SDNN", "RF", "RF_IZ", "ALIF", "ADRF")
ONE = np.ones(4)
NODES: dict[str, Any] = {
    "Affine": nir.Affine(np.eye(4), ONE),
    "AvgPool2d": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
    "Conv1d": nir.Conv1d(6, np.ones((4, 4, 3)), 1, 0, 1, 1, ONE),
    "Conv2d": nir.Conv2d((6, 6), np.ones((4, 4, 3, 3)), 1, 0, 1, 1, ONE),
    "CubaLI": nir.CubaLI(2e-3 * ONE, 2e-3 * ONE, ONE, 0 * ONE),
    "CubaLIF": nir.CubaLIF(2e-3 * ONE, 2e-3 * ONE, ONE, 0 * ONE, ONE),
    "Delay": nir.Delay(1e-3 * ONE),
    "Flatten": nir.Flatten({"input": np.array([4, 6, 6])}, 0, -1),
    "I": nir.I(ONE),
    "IF": nir.IF(ONE, ONE),
    "LI": nir.LI(2e-3 * ONE, ONE, 0 * ONE),
    "LIF": nir.LIF(2e-3 * ONE, ONE, 0 * ONE, ONE),
    "Linear": nir.Linear(np.eye(4)),
    "Scale": nir.Scale(ONE),
    "SumPool2d": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
    "Threshold": nir.Threshold(ONE),
}
IMAGES = ("AvgPool2d", "Conv2d", "Flatten", "SumPool2d")
LAYERS: dict[str, nn.Module] = {
    "Conv": nn.Conv2d(4, 4, 3),
    "ConvTranspose": nn.ConvTranspose2d(4, 4, 3),
    "BatchNormalization": nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
    "AveragePool": nn.AvgPool2d(2),
    "MaxPool": nn.MaxPool2d(2),
    "GlobalAveragePool": nn.AdaptiveAvgPool2d(1),
    "Flatten, Gemm": nn.Sequential(nn.Flatten(), nn.Linear(144, 4)),
    "Relu": nn.ReLU(),
    "Sigmoid": nn.Sigmoid(),
    "Softmax": nn.Softmax(1),
    "InstanceNormalization": nn.InstanceNorm2d(4, affine=True),
    "Resize": nn.Upsample(scale_factor=2),
}


def rows() -> Iterator[Row]:
    """All of them, in the order of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        yield from ((f"netx ({version('lava-dl')}), block", b, _netx(path, b)) for b in BLOCKS)
        for kind in NEURONS:
            yield f"netx ({version('lava-dl')}), neuron", kind, _netx(path, "dense", kind)
        for kind in _node_classes():
            yield f"NIR ({version('nir')}), node", kind, _nir(path, kind)
        for name, layer in LAYERS.items():
            yield "ONNX step, operator", name, _onnx(path, layer)


def _node_classes() -> list[str]:
    """What the installed nir can write, but the ports and graphs, which every file has."""
    kinds = {
        n
        for n, c in vars(nir).items()
        if inspect.isclass(c) and issubclass(c, nir.NIRNode) and c is not nir.NIRNode
    }
    return sorted(kinds - {"Input", "Output", "NIRGraph"})


def _outcome(read: Any) -> str:
    try:
        read()
    except PurespikeError as e:
        why = e.message + (f": {e.found}" if e.found else "")
        return f"refused: {why}" + (f". {e.remedy}" if e.remedy else "")
    return "read"


def _netx(folder: Path, kind: str, neuron: str = "CUBA") -> str:
    layers: list[dict[str, Any]] = [{"type": "input", "shape": (2, 4, 4)}]
    conv = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "neuron": neuron}
    conv |= {"type": "conv", "shape": (3, 2, 2), "weight": 2.0 * np.ones((3, 2, 3, 3))}
    if kind == "conv":
        layers.append(conv)
    elif kind == "dense":
        layers = [{"type": "dense", "shape": (3,), "weight": 2 * np.ones((3, 4)), "neuron": neuron}]
    elif kind == "flatten":
        dense = {"type": "dense", "shape": (3,), "weight": 2 * np.ones((3, 12)), "neuron": neuron}
        layers += [conv, {"type": "flatten"}, dense]
    elif kind == "input":
        layers = [layers[0], conv]
    else:
        layers.append({"type": kind, "shape": (3,)})
    path = folder / "f.net"
    with h5py.File(path, "w") as file:
        for i, fields in enumerate(layers):
            group = file.create_group(f"layer/{i}")
            for name, value in fields.items():
                if name == "neuron":
                    group.create_dataset("neuron/type", (1,), "S10", [str(value).encode()])
                    for field, number in {"iDecay": 4096, "vDecay": 400, "vThMant": 9}.items():
                        group[f"neuron/{field}"] = number
                elif isinstance(value, str):
                    group.create_dataset(name, (1,), "S10", [value.encode()])
                else:
                    group[name] = np.asarray(value)
    return _outcome(lambda: read_netx(path, steps=4, dt=1e-3))


def _nir(folder: Path, kind: str) -> str:
    shape = (4, 6, 6) if kind in IMAGES else (4, 6) if kind == "Conv1d" else (4,)
    nodes = {"input": nir.Input(np.array(shape)), "node": NODES[kind]}
    made = {"Conv1d": (4, 4), "Conv2d": (4, 4, 4), "Flatten": (144,)}.get(kind, shape)
    made = (4, 3, 3) if kind.endswith("Pool2d") else made
    nodes["output"] = nir.Output(np.array(made))
    graph = nir.NIRGraph(nodes, [("input", "node"), ("node", "output")], type_check=False)
    nir.write(folder / "f.nir", graph)
    said: dict[str, Any] = {"dt": 1e-3, "steps": 4, "domain": SPIKE}
    neuron = kind in ("I", "IF", "LIF", "CubaLIF", "CubaLI", "Threshold")
    said |= {"if_r": "step", "reset": "zero", "current": "new", "fires": "above"} if neuron else {}
    return _outcome(lambda: read_nir(folder / "f.nir", **said))


class _Step(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any, mem: Any) -> Any:
        u = 0.5 * mem + self.layer(x)
        fired = (u > 1.0).to(u.dtype)
        return fired, u * (1 - fired)


def _onnx(folder: Path, layer: nn.Module) -> str:
    step, x = _Step(layer).eval(), torch.zeros(1, 4, 6, 6)
    state = torch.zeros_like(layer(x))
    names = {"input_names": ["x", "mem"], "output_names": ["spk", "mem_out"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(step, (x, state), str(folder / "f.onnx"), dynamo=False, **names)
    return _outcome(lambda: read_step(folder / "f.onnx", steps=4, domain=SPIKE))


def table() -> str:
    """The table of docs/inputs.md: what is read by format, and each refusal."""
    read: dict[str, list[str]] = {}
    lines = ["| of | kind | outcome |", "|---|---|---|"]
    refused = []
    for of, name, outcome in rows():
        if outcome == "read":
            read.setdefault(of, []).append(name)
        else:
            refused.append(f"| {of} | {name} | {outcome} |")
    lines += [f"| {of} | {', '.join(names)} | read |" for of, names in read.items()]
    return "\n".join((*lines, *refused)) + "\n"


def written() -> str:
    """The table that stands in docs/inputs.md."""
    return DOCS.read_text(encoding="utf-8").split(BEGIN + "\n")[1].split(END)[0].strip("\n") + "\n"


if __name__ == "__main__":
    text = DOCS.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN + "\n")
    DOCS.write_text(f"{head}{BEGIN}\n\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    sys.stdout.write(table())
