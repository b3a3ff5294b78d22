"""A neuron that fires and is never reset: every target holds it, spike for spike."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.nir_targets import (
    agree_on_lava,
    agree_on_onnx_and_nir,
    agree_on_replay,
    quantized,
    random_spikes,
)
from helpers.onnx_steps import Step, on_grid, read, spikes
from torch import nn

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.compiler.proofs.firing import max_spikes
from purespike.compiler.proofs.ranges import Flow, bound_neurons
from purespike.targets.cpu.run import run_cpu
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.program import SoftIf
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.spec import LOIHI2, check
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import capture

pytestmark = pytest.mark.usefixtures("parsed_here")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    snntorch = pytest.importorskip("snntorch")
T, IN, MID, OUT = 8, 6, 10, 4
NEVER = {"reset_mechanism": "none", "init_hidden": True}
ZERO = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
NETS: dict[str, tuple[Any, Any]] = {
    "hidden": (("Leaky", {"beta": 0.5, **NEVER}), ("Leaky", {"beta": 0.5, **ZERO})),
    "last": (("Leaky", {"beta": 0.5, **ZERO}), ("Leaky", {"beta": 0.75, **NEVER})),
    "without a leak": (("Leaky", {"beta": 1.0, **NEVER}), ("Leaky", {"beta": 1.0, **NEVER})),
    "with a current": (
        ("Synaptic", {"alpha": 0.5, "beta": 0.5, **NEVER}),
        ("Synaptic", {"alpha": 0.25, "beta": 0.5, **NEVER}),
    ),
}


def module(case: str) -> nn.Module:
    layers: list[nn.Module] = []
    for (kind, options), (into, out) in zip(NETS[case], ((IN, MID), (MID, OUT)), strict=True):
        neuron = getattr(snntorch, kind)(threshold=0.7, **options)
        layers += [nn.Linear(into, out, bias=False), neuron]
    return on_grid(nn.Sequential(*layers), seed=len(case), unit=1 / 4, reach=5)


def stepped(net: nn.Module, x: Any) -> Any:
    with torch.no_grad():
        return np.stack([net(torch.from_numpy(frame).float()).numpy() for frame in x])


def agree_everywhere(chip: Graph, x: Any, folder: Path) -> None:
    assert [f for f in check(chip, LOIHI2) if f.status != "PASS"] == []
    agree_on_lava(chip, x)
    agree_on_onnx_and_nir(chip, x, folder)
    agree_on_replay(chip, x, folder)
    wanted, found = run(chip, x), run_cpu(chip, x.astype(np.uint8))
    for node in chip.nodes:
        if isinstance(node.op, Neuron):
            np.testing.assert_array_equal(found.values[node.name], wanted.values[node.name])


@pytest.mark.parametrize("case", NETS)
def test_snntorchs_modules(case: str, tmp_path: Path) -> None:
    graph = capture(Imported(module(case)), (IN,), T, domain=SPIKE).graph
    never = [n.op for n in graph.nodes if isinstance(n.op, Neuron) and "never" in n.op.details()]
    assert len(never) == 1 + (case not in ("hidden", "last"))
    x = random_spikes(graph, 6, seed=4)
    theirs = stepped(module(case), x)
    np.testing.assert_array_equal(run(graph, x).values[graph.outputs[0]], theirs)
    assert 0.05 < theirs.mean() < 0.95
    agree_everywhere(quantized(graph), x, tmp_path)


def test_an_onnx_step(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            never: dict[str, Any] = {"reset_mechanism": "none", "threshold": 0.7}
            self.fc1, self.lif1 = nn.Linear(IN, MID), snntorch.Leaky(beta=0.5, **never)
            self.fc2, self.lif2 = nn.Linear(MID, OUT), snntorch.Leaky(beta=1.0, **never)

        def forward(self, x: Any, mem1: Any, mem2: Any) -> tuple[Any, ...]:
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            return spk2, mem1, mem2

    step = Step(on_grid(Net(), unit=1 / 4, reach=5), (IN,), {"mem1": (MID,), "mem2": (OUT,)})
    x = spikes(step, T, batch=6)
    graph, trace = read(step.export(tmp_path / "net.onnx"), x)
    theirs = step.walk_module(x)[0]
    np.testing.assert_array_equal(trace.values[graph.outputs[0]], theirs)
    assert 0.05 < theirs.mean() < 0.95
    agree_everywhere(quantized(graph), x, tmp_path)


def test_on_lava_itself() -> None:
    graph = quantized(capture(Imported(module("without a leak")), (IN,), T, domain=SPIKE).graph)
    x = random_spikes(graph, 3, seed=5)
    program = emit(graph, schedule(graph), x)
    never = [p for p in program.processes if isinstance(p, SoftIf)]
    assert len(never) == 2 and not any(np.any(p.amount) for p in never)
    result, wanted = simulate(graph, x), run(graph, x)
    for name, found in result.spikes.items():
        np.testing.assert_array_equal(found, wanted.values[name])
        assert found.any() and not found.all()


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_bounds_hold_without_a_reset(decay: float) -> None:
    r = np.random.default_rng(7)
    for _ in range(20):
        weight = r.integers(-40, 60, (5, 6)).astype(float)
        threshold = float(r.integers(1, 200)) + (1 / 64 if decay < 1 else 0)
        neuron = Neuron(threshold, decay, "subtract", np.array(0.0), fixed=FixedPoint())
        nodes = [("l", Linear(weight), ("x",)), ("n", neuron, ("l",))]
        graph = build((Edge("x", (6,), SPIKE),), nodes, ("n",), T)
        high = np.maximum(weight, 0).sum(1)
        low = np.minimum(weight, 0).sum(1)
        flow = Flow(low, high, T * low, T * high, (low, high))
        bounds, most = bound_neurons(graph, current_limit=np.inf)["n"], max_spikes(neuron, flow, T)
        for rate in (0.2, 0.6, 1.0):
            trace = run(graph, random_spikes(graph, 8, seed=1, rate=rate))
            membrane = trace.membranes["n"] / 64
            assert bounds.membrane[0] <= membrane.min() and membrane.max() <= bounds.membrane[1]
            assert (trace.values["n"].sum(0) <= most).all()
