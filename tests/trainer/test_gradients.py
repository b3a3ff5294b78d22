"""Gradients layer by layer: against autograd by hand, and against the gain that theory predicts."""

import math

import pytest
import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d
from purespike.trainer.nn.neuron import IF, Neuron
from purespike.trainer.nn.surrogate import ATan, FastSigmoid, Shaped
from purespike.trainer.training.gradients import layer_gradients, scan_surrogates, tune_width

LABELS = torch.tensor([0, 2, 1, 3])


class Chain(nn.Module):
    """Convolutions with normalized currents, one after the other (Ledinauskas et al., Sec. 3)."""

    def __init__(self, layers: int, channels: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            *(
                module
                for k in range(layers)
                for module in (
                    Conv2d(channels, channels, 3, padding=1, bias=False),
                    BatchNorm2d(channels),
                    IF(),
                )
            )
        )
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.readout = torch.randn(channels * 64, 4) / 10

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(2).mean(0) @ self.readout.to(x.dtype)


def batch(steps: int, channels: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(steps, 4, channels, 8, 8, generator=generator) < 0.2).float()


def test_gradients_are_those_of_autograd_by_hand() -> None:
    model = Chain(3).double()
    x = batch(2).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = layer_gradients(model, x, LABELS)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [row.name for row in found] == ["layers.2", "layers.5", "layers.8"]
    assert not any(m._forward_hooks for m in model.modules())
    spikes = []
    current = x
    for module in model.layers:
        current = module(current)
        if isinstance(module, Neuron):
            current = current.detach().requires_grad_()
            spikes.append(current)
    # Backwards one layer at a time, from the loss by its own formula.
    logits = spikes[-1].flatten(2).mean(0) @ model.readout.double()
    probabilities = logits.softmax(1) - torch.eye(4).double()[LABELS]
    gradient = torch.autograd.grad(logits, spikes[-1], probabilities / 4)[0]
    wanted = [gradient]
    for k in (2, 1):
        out = model.layers[3 * k + 2](model.layers[3 * k + 1](model.layers[3 * k](spikes[k - 1])))
        (gradient,) = torch.autograd.grad(out, spikes[k - 1], gradient)
        wanted.insert(0, gradient)
    for row, gradient, s in zip(found, wanted, spikes, strict=True):
        assert row.gradient == pytest.approx(float(gradient.square().mean().sqrt()), rel=1e-9)
        assert row.rate == pytest.approx(s.detach().mean().item())


@pytest.mark.parametrize("surrogate", [ATan(1.0), ATan(4.0), FastSigmoid(10.0), Shaped()])
def test_the_gain_at_one_step_is_the_predicted_one(surrogate: ATan | FastSigmoid | Shaped) -> None:
    """G^2 = E[sigma'(u)^2] / Var(s): what weights and normalization leave over."""
    model = Chain(14)
    (scan,) = scan_surrogates(model, [surrogate], batch(1), LABELS)
    inner = scan.layers[2:-1]
    measured = (inner[0].gradient / inner[-1].gradient) ** (1 / (len(inner) - 1))
    z = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    power = torch.trapezoid(surrogate.derivative(z - 1.0).square() * density, z)
    rate = sum(row.rate for row in inner) / len(inner)
    predicted = math.sqrt(float(power) / (rate * (1 - rate)))
    assert measured == pytest.approx(predicted, rel=0.08)  # 32 channels: a finite sample


def test_wide_surrogates_explode_and_narrow_ones_vanish() -> None:
    model = build_network(
        "cifar-resnet-50", seed=0, width=1 / 16, in_channels=2, classes=4, steps=2, size=8
    )
    x = batch(2, 2)
    widths = (0.1, 0.69, 5.0)
    scans = scan_surrogates(model, [Shaped(width=w) for w in widths], x, LABELS)
    gains = [scan.gain for scan in scans]
    assert gains == sorted(gains) and gains[0] < 0.9 and gains[-1] > 1.1
    assert len(scans[0].layers) == 49  # stem and 16 blocks of three
    rates = [[row.rate for row in scan.layers] for scan in scans]
    assert rates[0] == rates[1] == rates[2]
    assert all(m.surrogate == model.config.neuron.surrogate
               for m in model.modules() if isinstance(m, Neuron))  # fmt: skip


def test_tuning_finds_the_width_that_keeps_the_gradient() -> None:
    model = Chain(10, channels=16)
    x = batch(2, 16)
    row = tune_width(model, Shaped("arctan", width=4.0, height=1.0), x, LABELS)
    assert row.gain == pytest.approx(1.0, abs=0.02)
    assert isinstance(row.surrogate, Shaped) and row.surrogate.height == 1.0
    with pytest.raises(ConfigError, match="no width"):
        tune_width(model, Shaped("arctan", width=1.0, height=1e-3), x, LABELS, most=6)
