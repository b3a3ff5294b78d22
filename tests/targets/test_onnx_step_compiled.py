"""From a step's ONNX file to a bundle: the same verdict and the same spikes as of its module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.onnx_steps import Step, on_grid, spikes
from torch import Tensor, nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.ops import Neuron
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.onnx.graph import is_golden

snntorch = pytest.importorskip("snntorch")
T = 6
UNIT = 1 / 256
THRESHOLD = 200.5 * UNIT  # no sum of weights meets it: rounding it to integers flips no tie


class Net(nn.Module):
    """Convolution and two layers of integrate-and-fire neurons of snnTorch."""

    def __init__(self) -> None:
        super().__init__()
        neuron: dict[str, Any] = {"beta": 1.0, "threshold": THRESHOLD}
        self.conv, self.lif1 = nn.Conv2d(1, 4, 3), snntorch.Leaky(**neuron)
        self.fc, self.lif2 = nn.Linear(16, 4), snntorch.Leaky(**neuron)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        spk1, mem1 = self.lif1(self.conv(x), mem1)
        spk2, mem2 = self.lif2(self.fc(torch.flatten(self.pool(spk1), 1)), mem2)
        return spk2, mem1, mem2


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Step, Path]:
    """The file, and beside it data that the module itself has labelled."""
    folder = tmp_path_factory.mktemp("step")
    net = on_grid(Net(), unit=UNIT, reach=126)
    for layer in (net.conv, net.fc):
        layer.weight.data.view(-1)[0] = 127 * UNIT  # so that eight bits hold every weight exactly
    step = Step(net, (1, 6, 6), {"mem1": (4, 4, 4), "mem2": (4,)})
    x = spikes(step, T, batch=16)
    counts = step.walk_module(x)[0].sum(0)
    np.savez(folder / "data.npz", inputs=x.astype(np.uint8), labels=counts.argmax(1))
    return step, step.export(folder / "net.onnx")


def compiled(path: Path, out: Path, *options: str) -> tuple[int, dict[str, Any]]:
    data = str(path.parent / "data.npz")
    arguments = [str(path), "--out", str(out), "--steps", str(T), "--data", data, *options]
    result = CliRunner().invoke(app, ["compile", *arguments])
    assert (out / "report.json").is_file(), result.output
    return result.exit_code, json.loads((out / "report.json").read_text())["verdict"]


EXACT = ("--spike-input", "--samples", "8", "--calibration", "max")


def test_a_step_compiles_to_a_bundle_with_the_spikes_of_its_module(
    case: tuple[Step, Path], tmp_path: Path
) -> None:
    step, path = case
    _, verdict = compiled(path, tmp_path / "b", *EXACT, "--lava", "none")
    assert verdict["headline"] == "NOT PROVED: not run PS010"  # Lava is all that was left out
    bundle = read_bundle(tmp_path / "b")
    spiked = step.walk_module(bundle.golden.inputs)[0]
    assert np.array_equal(bundle.golden.spikes[bundle.graph.outputs[0]], spiked)
    assert 0.05 < spiked.mean() < 0.95
    names = [n.name for n in bundle.graph.nodes if isinstance(n.op, Neuron)]
    assert names[0] == "lif1" and names[-1] == "lif2"
    # What was compiled is a golden model, which needs nothing stated any more.
    assert not is_golden(path) and is_golden(tmp_path / "b" / "model.onnx")


@pytest.mark.slow
def test_with_lava_the_verdict_is_spike_only(case: tuple[Step, Path], tmp_path: Path) -> None:
    code, verdict = compiled(case[1], tmp_path / "b", *EXACT)
    assert (code, verdict["compliant"]) == (0, True), verdict


def test_an_analog_input_is_a_violation(case: tuple[Step, Path], tmp_path: Path) -> None:
    code, verdict = compiled(case[1], tmp_path / "b", "--lava", "none")
    assert (code, verdict["headline"]) == (1, "NOT SPIKE-ONLY: broken PS011")
