"""Networks that train by additions against the same networks as they are."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn import native, pairs, synapses
from purespike.trainer.nn.choosing import Choice
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.layers import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    ThresholdBatchNorm2d,
    TimeMean,
)
from purespike.trainer.nn.neuron import IF, LIF, Neuron
from purespike.trainer.nn.normed import Neurons, Norm, fire_normed
from purespike.trainer.nn.spiking import spike_kernels
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import train
from purespike.trainer.training.settings import TrainConfig

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)


def steps(model, x):
    """Outputs, gradients and running statistics of one pass in training mode."""
    model.zero_grad()
    out = model(x)
    out = out["main"] if isinstance(out, dict) else out
    functional.cross_entropy(out, torch.arange(len(out)) % out.shape[1]).backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return [out.detach(), *grads, *(b.clone().double() for b in model.buffers())]


def close(model, x, tolerance=1e-9):
    other = copy.deepcopy(model)
    wanted = steps(other, x)
    with spike_kernels(model) as kernels:
        found = steps(model, x)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    return kernels


NEURONS = (
    *(NeuronConfig(surrogate=kind()) for kind in SLOPES),
    NeuronConfig(decay=0.5, input_scale=0.5, detach_reset=False),
    NeuronConfig(decay=0.25, threshold=0.5, reset="subtract", detach_reset=False),
    NeuronConfig(decay=0.9, reset="subtract", amount=0.7),
    NeuronConfig(decay=0.5, input_scale=0.5, learned_tau=True),
)


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
@pytest.mark.parametrize("held", [True, False])
def test_a_network_trains_as_without_the_kernels(neuron, held):
    torch.manual_seed(4)
    config = ModelConfig(5, 4, 3, (6, 6), 8, (20,), (2,), "or", neuron, aap=False, shortcut=False)
    model = build(config, 1).double().train()
    x = (torch.rand(1 if held else 3, 4, 5, 6, 6) < 0.4).double().expand(3, -1, -1, -1, -1)
    kernels = close(model, x)
    assert any(c.forward for c in kernels.choices.values())
    assert len(kernels.pairs) == (0 if neuron.learned_tau else 8)


@pytest.mark.parametrize("gate", ["and", "iand", "xor", "sn", "vanilla"])
def test_every_join_trains_as_without_the_kernels(gate):
    torch.manual_seed(4)
    model = build(ModelConfig(5, 4, 3, (6, 6), 8, (8, 20), (1, 2), gate), 1).double().train()
    close(model, (torch.rand(3, 4, 5, 6, 6) < 0.4).double())


def test_a_unit_is_one_step_and_its_numbers_those_of_two(monkeypatch):
    """To the bit: the same kernels run, one after the other; float32, where order shows."""
    found = []
    for apart in (False, True):
        torch.manual_seed(4)
        config = ModelConfig(5, 4, 3, (9, 9), 8, (12, 20), (1, 2), "or", aap=False, shortcut=False)
        model = build(config, 1).train().to(memory_format=torch.channels_last)
        if apart:
            monkeypatch.setattr(pairs, "_convolution", lambda *_: "")
        x = (torch.rand(3, 4, 5, 9, 9) < 0.4).float()
        with spike_kernels(model):
            unit = model.stem(x).grad_fn
            found.append(steps(model, x))
        assert type(unit).__name__ == ("_FireNormedBackward" if apart else "_UnitBackward")
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class Own(nn.Module):
    """Branches, a shared normalization, a linear layer of spikes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(
            Conv2d(2, 7, 3), ThresholdBatchNorm2d(7, 0.5), LIF(threshold=0.5)
        )
        self.second = nn.Sequential(Conv2d(7, 7, 3, padding="same"), BatchNorm2d(7))
        self.left, self.right = IF(), Neuron(decay=0.5)
        self.flatten, self.hidden = Flatten(), nn.Linear(7 * 16, 21)
        self.last = nn.Sequential(IF(threshold=0.05), TimeMean(), nn.Linear(21, 3))

    def forward(self, x):
        both = self.second(self.first(x))
        return self.last(self.hidden(self.flatten(self.left(both) * self.right(both))))


def test_only_a_normalization_that_one_neuron_reads_is_computed_with_it():
    torch.manual_seed(4)
    kernels = close(Own().double().train(), (torch.rand(3, 5, 2, 6, 6) < 0.4).double())
    assert kernels.pairs == ("first.1", "first.2")
    assert set(kernels.choices) == {"first.0", "hidden"}  # 'same' is torch's, the mean no spikes


def test_modules_are_what_they_were_afterwards_and_evaluate_alike():
    torch.manual_seed(4)
    model = Own()
    classes = [type(m) for m in model.modules()]
    x = (torch.rand(3, 5, 2, 6, 6) < 0.4).float()
    wanted = model.eval()(x)
    with pytest.raises(ZeroDivisionError), spike_kernels(model):
        assert torch.equal(model(x), wanted)
        assert [type(m) for m in model.modules()] != classes
        assert [type(m).__name__ for m in model.modules()] == [c.__name__ for c in classes]
        raise ZeroDivisionError
    assert [type(m) for m in model.modules()] == classes
    assert not any("_spiking" in vars(m) for m in model.modules())


