"""Networks of counts through the whole of compile: every executor, Lava too, and the bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import purespike as ps
from purespike import nn as pn

SHAPE, SAMPLES = (2, 6, 6), 24


def whole(net: nn.Module) -> nn.Module:
    """With small whole weights: nothing is rounded on the way to the chip."""
    torch.manual_seed(0)
    for p in net.parameters():
        p.data = torch.randint(-3, 5, p.shape).float()
    return net.eval()


def quantized_ann() -> nn.Module:
    """Two sizes of levels, which meet in a sum, a maximum and an average."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = pn.Conv2d(2, 4, 3, padding=1), pn.Conv2d(4, 4, 3, padding=1)
            self.three, self.two = pn.LevelActivation(3, step=8.0), pn.LevelActivation(2, step=32.0)
            self.pool, self.flat = pn.MaxPool2d(2), pn.Flatten()
            self.out, self.mean = nn.Linear(36, 3, bias=False), pn.TimeMean()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            s = self.pool(self.three(self.a(x)))
            y: torch.Tensor = self.mean(self.out(self.flat(s + self.two(self.b(s)))))
            return y

    return Net()


def multi_spike() -> nn.Module:
    """Neurons that send several spikes, and keep what is left."""
    return nn.Sequential(
        pn.Conv2d(2, 4, 3, padding=1),
        pn.ILIF(3, decay=1.0, threshold=16.0),
        pn.Flatten(),
        nn.Linear(144, 12),
        pn.ILIF(2, decay=1.0, threshold=64.0),
        nn.Linear(12, 3),
        pn.TimeMean(),
    )


def ternary() -> nn.Module:
    """SpikingJelly's, with levels of either sign."""
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1),
        neuron.TernaryIFNode(16.0, None),
        layer.Flatten(),
        layer.Linear(144, 3),
        neuron.TernaryIFNode(8.0, None),
    )
    for m in net:
        m.step_mode = "m"  # type: ignore[assignment]
    return nn.Sequential(pn.Imported(net), pn.TimeMean())


def build_of(kind: str, lava: str) -> ps.Build:
    net = whole({"ann": quantized_ann, "multi": multi_spike, "ternary": ternary}[kind]())
    steps = 1 if kind == "ann" else 4
    rng = np.random.default_rng(1)
    x = (rng.random((steps, SAMPLES, *SHAPE)) < 0.4).astype(np.float32)
    labels = net(torch.from_numpy(x)).argmax(-1).numpy()
    return ps.compile(net, ps.Samples(x, labels), golden=8, lava=lava, lava_samples=8)  # type: ignore[arg-type]


def test_a_quantized_ann_is_spike_only_and_nothing_is_lost(tmp_path: Path) -> None:
    build = build_of("ann", "none")
    wrong = [f for f in build.findings if f.status == "FAIL"]
    assert not wrong, wrong
    notes = [n for line in build.report.ledger for n in line.notes if n.startswith("unrolled")]
    assert notes == [
        "unrolled three: 3 levels, 432 neurons for 144 values",
        "unrolled two: 2 levels, 72 neurons for 36 values",
    ]
    build.save(tmp_path / "bundle")
    checked = ps.open_bundle(tmp_path / "bundle").verify()
    assert not [f for f in checked.findings if f.status == "FAIL"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["ann", "multi", "ternary"])
def test_every_executor_agrees_on_networks_of_counts(kind: str, tmp_path: Path) -> None:
    build = build_of(kind, "fast")
    wrong = [f for f in build.findings if f.status == "FAIL"]
    assert not wrong, wrong
    executors = {f.where for f in build.findings if f.rule.id == "PS010"}
    assert any("Lava" in where for where in executors), executors
    build.save(tmp_path / "bundle")
    checked = ps.open_bundle(tmp_path / "bundle").verify()
    assert not [f for f in checked.findings if f.status == "FAIL"]
