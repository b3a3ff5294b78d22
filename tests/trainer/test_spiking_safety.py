"""Training by additions around networks, inputs and hooks that it was not made for."""

import copy
import io
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from purespike.trainer.nn import carrying, gates, spiking, synapses
from purespike.trainer.nn.choosing import Choice
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d
from purespike.trainer.nn.neuron import IF
from purespike.trainer.nn.spiking import spike_kernels

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)
ALL = {"0": Choice(True, True, 0.1)}


def spikes(*shape):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < 0.2).float()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(32, 64, 3, padding=1), (2, 24, 8, 8)),
        (nn.Conv2d(32, 64, 3), (2, 32, 2, 2)),
        (nn.Linear(64, 64), (128, 100)),
        (nn.Linear(64, 64), (128, 4000)),
    ],
)
@pytest.mark.parametrize("known", [{}, ALL], ids=["chosen now", "chosen before"])
def test_an_input_that_does_not_fit_is_torchs_error(layer, shape, known):
    """It was computed, from memory behind the weights; the backward pass wrote there."""
    x = spikes(*shape)
    with pytest.raises(RuntimeError) as plain:
        layer(x)
    with spike_kernels(nn.Sequential(layer), known), pytest.raises(RuntimeError) as found:
        layer(x)
    assert str(found.value) == str(plain.value)


def test_lists_of_spikes_end_where_their_places_have_no_room():
    """18,000 samples of 1,024 features: places in the weights left 32 bits, and memory."""
    layer, count = nn.Linear(1024, 64), 18_000
    x = torch.zeros(count, 1024)
    x[torch.arange(count), torch.arange(count) % 1024] = 1
    with torch.no_grad():
        wanted = layer(x)
    with spike_kernels(nn.Sequential(layer), ALL):
        torch.testing.assert_close(layer(x), wanted)


def block():
    torch.manual_seed(1)
    return nn.Sequential(Conv2d(2, 8, 3, bias=False), BatchNorm2d(8), IF())


class Optional(nn.Module):
    """Hands out its normalized currents where nothing else is given."""

    def __init__(self):
        super().__init__()
        self.body = block()

    def forward(self, x, other=None):
        currents = self.body[1](self.body[0](x))
        return self.body[2](currents), currents if other is None else other


class WhileTraining(Optional):
    def forward(self, x):
        currents = self.body[1](self.body[0](x))
        out = self.body[2](currents)
        return (out, currents) if self.training else (out, out)


