"""snnTorch's neurons and tutorial networks, spike for spike against snnTorch itself in float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.rules.graph_rules import check_operations
from purespike.judge.capture_check import check_capture
from purespike.judge.static import network_findings
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.nn import layers as ours

snn = pytest.importorskip("snntorch")
from snntorch import surrogate  # noqa: E402

SHAPE = (2, 8, 8)
STEPS = 5


def frames(shape: tuple[int, ...] = SHAPE, samples: int = 3, steps: int = STEPS) -> Tensor:
    r = np.random.default_rng(0)
    return torch.tensor((r.random((steps, samples, *shape)) < 0.4).astype(np.float64))


def lively(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, 0.1, 0.1)
    return model.double().eval()


def spikes_of(model: nn.Module, x: Tensor) -> tuple[dict[str, np.ndarray], Tensor]:
    """What every neuron of snnTorch makes, (T, B, ...), and the output."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.setdefault(name, []).append(
                o[0] if isinstance(o, tuple) else o
            )
        )
        for name, module in model.named_modules()
        if isinstance(module, snn.SpikingNeuron)
    ]
    with torch.no_grad():
        result = model(x)
    for hook in hooks:
        hook.remove()
    return {k: torch.stack(v).numpy() for k, v in seen.items()}, result


def assert_same(model: nn.Module, x: Tensor) -> Graph:
    """The captured graph makes the spikes of the model in every layer, and its output."""
    imported = Imported(model)
    imported(torch.ones_like(x))  # whose state must not matter
    graph = capture(imported, tuple(x.shape[2:]), len(x)).graph
    verify(graph)
    trace = run(graph, x.numpy())
    seen, result = spikes_of(imported, x)
    assert seen.keys() == {n.name for n in graph.nodes if isinstance(n.op, ops.Neuron)}
    for name, spikes in seen.items():
        np.testing.assert_array_equal(trace.values[name], spikes, err_msg=name)
        assert 0 < spikes.mean() < 1, f"{name} shows nothing"
    np.testing.assert_allclose(trace.values[graph.outputs[0]], result, rtol=0, atol=1e-9)
    finding, mismatches = check_capture(imported, graph, x.numpy())
    assert finding.status == "PASS"
    assert {m.layer for m in mismatches} == set(seen)
    return graph


NEURONS = {
    "subtract": lambda **o: snn.Leaky(0.9, threshold=0.7, **o),
    "no leak": lambda **o: snn.Leaky(1.0, threshold=0.7, **o),
    "zero": lambda **o: snn.Leaky(0.8, threshold=0.6, reset_mechanism="zero", **o),
    "zero at once": lambda **o: snn.Leaky(
        0.8, threshold=0.6, reset_mechanism="zero", reset_delay=False, **o
    ),
    "no memory": lambda **o: snn.Leaky(0.0, threshold=0.6, reset_mechanism="zero", **o),
    "no reset": lambda **o: snn.Leaky(0.5, threshold=0.9, reset_mechanism="none", **o),
    "learned": lambda **o: snn.Leaky(
        torch.full((6, 1, 1), 0.7),
        threshold=torch.rand(6, 1, 1) + 0.3,
        learn_beta=True,
        learn_threshold=True,
        spike_grad=surrogate.fast_sigmoid(),
        **o,
    ),
    "without surrogate": lambda **o: snn.Leaky(0.9, surrogate_disable=True, **o),
    "Lapicque beta": lambda **o: snn.Lapicque(beta=0.8, threshold=0.2, **o),
    "Lapicque RC": lambda **o: snn.Lapicque(R=5.1, C=0.5, time_step=1, threshold=0.8, **o),
    "Lapicque R": lambda **o: snn.Lapicque(beta=0.9, R=3.0, threshold=0.3, **o),
    "Lapicque C": lambda **o: snn.Lapicque(
        beta=0.9, C=2.0, time_step=0.5, threshold=0.3, reset_mechanism="none", **o
    ),
    "Synaptic": lambda **o: snn.Synaptic(0.6, 0.8, threshold=1.2, **o),
    "Synaptic zero": lambda **o: snn.Synaptic(
        0.6, 0.8, threshold=1.2, reset_mechanism="zero", reset_delay=False, **o
    ),
    "Synaptic without current": lambda **o: snn.Synaptic(0.0, 0.8, threshold=0.9, **o),
}


