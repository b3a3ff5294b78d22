"""Networks that train by additions against the same networks as they are."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn import native, synapses
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
from purespike.trainer.nn.spiking import spike_kernels
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


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"device": "cuda"}])
def test_what_the_kernels_do_not_compute_is_refused(change):
    with pytest.raises(ConfigError, match="precision = float32"):
        replace(TrainConfig(spike_kernels=True), **change)


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