@pytest.mark.parametrize("kind", [Optional, WhileTraining])
def test_currents_that_are_read_elsewhere_are_normalized(kind):
    x, model = spikes(4, 3, 2, 8, 8), kind()
    wanted = copy.deepcopy(model).train()(x)
    model.eval()
    with spike_kernels(model):
        found = model.train()(x)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_hooks_see_what_they_saw():
    x, rates, grads = spikes(4, 3, 2, 8, 8), [], []
    for kernels in (False, True):
        model = block()
        model[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] + 0.5,))
        model[1].register_full_backward_hook(lambda m, i, o: grads.append((i[0], o[0])))
        if kernels:
            with spike_kernels(model):
                out = model(x)
        else:
            out = model(x)
        rates.append(out.mean())
        out.pow(2).sum().backward()
    assert rates[0] == rates[1]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("hook", ["register_full_backward_hook", "register_full_backward_pre_hook"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_hook_on_the_way_back_changes_nothing(hook, which):
    """One on a neuron hid from it that the normalization had been left to it."""
    x, found, seen = spikes(4, 3, 2, 8, 8).double().requires_grad_(), [], []
    for kernels in (False, True):
        model = block().double()
        getattr(model[which], hook)(lambda module, *grads: seen.append(grads[-1][0]))
        with spike_kernels(model) if kernels else nullcontext():
            out = model(x)
        out.pow(2).sum().backward()
        found.append((out, *(p.grad for p in model.parameters())))
    assert torch.equal(found[0][0], found[1][0])
    for a, b in (*zip(*found, strict=True), seen):
        torch.testing.assert_close(a, b)


def test_a_hook_on_a_neuron_sees_what_the_convolution_gives():
    x, model, seen = spikes(4, 3, 2, 8, 8), block(), []
    model[2].register_forward_hook(lambda module, inputs, out: seen.append(inputs[0]))
    with spike_kernels(model):
        model(x)
    torch.testing.assert_close(seen[0], model[0](x))


def test_an_unread_convolution_shows_that_it_is_not_computed():
    x, model = spikes(4, 3, 2, 8, 8), block()
    wanted = copy.deepcopy(model)
    with spike_kernels(model):
        assert model[0](x).shape == wanted[0](x).shape
        assert model[1](model[0](x)).isnan().all()
        found = model[2](x)
        assert torch.equal(found, IF()(x))
        assert torch.equal(model(x), wanted(x))


def test_a_neuron_called_alone_normalizes_nothing():
    x, model = spikes(4, 3, 2, 8, 8), block()
    y = torch.rand(4, 3, 8, 6, 6)

    with spike_kernels(model):
        model(x)
        model[1](model[0](x))  # nobody reads it
        mean = model[1].running_mean.clone()
        found = model[2](y)
        assert torch.equal(model[1].running_mean, mean)
    assert torch.equal(found, IF()(y))


def test_the_channels_of_a_normalization_are_checked():
    model = nn.Sequential(BatchNorm2d(8), IF())
    with spike_kernels(model), pytest.raises(RuntimeError, match="running_mean"):
        model(torch.randn(4, 3, 1, 6, 6))


def test_copies_are_plain_and_can_be_saved():
    model = block()
    with spike_kernels(model):
        model(spikes(4, 3, 2, 8, 8))
        copied = copy.deepcopy(model)
        torch.save(model, io.BytesIO())
    torch.save(copied, io.BytesIO())
    assert [type(m) for m in copied] == [Conv2d, BatchNorm2d, IF]
    assert not any("_spiking" in vars(m) for m in copied)


def test_what_may_be_viewed_may_be_viewed():
    layer, x = nn.Conv2d(32, 64, 3), spikes(2, 32, 8, 8)
    wanted = layer(x).view(2, -1)
    with spike_kernels(nn.Sequential(layer), ALL):
        torch.testing.assert_close(layer(x).view(2, -1), wanted)


class Chain(nn.Module):
    """Two blocks, joined by a gate, and a third that hears the gate."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.third = (
            nn.Sequential(Conv2d(c, 8, 3, padding=1, bias=False), BatchNorm2d(8), IF())
            for c in (2, 8, 8)
        )
        self.gate = gates.Or()

    def forward(self, x):
        a = self.first(x)
        return self.third(self.gate(self.second(a), a))


def packing(monkeypatch):
    packed, real = [], spiking.pack
    monkeypatch.setattr(spiking, "pack", lambda x: (packed.append(x.shape[1]), real(x))[1])
    return packed


def test_bits_go_with_spikes(monkeypatch):
    packed = packing(monkeypatch)
    model = Chain().to(memory_format=torch.channels_last)
    with spike_kernels(model) as kernels:
        out = model(spikes(4, 3, 2, 8, 8))
    assert packed == [2]  # the input alone
    for spiking_rate in (kernels.choices["third.0"].rate, carrying.carried(out).rate):
        assert 0 < spiking_rate < 1
    assert carrying.carried(out).rate == pytest.approx(out.mean().item())
    assert torch.equal(
        carrying.carried(out.flatten(0, 1)).bits, synapses.pack(out.flatten(0, 1)).bits
    )
    torch.save(out.detach(), io.BytesIO())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x.detach().mul_(0.5), x)[1],  # in place, where autograd does not look
        lambda x: x * 1,
        lambda x: x.transpose(3, 4),
        lambda x: x[:, :2],
        lambda x: x.flip(0),
        lambda x: x.contiguous(),
        lambda x: torch.cat([x, x]),
    ],
)
def test_bits_do_not_go_with_what_is_changed(change):
    model = Chain().to(memory_format=torch.channels_last)
    with spike_kernels(model):
        out = model.first(spikes(4, 3, 2, 8, 8))
    assert carrying.carried(out) is not None
    assert carrying.carried(change(out)) is None


def test_a_hook_that_replaces_spikes_is_heard():
    x, found = spikes(4, 3, 2, 8, 8), []
    for kernels in (False, True):
        model = Chain()
        model.first[2].register_forward_hook(lambda module, inputs, out: 1 - out)
        with spike_kernels(model) if kernels else nullcontext():
            found.append(model(x))
    assert torch.equal(*found)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [16, 40])
def test_silence_does_not_hide_weights_that_are_not_finite(wrong, dtype, channels):
    """0 times infinity is no number: a dense layer shows it, whatever its input does."""
    layer, x = nn.Conv2d(channels, 9, 3).to(dtype), spikes(2, channels, 6, 6).to(dtype)
    x[:, 1] = 0
    with torch.no_grad():
        layer.weight[4, 1, 2, 0] = wrong
    wanted = layer(x)
    assert wanted[:, 4].isnan().all()
    with spike_kernels(nn.Sequential(layer), ALL):
        found = layer(x)
        assert torch.equal(found.isnan(), wanted.isnan())
        found.sum().backward()
    with torch.no_grad():
        layer.weight[4, 1, 2, 0] = 0
    with spike_kernels(nn.Sequential(layer), ALL):
        assert layer(x).isfinite().all()