@pytest.mark.parametrize(
    "state",
    [{"init_hidden": True}, {"init_hidden": True, "output": True}, {}],
    ids=["hidden", "output", "returned"],
)
@pytest.mark.parametrize("make", NEURONS.values(), ids=list(NEURONS))
def test_neurons(make: Any, state: dict[str, bool]) -> None:
    torch.manual_seed(1)
    assert_same(lively(nn.Sequential(nn.Conv2d(2, 6, 3), make(**state))), frames())


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_ties_do_not_fire(reset: str) -> None:
    """Sums of whole quarters meet the threshold exactly; snnTorch fires above it only."""
    node = snn.Leaky(0.5, threshold=0.75, reset_mechanism=reset, init_hidden=True)
    model = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), node).double()
    nn.init.constant_(model[0].weight, 0.25)
    x = frames()
    graph = assert_same(model, x)
    trace = run(graph, x.numpy())
    first = trace.values["model.0"][0]
    assert (first == 0.75).any()
    assert not trace.values["model.1"][0][first == 0.75].any()


def test_a_threshold_of_each_neuron() -> None:
    r = torch.rand(12, generator=torch.Generator().manual_seed(0)) + 0.2
    model = nn.Sequential(nn.Linear(9, 12), snn.Leaky(0.9, threshold=r, init_hidden=True))
    graph = assert_same(lively(model), frames((9,)))
    neuron = graph.nodes[-1].op
    assert isinstance(neuron, ops.Neuron) and neuron.threshold.shape == (12,)


# Their tutorial networks.


def tutorial(make: Any) -> nn.Sequential:
    """Tutorial 6 (Convolutional SNNs), its 12C5-MP2-64C5-MP2-1024FC10 at half the width."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.MaxPool2d(2),
        make(init_hidden=True),
        nn.Conv2d(6, 32, 5),
        nn.MaxPool2d(2),
        make(init_hidden=True),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
        make(init_hidden=True, output=True),
    )


class Step(nn.Module):
    """The step of the same tutorial's class: states are snnTorch's own, the functions torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.lif1 = snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(25))
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.lif2 = snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(25))
        self.fc1 = nn.Linear(16 * 4 * 4, 10)
        self.lif3 = snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(25))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cur1 = nn.functional.max_pool2d(self.conv1(x), 2)
        spk1, _ = self.lif1(cur1)
        cur2 = nn.functional.max_pool2d(self.conv2(spk1), 2)
        spk2, _ = self.lif2(cur2)
        cur3 = self.fc1(spk2.flatten(1))
        return self.lif3(cur3)


IMAGE = (1, 28, 28)


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(slope=25), **o),
        lambda **o: snn.Lapicque(beta=0.8, threshold=0.25, **o),
    ],
    ids=["Leaky", "Lapicque"],
)
def test_tutorial(make: Any) -> None:
    graph = assert_same(lively(tutorial(make)), frames(IMAGE, samples=2))
    assert graph.outputs == ("model.8",)
    # It pools currents, which takes comparisons: the network is captured, and not spike-only.
    pools = {f.where for f in check_operations(graph) if f.status == "FAIL"}
    assert pools == {"model.1", "model.4"}


def test_tutorial_as_a_class() -> None:
    graph = assert_same(lively(Step()), frames(IMAGE, samples=2))
    assert graph.outputs == ("model.lif3",)


@pytest.mark.parametrize(
    "make",
    [
        lambda: snn.Leaky(0.5, init_hidden=True),
        lambda: snn.Lapicque(beta=0.8, threshold=0.25, init_hidden=True),
        lambda: snn.Leaky(0.5, reset_mechanism="none", init_hidden=True),
        lambda: snn.Synaptic(0.5, 0.75, threshold=1.5, init_hidden=True),
    ],
    ids=["Leaky", "Lapicque", "no reset", "Synaptic"],
)
def test_compiles_to_integers(make: Any) -> None:
    """The tutorial's layers with pooled spikes, and a readout of currents over all steps."""
    body = nn.Sequential(
        nn.Conv2d(2, 6, 3),
        make(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 12),
        make(),
        nn.Linear(12, 4),
    )
    model = lively(nn.Sequential(Imported(body), ours.TimeMean()))
    x = frames(samples=12)
    graph = capture(model, SHAPE, STEPS).graph
    compiled = compile_graph(graph, standard_pipeline(), x.numpy())
    left = [n.op for n in compiled.graph.nodes if isinstance(n.op, ops.Neuron)]
    assert left and all(op.fixed is not None for op in left)
    assert not [f for f in network_findings(compiled.graph) if f.status == "FAIL"]
    seen, _ = spikes_of(model, x)
    front = run(compiled.stages["split_host"], x.numpy())  # real weights, spikes only
    for name, spikes in seen.items():
        np.testing.assert_array_equal(front.values[name], spikes, err_msg=name)
    assert compiled.ledger[-1].agreement > 0.95  # what the rounding to 8 bits leaves


