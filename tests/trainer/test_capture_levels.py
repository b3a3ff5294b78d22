"""Integer activations as papers and frameworks write them, captured and run as spikes, bit for bit.

Weights are dyadic, so that float64 sums are exact and ties are met.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional

from purespike.compiler.ir.graph import IRError
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels
from purespike.compiler.passes.unroll_levels.unroll_levels import unroll_levels
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.levels import LevelActivation
from purespike.trainer.nn.neuron import Neuron

STEPS, SAMPLES, FEATURES = 5, 40, 7


class Quant(torch.autograd.Function):
    """As in the code of Spike-driven Transformer V3 and SpikeYOLO."""

    @staticmethod
    def forward(ctx: Any, i: Tensor, least: float = 0, most: float = 4) -> Tensor:
        ctx.least, ctx.most = least, most
        ctx.save_for_backward(i)
        return torch.round(torch.clamp(i, min=least, max=most))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (i,) = ctx.saved_tensors
        return grad * ((i > ctx.least) & (i < ctx.most)), None, None


class MultiSpike(nn.Module):
    """With a norm, and an instance of the function, which torch calls deprecated."""

    def __init__(self, most: int = 4, norm: float | None = None) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.spike = Quant()
        self.most, self.norm = most, most if norm is None else norm

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.spike.apply(x, 0, self.most)
        return made / self.norm


class _Clamped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, 0, 4)


_shared = _Clamped()  # of the file, as E-3DSNN has it


class Floor(torch.autograd.Function):
    """As in the code of E-3DSNN: half goes up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        made: Tensor = torch.floor(_shared(x) + 0.5)
        return made


class Written(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.function(x)
        return made


def straight_through(x: Tensor) -> Tensor:
    y = torch.clamp(x / 0.5, -2, 4)
    return (y + (y.round() - y).detach()) * 0.5


def behind(x: Tensor) -> Tensor:
    return functional.relu(torch.clamp_max((2 * x + 0.25).round(), 3))


class SixLevels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(self.relu(x))


ACTIVATIONS = {
    "MultiSpike": (lambda: MultiSpike(), 4),
    "MultiSpike by another norm": (lambda: MultiSpike(8, 2.0), 8),
    "an autograd function": (lambda: Written(lambda x: Quant.apply(x, 0, 3)), 3),
    "floor of a half more": (lambda: Written(Floor.apply), 4),
    "straight through, with levels below zero": (lambda: Written(straight_through), 6),
    "a clamp behind the rounding": (lambda: Written(behind), 3),
    "ReLU6": (lambda: SixLevels(), 6),
    "Hardtanh": (lambda: nn.Sequential(nn.Hardtanh(0, 2), Written(torch.round)), 2),
    "ceil": (lambda: Written(lambda x: torch.ceil(torch.clamp(x, 0, 3))), 3),
    "trunc": (lambda: Written(lambda x: torch.trunc(torch.clamp(x * 2, -3, 3))), 6),
}


def dyadic(net: nn.Module) -> nn.Module:
    """In float64, with weights of few bits."""
    torch.manual_seed(0)
    for p in net.parameters():
        p.data = torch.randint(-12, 16, p.shape).double() / 8
    return net.double().eval()


def assert_captured(net: nn.Module, levels: int, model: nn.Module | None = None) -> None:
    """The graph, and its spikes, give what torch gives."""
    net = dyadic(net)
    model = net if model is None else model
    torch.manual_seed(1)
    x = (torch.rand(STEPS, SAMPLES, FEATURES) < 0.5).double()
    with torch.no_grad():
        expected = model(x).numpy()
    graph = capture(model, (FEATURES,), STEPS).graph
    found = [n.op for n in graph.nodes if isinstance(n.op, Levels)]
    assert found and max(op.levels for op in found) == levels
    assert np.array_equal(run(graph, x.numpy()).values[graph.outputs[0]], expected)
    after = unroll_levels(graph)
    assert np.array_equal(run(after, x.numpy()).values[after.outputs[0]], expected)
    assert len(np.unique(expected)) > 2


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_as_papers_write_them(name: str) -> None:
    make, levels = ACTIVATIONS[name]
    net = nn.Sequential(nn.Linear(FEATURES, 9), make(), nn.Linear(9, 6), make(), nn.Linear(6, 3))
    assert_captured(net, levels)


def sequential(*modules: nn.Module) -> nn.Sequential:
    for m in modules:
        m.step_mode = "m"  # type: ignore[assignment]
    return nn.Sequential(*modules)


def spikingjellys(kind: str) -> nn.Sequential:
    first, last = layer.Linear(FEATURES, 9), layer.Linear(9, 4)
    if kind == "ILIF":
        count = surrogate.MultiLevelSpikeCount(3)
        return sequential(first, neuron.ILIFNode(), last, neuron.ILIFNode(2.0, 0.5, count))
    if kind == "slots":
        plain = layer.Linear(9, 4, bias=False)
        spread = (layer.SpikeCountToBinary(4), plain, layer.TemporalBinSum(4))
        return sequential(first, neuron.ILIFNode(), *spread, neuron.ILIFNode(2.0))
    one = neuron.TernaryIFNode(2.0, None)
    return sequential(first, one, last, neuron.TernaryLIFNode(2.0, True, 1.0, None))


@pytest.mark.parametrize(("kind", "levels"), [("ILIF", 4), ("slots", 4), ("ternary", 2)])
def test_neurons_of_spikingjelly(kind: str, levels: int) -> None:
    net = spikingjellys(kind)
    assert_captured(net, levels, Imported(net))


def refused(net: nn.Module) -> str:
    with pytest.raises(CaptureError) as caught:
        capture(net, (FEATURES,), STEPS)
    error = caught.value
    assert error.where and error.remedy
    return str(error)


def test_what_is_refused_says_why() -> None:
    linear = layer.Linear(FEATURES, 9)
    hard = sequential(linear, neuron.TernaryIFNode(1.0, 0.0))
    assert "a reset to a value has no form" in refused(Imported(hard))
    biased = (layer.SpikeCountToBinary(4), layer.Linear(9, 4), layer.TemporalBinSum(4))
    assert "Linear with a bias" in refused(Imported(sequential(linear, neuron.ILIFNode(), *biased)))
    fewer = (layer.SpikeCountToBinary(3), layer.TemporalBinSum(3))
    assert "3 slots, on int[0, 4]" in refused(
        Imported(sequential(linear, neuron.ILIFNode(), *fewer))
    )
    other = (layer.SpikeCountToBinary(4), layer.TemporalBinSum(5))
    assert "5 and 4" in refused(Imported(sequential(linear, neuron.ILIFNode(), *other)))
    left = sequential(linear, neuron.ILIFNode(), layer.SpikeCountToBinary(4))
    assert "nothing adds them up again" in refused(Imported(left))
    alone = sequential(linear, neuron.ILIFNode(), layer.TemporalBinSum(5))
    assert "what nothing has spread" in refused(Imported(alone))

    def behind_linear(function: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 4), Written(function), nn.Linear(4, 2))

    assert "has no number of levels" in refused(behind_linear(torch.round))
    assert "a clamp of a current that nothing rounds" in refused(
        behind_linear(lambda x: torch.clamp(x, 0, 4))
    )
    assert "begin at 0 or below" in refused(behind_linear(lambda x: torch.clamp(x, 1, 4).round()))


