"""Levels in recipes, and what a level is worth as a parameter: LSQ's, always a power of two."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike import nn as pn
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels, Neuron
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.trainer.capture.trace import capture
from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.networks.attached import attach
from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import train
from purespike.trainer.training.gradients import layer_gradients, scan_surrogates
from purespike.trainer.training.recipe import read_recipe


def by_hand(x: Tensor, threshold: Tensor, levels: int) -> Tensor:
    """LSQ's quantizer in plain autograd: its Eq. 1 and 2, rounding passed straight through."""
    u = (x / threshold).clamp(0, levels)
    return (u + (u.round() - u).detach()) * threshold


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize(("levels", "start"), [(1, 1.0), (4, 0.3), (7, 2.5)])
def test_gradient_is_that_of_lsq(decay: float, levels: int, start: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 2, 4).double() * 2
    weights = torch.randn(3, 5, 2, 4).double()
    ours = ILIF(levels, decay=decay, threshold=start, learned=True, detach_reset=False).double()
    at = 2.0 ** round(math.log2(start))
    assert ours.threshold == ours.worth == at
    u = x.clone().requires_grad_()
    sent = ours(u)
    (sent * weights).sum().backward()
    v = x.clone().requires_grad_()
    threshold = torch.tensor(at).double().requires_grad_()
    made: list[Tensor] = []
    left: Tensor | None = None
    for current in v:
        h = current if left is None else decay * left + current
        made.append(by_hand(h, threshold, levels))
        left = h - made[-1]
    expected = torch.stack(made)
    (expected * weights).sum().backward()
    assert torch.equal(sent, expected)
    assert u.grad is not None and v.grad is not None and threshold.grad is not None
    torch.testing.assert_close(u.grad, v.grad)
    scaled = threshold.grad * at * math.log(2) / math.sqrt(8 * levels)  # of 8 neurons; of log2
    assert ours.log2_threshold.grad is not None
    torch.testing.assert_close(ours.log2_threshold.grad.double(), scaled)
    assert float(ours.firing_rate) == pytest.approx(float(sent.detach().mean()) / at)


def test_the_same_current_at_every_step() -> None:
    x = torch.randn(1, 2, 3)
    for learned in (False, True):
        layer = ILIF(3, decay=0.5, learned=learned)
        assert torch.equal(layer(x, steps=4), layer(x.expand(4, 2, 3)))
    with pytest.raises(ShapeError, match="given once"):
        ILIF(3)(torch.randn(2, 2, 3), steps=2)


def counted(net: nn.Module, x: Tensor) -> list[Tensor]:
    """What the level activations send, in units of their worth."""
    seen: list[Tensor] = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: seen.append(o / m.worth))
        for m in net.modules()
        if isinstance(m, ILIF)
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("gate", ["vanilla", "add", "sn"])
def test_captured_and_unrolled_it_counts_as_it_did_in_torch(gate: str) -> None:
    """Levels of several worths that meet at joins, beside auxiliary paths."""
    neuron = NeuronConfig(reset="subtract", levels=3, learned_threshold=True, threshold=0.5)
    net = build_network(
        "cifar-resnet-18", width=1 / 16, steps=1, size=16, in_channels=2, classes=4, seed=0,
        gate=gate, aap=True, shortcut=True, neuron=neuron,
    )  # fmt: skip
    torch.manual_seed(1)
    for k, m in enumerate(m for m in net.modules() if isinstance(m, ILIF)):
        m.log2_threshold.data = torch.tensor(float(k % 3 - 2) + 0.3)
        assert m.worth == 2.0 ** (k % 3 - 2)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.bias, 0.5, 0.5)
    net = net.double().eval()
    x = (torch.rand(1, 3, 2, 16, 16) < 0.4).double()
    seen = counted(net, x)
    graph = strip_auxiliary(capture(net, (2, 16, 16), 1).graph)
    found = run(graph, x.numpy())
    levels = [n.name for n in graph.nodes if isinstance(n.op, Levels)]
    assert len(levels) == len(seen) >= 17 and max(float(s.max()) for s in seen) == 3
    for name, sent in zip(levels, seen, strict=True):
        assert np.array_equal(found.values[name], sent.numpy()), name
    done = compile_graph(graph, standard_pipeline().network, x.numpy()).graph
    spikes = run(done, x.numpy())
    for name, sent in zip(levels, seen, strict=True):
        copies = [n.name for n in done.nodes if n.name.startswith(f"{name}.level")]
        total = sum(spikes.values[c] for c in copies if isinstance(done.producer(c).op, Neuron))  # type: ignore[union-attr]
        assert np.array_equal(total, sent.numpy()), name


RECIPE = """
[model]
in_channels = 5
classes = 10
steps = 1
stem = 6
widths = [6, 8]
strides = [1, 2]
gate = "{gate}"
aap = true
shortcut = true

[model.neuron]
levels = 3
reset = "subtract"
learned_threshold = {learned}

[train]
epochs = 1
integer_epochs = 0
batch_size = 128
learning_rate = 0.05
"""


def test_a_recipe_trains_them(tmp_path: Path) -> None:
    """Thresholds move, stay powers of two, and are in the checkpoint; rates are logged."""
    recipe = tmp_path / "levels.toml"
    recipe.write_text(RECIPE.format(gate="vanilla", learned="true"))
    read = read_recipe(recipe)
    assert read.model.neuron.levels == 3  # type: ignore[union-attr]
    done = train(read.model, read.train, tmp_path / "run", progress=False)
    loaded = load_checkpoint(tmp_path / "run" / "model").model
    layers = [m for m in loaded.modules() if isinstance(m, ILIF)]
    assert len(layers) == 5 and all(m.learned for m in layers)
    assert any(float(m.log2_threshold.detach()) != 0.0 for m in layers)
    assert all(math.log2(m.worth).is_integer() for m in layers)
    assert set(done.heads) >= {"aap", "shortcut.0"}


def test_own_networks_with_learned_levels_carry_a_pathway() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        pn.Conv2d(2, 4, 3, padding=1),
        pn.LevelActivation(3, step=0.5, learned=True),
        pn.Conv2d(4, 4, 3, padding=1),
        pn.ILIF(2, decay=1.0, threshold=0.25, learned=True),
        pn.Flatten(),
        pn.TimeMean(),
        nn.Linear(64, 3),
    )
    x = (torch.rand(2, 5, 2, 4, 4) < 0.5).float()
    heads = attach(net, x, 3, aap=("1", "3"), shortcut=("1",))(x)
    sum(h.sum() for h in heads.values()).backward()
    assert len(heads) == 3 and net[1].log2_threshold.grad is not None  # type: ignore[union-attr]


def test_gradients_by_layer_but_no_surrogate_to_scan() -> None:
    net = build_network("ilif-resnet-18", width=1 / 16, size=8, in_channels=2, classes=3, seed=0)
    x, labels = (torch.rand(1, 2, 2, 8, 8) < 0.5).float(), torch.tensor([0, 1])
    assert len(layer_gradients(net, x, labels)) == 17
    with pytest.raises(ConfigError, match="no surrogate"):
        scan_surrogates(net, [], x, labels)