def test_without_a_compiler_everything_is_torchs(monkeypatch):
    torch.manual_seed(4)
    model = Own().train()
    x = (torch.rand(3, 5, 2, 6, 6) < 0.4).float()
    monkeypatch.setenv(native.VARIABLE, "off")
    other = copy.deepcopy(model)
    wanted = steps(other, x)
    with spike_kernels(model) as kernels:
        found = steps(model, x)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not kernels.choices


def test_choices_stay_and_decide():
    torch.manual_seed(4)
    model = Own().train()
    x = (torch.rand(3, 5, 2, 6, 6) < 0.4).float()
    with spike_kernels(model) as kernels:
        steps(model, x)
        chosen = dict(kernels.choices)
        steps(model, torch.ones_like(x))
        assert kernels.choices == chosen
    dense = {name: Choice(False, False, 0.1) for name in chosen}
    with spike_kernels(model, chosen) as again, spike_kernels(copy.deepcopy(model), dense) as none:
        assert again.choices == chosen
        assert none.choices == dense


def test_another_device_is_refused():
    with pytest.raises(ConfigError, match="device = cpu"):
        replace(TrainConfig(spike_kernels=True), device="cuda")


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("channels", [8, 11])
def test_neurons_normalize_bfloat16_as_float32(held, channels):
    """The same numbers in both: spikes and sums to the bit, gradients as they round."""
    generator = torch.Generator().manual_seed(3)
    shape = (1 if held else 3, 4, channels, 5, 6)
    grad = torch.randn((3, *shape[1:]), generator=generator).bfloat16()
    found = {}
    start = torch.randn(shape, generator=generator).bfloat16()
    for dtype in (torch.bfloat16, torch.float32):
        flat = start.to(dtype).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = flat.reshape(shape).requires_grad_()
        weight, bias = (torch.full((channels,), v, requires_grad=True) for v in (1.5, 0.25))
        norm = Norm(1e-5, 0.1, torch.zeros(channels), torch.ones(channels))
        neurons = Neurons(0.5, 1.0, IF().dynamics(), 3 if held else None)
        spikes, rate = fire_normed(x, weight, bias, norm, neurons)
        grads = torch.autograd.grad(spikes, (x, weight, bias), grad.to(dtype))
        found[dtype] = spikes, rate, norm.running_mean, norm.running_var, *grads
    half, single = found.values()
    assert half[0].dtype == half[4].dtype == torch.bfloat16
    for i in (0, 1, 2, 3, 5, 6):
        assert torch.equal(half[i].float(), single[i]), i
    torch.testing.assert_close(half[4].float(), single[4], rtol=2**-7, atol=2**-7)


def test_under_autocast_normalizations_are_computed_with_their_neurons():
    torch.manual_seed(4)
    model = Own().to(memory_format=torch.channels_last).train()
    x = (torch.rand(3, 5, 2, 6, 6) < 0.4).float()
    other, found = copy.deepcopy(model), []
    for each, kernels in ((model, True), (other, False)):
        with spike_kernels(each) if kernels else nullcontext(), torch.autocast("cpu"):
            spikes = each.first(x)
            assert spikes.dtype == torch.bfloat16
            assert type(spikes.grad_fn).__name__ == (
                "_FireNormedBackward" if kernels else "_FireBackward"
            )
            conv, norm, _ = each.first  # a bias in front of a normalization has no gradient
            learned = conv.weight, norm.weight, norm.bias
            found.append(torch.autograd.grad(spikes.sum(), learned))
    for a, b in zip(*found, strict=True):
        assert functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_trainings_take_both_precisions(precision, tmp_path):
    config = TrainConfig(epochs=1, batch_size=512, precision=precision, spike_kernels=True)
    model = ModelConfig(5, 10, 2, (8, 8), 8, (8,), (2,))
    assert train(model, config, tmp_path, progress=False).accuracy >= 0
    assert load_checkpoint(tmp_path / "model").train_config == config


def test_a_training_by_additions_says_why_it_cannot_start(tmp_path, monkeypatch):
    monkeypatch.setenv(native.VARIABLE, "off")
    config = TrainConfig(epochs=1, batch_size=512, spike_kernels=True)
    with pytest.raises(ConfigError, match=r"spike kernels cannot be had(.|\n)*spike_kernels=false"):
        train(ModelConfig(5, 10, 2, (8, 8), 4, (4,), (2,)), config, tmp_path, progress=False)


def test_a_training_says_what_it_adds_up_and_keeps_the_choices(tmp_path, capsys):
    config = TrainConfig(epochs=1, batch_size=479, spike_kernels=True)
    train(ModelConfig(5, 10, 2, (8, 8), 4, (4,), (2,)), config, tmp_path)
    said = capsys.readouterr().err
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["spike_kernels"]
    assert f"of {len(kept)} layers that hear spikes add them up" in " ".join(said.split())
    assert "stem.0" in kept
