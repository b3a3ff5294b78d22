"""Networks of counts through the whole of compile: every executor, Lava too, and the bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.qonnx_steps import execute
from spikingjelly.activation_based import layer, neuron
from torch import nn

import purespike as ps
from purespike import nn as pn
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.report.tables.stages import ledger_table
from purespike.judge.executors import compare_c
from purespike.targets.c.run import compiler
from purespike.targets.netx import NetxError, write_netx
from purespike.targets.onnx import qonnx_model

pytestmark = pytest.mark.usefixtures("parsed_here")

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
    [cost] = [n for n in ledger_table(build.report).notes if n.startswith("unroll_levels: ")]
    assert cost.startswith("unroll_levels: unrolled three: 3 levels, 432 neurons for 144 values; ")
    # b: 4 x 4 x 3 x 3 weights, without those of the border, on one count or on three spikes.
    line = next(x for x in build.report.ledger if x.name == "unroll_levels")
    before, after = line.counts_before, line.counts_after
    assert before.mac >= 4 * 4 * (3 * 3 - 2) ** 2 and after.mac == 0
    assert after.ac >= before.ac + 3 * 4 * 4 * (3 * 3 - 2) ** 2
    was = f"{before.mac:,.0f} MAC and {before.ac:,.0f} AC while synapses read counts"
    assert f"every neuron fires: {was}, 0 MAC and {after.ac:,.0f} AC as spikes; " in cost
    mapped = build.report.data()["resources"]["layers"]
    cores = {row["layer"]: len(row["cores"]) for row in mapped if ".level" in row["layer"]}
    assert len(cores) == 3 + 3 + 2  # three, its maximum, two
    one = sum(n for name, n in cores.items() if name.endswith(".level1"))
    assert cost.endswith(f"{one} if each had one level, {sum(cores.values())} with all")
    build.save(tmp_path / "bundle")
    checked = ps.open_bundle(tmp_path / "bundle").verify()
    assert not [f for f in checked.findings if f.status == "FAIL"]


REASONS = {
    "ann": "%a goes to %three.level1, %three.level2, %three.level3",
    "multi": "%0 goes to %1.arriving",  # where the spikes of its copies are taken away
    "ternary": "%input_1 goes to %0.model.0, %0.model.1.arriving-.0.model.0",
}


@pytest.mark.parametrize("kind", ["ann", "multi", "ternary"])
def test_networks_of_counts_in_c_qonnx_and_netx(kind: str, tmp_path: Path) -> None:
    """The first two fire the same spikes; the third says what of the copies it cannot."""
    build = build_of(kind, "none")
    graph, golden = build.graph, build.golden
    assert graph is not None and golden is not None
    expected = run(graph, golden.inputs.astype(np.float64))
    firing = [n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires]
    assert len(firing) == len(golden.spikes) >= 4 and set(firing) == set(golden.spikes)
    assert sum(int(expected.values[name].any()) for name in firing) >= 3
    if compiler() is not None:
        compared = compare_c(graph, golden)
        assert {m.layer for m in compared} >= set(firing)
        assert not [m for m in compared if m.different]
    found, _ = execute(qonnx_model(graph), golden.inputs)
    for name in firing:
        assert np.array_equal(found[name], expected.values[name]), name
    with pytest.raises(NetxError) as refused:
        write_netx(graph, tmp_path / "model.net")
    assert refused.value.found == REASONS[kind]
    assert "instead: they carry" in str(refused.value.remedy) and not list(tmp_path.iterdir())


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
