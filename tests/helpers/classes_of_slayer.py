"""lava-dl's SLAYER blocks, each through its own ``export_hdf5``: read exactly, or refused.

A network of two blocks runs in SLAYER, quantized as its file is; the file that it writes gives the
same spikes in the graph.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from helpers.framework_classes import Row
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.interpret import run
from purespike.targets.netx import read_netx

STEPS, SAMPLES = 30, 2
FAMILIES = ("cuba", "alif", "rf", "rf_iz", "adrf", "adrf_iz", "sigma_delta")
_NEURON: dict[str, dict[str, Any]] = {
    "cuba": {"current_decay": 0.5, "voltage_decay": 0.25},
    "alif": {"current_decay": 0.5, "voltage_decay": 0.25, "threshold_decay": 0.5,
             "refractory_decay": 0.5, "threshold_step": 0.1},
    "rf": {"period": 10, "decay": 0.1},
    "rf_iz": {"period": 10, "decay": 0.1},
    "adrf": {"period": 10, "decay": 0.1, "threshold_decay": 0.5, "refractory_decay": 0.5,
             "threshold_step": 0.1},
    "adrf_iz": {"period": 10, "decay": 0.1, "threshold_decay": 0.5, "refractory_decay": 0.5,
             "threshold_step": 0.1},
    "sigma_delta": {"activation": torch.relu},
}  # fmt: skip
_FED = "netx hands what it is fed to the membrane"
_READ = "exact, as a readout: its membrane is the output"


class Net(nn.Module):
    """Blocks one behind the other, as lava-dl's tutorials write it."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Any) -> Any:
        """(B, ..., T)"""
        for block in self.blocks:
            x = block(x)
        return x

    def export_hdf5(self, path: Path) -> None:
        """The loop of lava-dl's tutorials."""
        with h5py.File(path, "w") as file:
            for i, block in enumerate(self.blocks):
                block.export_hdf5(file.create_group(f"layer/{i}"))


def slayer() -> Any:
    """lava.lib.dl.slayer without its object detection, which needs OpenCV and writes no netx."""
    name = "lava.lib.dl.slayer.object_detection"
    sys.modules.setdefault(name, types.ModuleType(name))
    import lava.lib.dl.slayer as module

    return module


def _net(family: Any, kind: str) -> tuple[Net, tuple[int, ...]]:
    name = family.__name__.rpartition(".")[2]
    p = {"threshold": 1.0} | _NEURON[name]
    more: dict[str, Any] = {"weight_scale": 4, "delay_shift": False}
    dense = family.Dense(p, 4, 8, **more)
    last = family.Dense(p, 8, 6, **more)
    first = family.Conv(p, 2, 3, 3, **more)
    image, behind = (2, 6, 6), family.Dense(p, 3 * 4 * 4, 6, **more)
    if kind == "Dense":
        return Net([dense, last]), (4,)
    if kind == "Conv":
        return Net([first]), image
    if kind == "Flatten":
        return Net([first, family.Flatten(), behind]), image
    if kind == "Input":
        fed = {k: 1 if k == "current_decay" else v for k, v in p.items()}
        return Net([family.Input(fed, delay_shift=False), dense, last]), (4,)
    if kind == "Output":
        return Net([dense, family.Output(p, 8, 6, weight_scale=4)]), (4,)
    if kind in ("Pool", "Unpool"):
        return Net([first, getattr(family, kind)(p, 2, delay_shift=False)]), image
    if kind == "ConvT":
        return Net([first, family.ConvT(p, 3, 3, 3, **more)]), image
    if kind == "Average":
        return Net([dense, family.Average(num_outputs=2)]), (4,)
    if kind == "Recurrent":
        return Net([dense, family.Recurrent(p, 8, 8, **more)]), (4,)
    if kind == "KWTA":
        return Net([dense, family.KWTA(p, 8, 6, 2, **more)]), (4,)
    if kind == "Affine":
        return Net([dense, family.Affine(p, 8, 6, weight_scale=4)]), (4,)
    return Net([dense, family.TimeDecimation(2)]), (4,)


def _run(net: Net, x: Any) -> Any:
    """(T, B, ...); SLAYER makes its weights ready in the first call."""
    with torch.no_grad():
        net(torch.from_numpy(x))
        return np.moveaxis(net(torch.from_numpy(x)).numpy(), -1, 0)


def outcome(family: Any, kind: str, folder: Path) -> PurespikeError | str:
    """``exact``, or what stands in the way."""
    torch.manual_seed(0)
    try:
        net, shape = _net(family, kind)
    except Exception as e:
        return f"not tried: it fails in SLAYER itself ({type(e).__name__})"
    x = (np.random.default_rng(0).random((SAMPLES, *shape, STEPS)) < 0.4).astype(np.float32)
    try:
        wanted = _run(net, x)
    except Exception as e:
        return f"not tried: it fails in SLAYER itself ({type(e).__name__})"
    path = folder / "f.net"
    try:
        net.export_hdf5(path)
    except Exception as e:  # each block fails in its own way
        return f"its own exporter fails ({type(e).__name__})"
    try:
        graph = read_netx(path, steps=STEPS, dt=1e-3)
    except PurespikeError as e:
        return e
    frames = np.moveaxis(x, -1, 0).astype(np.float64)
    if kind == "Input":  # the whole numbers that its neurons get as bias_mant: 1.0 is its p_scale
        frames = frames * net.blocks[0].neuron.scale
    found = run(graph, frames).values[graph.outputs[0]]
    found = found.reshape(wanted.shape)
    if kind == "Affine":  # what it gives out counts in units of its threshold's scale
        found = found / net.blocks[1].neuron.scale
    assert wanted.std() > 0, f"{family.__name__}.{kind} shows nothing"
    assert np.array_equal(found, wanted), f"{family.__name__}.{kind} is read as another network"
    return {"Input": f"exact with `current_decay=1`: {_FED}", "Affine": _READ}.get(kind, "exact")


def rows() -> Iterator[Row]:
    """Each block of each family."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for name in FAMILIES:
            family = getattr(slayer().block, name)
            for kind, cls in sorted(vars(family).items()):
                if not inspect.isclass(cls) or kind == "Delay" or kind.startswith("Abstract"):
                    continue
                if name != "cuba" and kind not in ("Dense", "Input"):
                    continue  # the neuron decides
                met = outcome(family, kind, Path(folder))
                full = f"{name}.{kind}"
                if isinstance(met, PurespikeError):
                    why = f"{met.message}: {met.found}"
                    yield Row("lava-dl", full, "refused", why, met.remedy or "")
                elif met.startswith("its own"):
                    yield Row("lava-dl", full, "refused", met, "leave it to the host")
                else:
                    yield Row("lava-dl", full, met)


if __name__ == "__main__":
    for r in rows():
        print(r)