def test_counts_in_a_network_of_the_catalogue() -> None:
    """As docs/networks.md puts them in; gates of spikes refuse them."""

    def counting(name: str, **more: Any) -> nn.Module:
        model = build_network(name, width=0.0625, steps=1, size=16, classes=4, seed=0, **more)
        for parent in list(model.modules()):
            for key, child in list(parent.named_children()):
                if isinstance(child, Neuron):
                    setattr(parent, key, LevelActivation(4, step=0.3))
        return model.double().eval()

    model = counting("cifar-resnet-18")
    torch.manual_seed(1)
    x = (torch.rand(1, 2, 3, 16, 16) < 0.4).double()
    graph = capture(model, (3, 16, 16), 1).graph
    levels = [n.name for n in graph.nodes if isinstance(n.op, Levels)]
    found = run(graph, x.numpy())
    with torch.no_grad():
        expected = model(x)["main"].numpy()
    assert len(levels) == 17 and max(found.values[n].max() for n in levels) > 1
    assert np.allclose(found.values[graph.outputs[0]], expected, rtol=0, atol=1e-9)
    with pytest.raises(IRError, match="gate iand takes spikes only"):
        capture(counting("fsnn-18"), (3, 16, 16), 1)


class ByHand(nn.Module):
    """I-LIF with its membrane on the module."""

    def __init__(self, keeps: bool = True) -> None:
        super().__init__()
        self.mem: Any = 0.0
        self.spike: Any = None
        self.keeps = keeps

    def forward(self, x: Tensor) -> Tensor:
        if self.keeps and self.spike is not None:
            x = (self.mem - self.spike) * 0.5 + x
        self.mem = x
        self.spike = torch.clamp(x, 0, 4).round()
        made: Tensor = self.spike
        return made


def test_a_membrane_kept_by_hand_is_refused() -> None:
    """Traced once, it would be an activation without memory; what is only noted does no harm."""

    def model(keeps: bool) -> nn.Module:
        return Imported(nn.Sequential(nn.Linear(FEATURES, 4), ByHand(keeps)), takes="step")

    assert "kept at its last call" in refused(model(True))
    graph = capture(model(False), (FEATURES,), STEPS).graph
    assert any(isinstance(n.op, Levels) for n in graph.nodes)
    capture(model(True), (FEATURES,), 1)


def test_a_network_of_counts_through_every_pass() -> None:
    """Whole weights: what comes out in the chip's integers is what torch computes."""
    net = nn.Sequential(
        nn.Linear(FEATURES, 9),
        MultiSpike(4, 1.0),
        nn.Linear(9, 6),
        MultiSpike(2, 1.0),
        nn.Linear(6, 3, bias=False),
    )
    torch.manual_seed(3)
    for p in net.parameters():
        p.data = torch.randint(-3, 5, p.shape).float() / 4
    x = (torch.rand(1, SAMPLES, FEATURES) < 0.5).float()
    from purespike.trainer.nn.layers import TimeMean

    graph = capture(nn.Sequential(net, TimeMean()), (FEATURES,), 1).graph
    done = compile_graph(graph, standard_pipeline(), x.double().numpy())
    out = done.graph.outputs[0]
    found = run(done.graph, x.numpy()).values[out][-1] / done.scales[out]
    assert np.array_equal(found, net(x)[0].detach().double().numpy())
    assert done.ledger[-1].divergence is None
