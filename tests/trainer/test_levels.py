"""I-LIF and level activations: forward and gradient are SpikingJelly's; captured as computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

from purespike import nn as ps
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels
from purespike.compiler.passes.unroll_levels.unroll_levels import unroll_levels
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.trainer.capture.trace import capture
from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.networks.attached import attach

CASES = [(4, 0.25, 1.0, True), (7, 0.5, 0.5, False), (1, 1.0, 2.0, True)]


@pytest.mark.parametrize(("levels", "decay", "threshold", "detach"), CASES)
def test_forward_and_gradient_are_spikingjellys(
    levels: int, decay: float, threshold: float, detach: bool
) -> None:
    torch.manual_seed(0)
    x = (torch.randint(-20, 60, (6, 3, 50)) / 16).double()
    ours = ps.ILIF(levels, decay=decay, threshold=threshold, detach_reset=detach)
    count = surrogate.MultiLevelSpikeCount(levels)
    tau = 1 / (1 - decay) if decay < 1 else 1e300  # 1 - 1 / tau is 1
    theirs = neuron.ILIFNode(tau, threshold, count, detach, step_mode="m")
    made = []
    for module in (ours, theirs):
        u = x.clone().requires_grad_()
        s = module(u)
        (s * torch.arange(s.numel()).reshape(s.shape)).sum().backward()
        made.append((s.detach(), u.grad))
    assert torch.equal(made[0][0], made[1][0]) and made[0][0].max() == levels
    assert made[0][1] is not None and made[1][1] is not None and made[0][1].any()
    torch.testing.assert_close(made[0][1], made[1][1], rtol=1e-12, atol=0)
    assert ours.firing_rate is not None and float(ours.firing_rate) == float(made[0][0].mean())


@pytest.mark.parametrize("make", [lambda: ps.ILIF(3), lambda: ps.LevelActivation(5, step=0.5)])
def test_captured_as_it_computes(make: type[nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(6, 9), make(), nn.Linear(9, 4), make()).double().eval()
    torch.manual_seed(0)
    for p in net.parameters():
        p.data = torch.randint(-8, 12, p.shape).double() / 8
    x = (torch.rand(5, 30, 6) < 0.5).double()
    graph = unroll_levels(capture(net, (6,), 5).graph)
    found = run(graph, x.numpy()).values[graph.outputs[0]]
    assert np.array_equal(found, net(x).detach().numpy()) and found.max() > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": 0}, "levels"),
        ({"levels": 2.5}, "levels"),
        ({"decay": 1.5}, "decay"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
    ],
)
def test_what_is_out_of_range(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=f"{words} of a level activation"):
        ps.ILIF(**arguments)  # type: ignore[arg-type]


def test_a_current_without_time() -> None:
    with pytest.raises(ShapeError, match="time and a batch axis"):
        ps.ILIF()(torch.ones(3))


def test_auxiliary_paths_beside_counts_are_for_training_only() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        ps.Conv2d(2, 4, 3, padding=1),
        ps.ILIF(3, decay=1.0, threshold=0.5),
        ps.Conv2d(4, 4, 3, padding=1),
        ps.LevelActivation(2, step=0.25),
        ps.Flatten(),
        ps.TimeMean(),
        nn.Linear(64, 3),
    )
    x = (torch.rand(2, 5, 2, 4, 4) < 0.5).float()
    trained = attach(net, x, 3, aap=("1", "3"), shortcut=("1",))
    heads = trained(x)
    assert len(heads) == 3
    sum(h.sum() for h in heads.values()).backward()
    assert net[0].weight.grad is not None and net[0].weight.grad.abs().sum() > 0
    with torch.no_grad():
        expected = net(x).double().numpy()
    graph = capture(trained.eval(), (2, 4, 4), 2).graph
    done = compile_graph(graph, standard_pipeline().network, x.double().numpy()).graph
    assert len(done.outputs) == 1 and not any(isinstance(n.op, Levels) for n in done.nodes)
    found = run(done, x.numpy()).values[done.outputs[0]][-1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
