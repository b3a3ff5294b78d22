"""MPR: the formula, firing invariance, gradients, and that the compiler removes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.strip_auxiliary import AuxiliaryLeak, describe, strip_auxiliary
from purespike.trainer.capture.trace import capture
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.neuron import Neuron
from purespike.trainer.nn.rectificator import rectify, rectify_slope
from purespike.trainer.nn.surrogate import Rectangular, Tanh


def phi(u: float) -> float:
    """InfLoR-SNN, Eq. 10, case by case in Python."""
    if u < 0:
        return 1 - (1 - u) ** (1 / 3)
    if u > 1:
        return u ** (1 / 3)
    return float(
        (np.exp(6 * (u - 0.5)) - 1) / (np.exp(6 * (u - 0.5)) + 1) / (2 * np.tanh(1.5)) + 0.5
    )


@given(st.floats(-50, 50))
def test_the_formula_and_its_numpy_form(u: float) -> None:
    x = torch.tensor([u], dtype=torch.float64)
    assert float(rectify(x)) == pytest.approx(phi(u), abs=1e-14)
    op = ops.RectifiedNeuron(np.asarray(0.5), 1.0, "subtract", np.asarray(1.0))
    assert float(op.seen(np.array([u]))[0]) == pytest.approx(phi(u), abs=1e-14)


def test_the_slope_is_the_derivative() -> None:
    x = torch.cat([torch.linspace(-4, -0.01, 40), torch.linspace(0.01, 0.99, 40),
                   torch.linspace(1.01, 4, 40)]).double().requires_grad_()  # fmt: skip
    assert torch.autograd.gradcheck(rectify, (x,))
    (grad,) = torch.autograd.grad(rectify(x).sum(), x)
    torch.testing.assert_close(rectify_slope(x.detach()), grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_neuron_fires_differently(dtype: torch.dtype) -> None:
    half = torch.tensor(0.5, dtype=dtype)
    near = [half]
    for direction in (-1.0, 2.0):
        u = half
        for _ in range(2000):
            u = torch.nextafter(u, torch.tensor(direction, dtype=dtype))
            near.append(u)
    h = torch.cat([torch.stack(near), torch.linspace(-6, 7, 200_001, dtype=dtype)])
    assert torch.equal(rectify(h) >= 0.5, h >= 0.5)


class Srif(nn.Module):
    """The released form in plain autograd: rectify, straight-through clamp, subtract the spike."""

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            h = v + current
            seen = rectify(h)
            soft = seen.clamp(0, 1)
            s = soft + ((seen >= 0.5).to(x.dtype) - soft).detach()
            v = h - s
            spikes.append(s)
        return torch.stack(spikes)


def test_spikes_and_gradients_are_those_of_the_released_form() -> None:
    x = torch.randn(5, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.3
    weights = torch.randn(5, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine, theirs, tanh = (x.clone().requires_grad_() for _ in range(3))
    settings = {"threshold": 0.5, "reset": "subtract", "amount": 1.0, "detach_reset": False}
    out = Neuron(rectified=True, surrogate=Rectangular(1.0), **settings)(mine)
    expected = Srif()(theirs)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-15)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert theirs.grad is not None and mine.grad is not None
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    # Tanh(3) without a rectificator gives the same gradient.
    plain = Neuron(surrogate=Tanh(3.0), **settings)(tanh)
    (plain * weights).sum().backward()
    torch.testing.assert_close(tanh.grad, mine.grad, rtol=1e-12, atol=1e-12)


def test_the_quantization_error_falls() -> None:
    u = torch.randn(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    o = (u >= 0.5).double()
    assert (rectify(u) - o).square().mean() < 0.2 * (u - o).square().mean()
    assert bool(((rectify(u) - o).abs() <= (u - o).abs() + 1e-12).all())


def test_other_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match="rectificator"):
        Neuron(threshold=1.0, rectified=True)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)
        self.neuron = Neuron(threshold=0.5, reset="subtract", amount=1.0, rectified=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.fc(x))


def test_the_compiler_removes_it() -> None:
    torch.manual_seed(0)
    model = Small().double()
    with torch.no_grad():
        model.fc.weight.mul_(3.0)
    graph = capture(model, (4,), 5).graph
    assert isinstance(graph.nodes[-1].op, ops.RectifiedNeuron)
    stripped = strip_auxiliary(graph)
    assert type(stripped.nodes[-1].op) is ops.Neuron
    assert "removed the rectificator of neuron: no spike changes" in describe(graph, stripped)
    x = (torch.rand(5, 30, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    wanted = model(x).detach().numpy()
    assert 0.1 < wanted.mean() < 0.9
    for g in (graph, stripped):
        np.testing.assert_array_equal(run(g, x.numpy()).values["neuron"], wanted)


@pytest.mark.parametrize("threshold", [0.25, 0.6, 0.5000001, 2.0])
def test_the_compiler_keeps_no_rectificator_that_decides(threshold: float) -> None:
    graph = capture(Small().double(), (4,), 2).graph
    (linear, neuron) = graph.nodes
    moved = replace(neuron, op=replace(neuron.op, threshold=np.asarray(threshold)))
    with pytest.raises(AuxiliaryLeak, match="neuron"):
        strip_auxiliary(replace(graph, nodes=(linear, moved)))