# What is refused, and where.


def late(node: nn.Module) -> nn.Module:
    """Its reset_mechanism says what its update does not do any more."""
    node.reset_mechanism = "zero"
    return node


class Own(snn.Leaky):
    def fire(self, mem: Tensor) -> Tensor:
        return super().fire(mem - 0.1)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (snn.Leaky(0.9, reset_delay=False), "no exact form"),
        (snn.Leaky(0.0), "no exact form"),
        (snn.Leaky(torch.linspace(0.1, 0.9, 8)), "a beta for each neuron"),
        (snn.Leaky(0.9, threshold=-0.5), "no exact form"),
        (snn.Leaky(0.9, threshold=torch.ones(1, 2, 8, 8)), "no exact form"),
        (snn.Leaky(0.9, graded_spikes_factor=2.0), "no exact form"),
        (snn.Leaky(0.9, spike_grad=torch.sigmoid), "no exact form"),
        (snn.Leaky(0.9, state_quant=lambda v: v.round()), "no exact form"),
        (late(snn.Leaky(0.9)), "no exact form"),
        (snn.Lapicque(beta=0.9, reset_mechanism="zero"), "no exact form"),
        (snn.Lapicque(R=0.5, C=0.5), "no exact form"),
        (snn.Synaptic(0.5, 0.5, reset_mechanism="zero"), "no exact form"),
        (snn.RLeaky(0.9, all_to_all=False), "no operation for RLeaky"),
        (snn.Alpha(0.9, 0.8), "no operation for Alpha"),
        (Own(0.9), "in its own way"),
        (nn.Sequential(snn.Leaky(0.9), nn.Identity()), "together with its state"),
    ],
)
def test_refused_neurons(module: nn.Module, message: str) -> None:
    model = Imported(nn.Sequential(nn.Identity(), copy.deepcopy(module)))
    with pytest.raises(CaptureError, match=message) as e:
        capture(model, SHAPE, STEPS)
    assert e.value.where.startswith("model.1")


def test_refused_inhibition() -> None:
    with pytest.warns(UserWarning, match="unstable"):
        node = snn.Leaky(0.9, inhibition=True, init_hidden=True)
    with pytest.raises(CaptureError, match="no exact form"):
        capture(Imported(nn.Sequential(node)), SHAPE, STEPS)


def test_refused_outside_of_imported() -> None:
    with pytest.raises(CaptureError, match="time axis") as e:
        capture(nn.Sequential(snn.Leaky(0.9, init_hidden=True)), SHAPE, STEPS)
    assert "Imported" in e.value.remedy


class Loop(nn.Module):
    """As the tutorials write it: a loop over time, with the states in the forward's hands."""

    def __init__(self, own_state: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.lif = snn.Leaky(0.9)
        self.own_state = own_state

    def forward(self, x: Tensor) -> Tensor:
        mem = self.lif.init_leaky() if self.own_state else None
        for _ in range(2):
            spk, mem = self.lif(self.fc(x), mem) if self.own_state else self.lif(self.fc(x))
        return spk


@pytest.mark.parametrize(
    ("own_state", "message"), [(True, "to rest in every step"), (False, "called twice")]
)
def test_refused_loops_over_time(own_state: bool, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(Imported(Loop(own_state)), (4,), STEPS)
    assert "Imported" in e.value.remedy


def test_refused_membrane() -> None:
    class Membrane(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lif = snn.Leaky(0.9)

        def forward(self, x: Tensor) -> Tensor:
            _, mem = self.lif(x)
            return mem

    with pytest.raises(CaptureError, match="reads the membrane") as e:
        capture(Imported(Membrane()), (4,), STEPS)
    assert e.value.where == "model.lif"
