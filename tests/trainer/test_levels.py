"""I-LIF and level activations: forward and gradient are SpikingJelly's; captured as computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

from purespike import nn as ps
from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.unroll_levels.unroll_levels import unroll_levels
from purespike.trainer.capture.trace import capture
from purespike.trainer.errors import ConfigError, ShapeError

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
