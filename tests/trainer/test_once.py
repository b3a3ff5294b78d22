"""Second derivatives through neurons and kernels: refused, never silently 0."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn import synapses
from purespike.trainer.nn.choosing import Choice
from purespike.trainer.nn.layers import Conv2d
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import IF, PLIF, Neuron
from purespike.trainer.nn.once import once
from purespike.trainer.nn.spiking import spike_kernels
from purespike.trainer.nn.surrogate import Rectangular
from purespike.trainer.training.fine_tuning import _Fires

KERNELS = pytest.mark.skipif(bool(synapses.available()), reason="no kernels here")
INFLOR = {"decay": 0.5, "threshold": 0.5, "amount": 1.0, "reset": "subtract", "rectified": True}


def layers(*neurons):
    """Convolutions, each with neurons behind."""
    torch.manual_seed(1)
    parts = [(Conv2d(4, 4, 3, padding=1), each) for each in neurons]
    return nn.Sequential(*(part for pair in parts for part in pair))


def residual(gate):
    sizes = {"stem": 8, "widths": (8, 8), "strides": (1, 1)}
    return build(ModelConfig(in_channels=4, classes=3, steps=2, gate=gate, **sizes), seed=1)


MODELS = {
    "neurons": lambda: layers(IF(), IF()),
    "learned decay": lambda: layers(PLIF()),
    "rectified": lambda: layers(Neuron(**INFLOR, surrogate=Rectangular(1.0))),
    "counts": lambda: layers(ILIF(4)),
    "learned counts": lambda: layers(ILIF(4, learned=True)),
}


def linear(model):
    """The gradients of a loss that is linear in what the model puts out, as graphs, by name."""
    torch.manual_seed(2)
    out = model(torch.rand(2, 3, 4, 8, 8))
    out = out["main"] if isinstance(out, dict) else out
    names, parameters = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(out.sum(), parameters, create_graph=True, allow_unused=True)
    return {n: g for n, g in zip(names, grads, strict=True) if g is not None}


def refused(model):
    # The classifier's are the spikes, whose own gradients are of first order.
    grads = {name: grad for name, grad in linear(model).items() if not name.startswith("fc.")}
    assert len(grads) > 1
    for name, grad in grads.items():
        assert grad.requires_grad, name
        with pytest.raises(RuntimeError, match="cannot be differentiated again"):
            grad.square().sum().backward(retain_graph=True)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_gradients_through_neurons_refuse_to_be_differentiated(make):
    refused(make())


@KERNELS
@pytest.mark.parametrize("gate", ["or", "xor", "sn"])
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "torch"])
def test_gradients_through_networks_refuse_to_be_differentiated(gate, kernels):
    model = residual(gate)
    names = [n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    chosen = dict.fromkeys(names, Choice(forward=True, gradient=True, rate=0.3))
    with spike_kernels(model, chosen) if kernels else nullcontext():
        refused(model)


def test_the_gradients_themselves_are_the_same():
    model = MODELS["neurons"]()
    graph = linear(model)
    torch.manual_seed(2)
    model(torch.rand(2, 3, 4, 8, 8)).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.equal(graph[name], parameter.grad) and not parameter.grad.requires_grad


def test_neurons_that_learn_on_the_integers_refuse_too():
    distance = torch.linspace(-1, 1, 5, requires_grad=True)
    spikes = _Fires.apply(distance, lambda gap: 1 - gap.abs())
    (grad,) = torch.autograd.grad(spikes.sum(), distance, create_graph=True)
    assert torch.equal(grad, 1 - distance.detach().abs())
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        grad.sum().backward()


class Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return x / 2

    @staticmethod
    @once
    def backward(ctx, *grads):
        return grads[0] / 2, None


def test_an_input_without_a_gradient_stays_without():
    x = torch.ones(3, requires_grad=True)
    (grad,) = torch.autograd.grad(Halved.apply(x, 2.0).sum(), x, create_graph=True)
    assert torch.equal(grad, torch.full((3,), 0.5)) and grad.requires_grad
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        grad.sum().backward()
