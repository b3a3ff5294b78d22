"""Residual blocks that are one step of autograd around what they were not made for."""

from contextlib import nullcontext

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from purespike.trainer.networks.blocks import ResidualBlock
from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.nn import gates, synapses
from purespike.trainer.nn.choosing import Choice
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d
from purespike.trainer.nn.memory import Memory
from purespike.trainer.nn.neuron import IF
from purespike.trainer.nn.spiking import spike_kernels

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)


def images():
    return torch.rand(2, 8, 3, 14, 14, generator=torch.Generator().manual_seed(6)).double()


class Network(nn.Module):
    """A block that changes the shape, between two layers, of which the last hears its paths."""

    def __init__(self, which=0):
        super().__init__()
        torch.manual_seed(3)
        self.which = which
        self.before = nn.Sequential(Conv2d(3, 5, 1), IF())
        self.block = ResidualBlock(5, 9, 1, "or", NeuronConfig(threshold=0.5), aap=True)
        self.after = Conv2d(9, 4, 3, bias=False)
        for parameter in self.double().parameters():
            torch.nn.init.normal_(parameter, 0.2, 0.5)

    def forward(self, x):
        return self.after(self.block.spikes(self.before(x))[self.which])


def known(model):
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    return dict.fromkeys(names, Choice(forward=True, gradient=True, rate=0.3))


def compared(make, change=lambda model: None):
    """What a network computes that is changed within the context is what it does without."""
    found = []
    for on in (True, False):
        model = make()
        with spike_kernels(model, known(model)) if on else nullcontext():
            change(model)
            out = model(images())
            out.pow(2).sum().backward()
        found.append((out, *(p.grad for p in model.parameters())))
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-8, atol=1e-8)


# What is not read has no gradient, as torch has it: an optimizer leaves it alone.
@pytest.mark.parametrize("which", [0, 1])
def test_bits_go_with_the_spikes_that_they_are(which):
    """Those of the gate went with those of the residual path, too."""
    compared(lambda: Network(which))


def replaced(model):
    torch.manual_seed(8)
    model.block.conv1 = Conv2d(5, 9, 3, padding=1, bias=False).double()


def replaced_beside(model):
    torch.manual_seed(8)
    model.block.identity[0] = Conv2d(5, 9, 1, bias=False).double()


def overridden(model):
    plain = model.block.bn1.forward
    model.block.bn1.forward = lambda x: plain(x) + 0.25


def overridden_neuron(model):
    plain = model.block.neuron2.forward
    model.block.neuron2.forward = lambda x: plain(x * 2)


def parametrized(model):
    class Third(nn.Module):
        def forward(self, weight):
            return weight[:, :, :1].expand_as(weight)

    parametrize.register_parametrization(model.block.conv1, "weight", Third())


def unbiased(model):
    model.block.bn1.bias = None


def strided(model):
    model.block.bn1.weight = nn.Parameter(torch.rand(9, 2).double()[:, 0])


@pytest.mark.parametrize(
    "change",
    [replaced, replaced_beside, overridden, overridden_neuron, parametrized, unbiased, strided],
)
def test_a_block_is_what_has_become_of_it(change):
    compared(Network, change)


class Nor(nn.Module):
    def forward(self, a, s):
        return (1 - a) * (1 - s)


@pytest.mark.parametrize("kind", [Nor, type("Or", (Nor, gates.Or), {})])
def test_a_gate_of_another_class_is_computed_by_it(kind):
    def make():
        model = Network()
        model.block.gate = kind()
        return model

    compared(make)


def test_a_hook_on_the_path_beside_is_called():
    model, seen = Network(), []
    with spike_kernels(model, known(model)):
        model.block.identity.register_forward_hook(lambda module, inputs, out: seen.append(out))
        model(images())
    assert len(seen) == 1


@pytest.mark.parametrize("steps", [1, 3])
def test_what_a_backward_pass_computes_again_is_what_was_computed(steps):
    """The first step went by modules, as rates were not known; the same step again did not."""
    found = []
    for forget in (True, False):
        model = Network()
        with spike_kernels(model):
            for _ in range(steps):
                s, spikes = model.before(images()), model.block.spikes
                out, _ = checkpoint(spikes, s, use_reentrant=False) if forget else spikes(s)
                out.pow(2).sum().backward()
        found.append([p.grad for p in model.block.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_block_can_be_traced_within_the_context():
    class Tracer(fx.Tracer):
        def is_leaf_module(self, module, name):
            return not any(True for _ in module.children())

    model = Network()
    plain = [node.target for node in Tracer().trace(model).nodes]
    with spike_kernels(model, known(model)):
        assert [node.target for node in Tracer().trace(model).nodes] == plain


@pytest.mark.parametrize("change", [unbiased, strided])
def test_a_normalization_that_the_kernels_cannot_read_is_torchs(change):
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            self.block = nn.Module()
            self.block.conv1 = Conv2d(3, 9, 3, bias=False)
            self.block.bn1, self.block.neuron1 = BatchNorm2d(9), IF(threshold=0.5)
            self.double()

        def forward(self, x):
            return self.block.neuron1(self.block.bn1(self.block.conv1(x.gt(0.5).to(x))))

    compared(Unit, change)


def test_a_normalization_of_the_wrong_size_is_torchs_error():
    """The kernel read behind its end."""
    model = Network()
    model.block.bn1.weight = nn.Parameter(torch.ones(4).double())
    with spike_kernels(model, known(model)), pytest.raises(RuntimeError, match="9 elements"):
        model(images())


def test_memory_that_is_held_or_shared_in_any_way_is_not_used_again():
    memory = Memory()

    def take():
        return memory.take((1000,), (1,), torch.float32)

    def place():
        return take().data_ptr()

    piece = take()
    before, kept = piece.data_ptr(), piece.untyped_storage()
    del piece
    places = [place(), place()]
    assert places[0] == places[1] != before == kept.data_ptr()
    take().share_memory_()  # a process may have it that nobody counts here
    assert not take().is_shared()
    take().untyped_storage().resize_(0)
    assert take().untyped_storage().nbytes() >= 4000
