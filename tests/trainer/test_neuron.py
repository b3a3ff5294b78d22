import pytest
import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.nn.neuron import IF, LIF, PLIF, Neuron
from purespike.trainer.nn.surrogate import (
    ATan,
    FastSigmoid,
    PiecewiseQuadratic,
    Rectangular,
    Shaped,
    Sigmoid,
    Surrogate,
    Tanh,
    Triangular,
)

SURROGATES = [ATan(2.0), Sigmoid(4.0), Rectangular(1.3), Triangular(0.8), FastSigmoid(2.0), Tanh()]
SURROGATES += [PiecewiseQuadratic(1.2), Shaped("arctan", 0.7, 1.4)]


class _Step(torch.autograd.Function):
    """The firing step with a surrogate, for plain autograd through time."""

    @staticmethod
    def forward(ctx, u: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad):
        (u,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(u.clone()), None


def loop(x: Tensor, neuron: Neuron) -> Tensor:
    """The formulas of the module's docstring, one time step after the other."""
    v = torch.zeros_like(x[0])
    spikes = []
    for current in x:
        h = neuron.decay * v + neuron.input_scale * current
        s = _Step.apply(h - neuron.threshold, neuron.surrogate)
        back = s.detach() if neuron.detach_reset else s
        v = h * (1 - back) if neuron.reset == "zero" else h - neuron.amount * back
        spikes.append(s)
    return torch.stack(spikes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_fused_function_equals_autograd_through_time(surrogate, reset, detach, dtype):
    generator = torch.Generator().manual_seed(3)
    neuron = Neuron(
        decay=0.7,
        input_scale=0.9,
        threshold=0.6,
        reset=reset,
        amount=0.8,
        surrogate=surrogate,
        detach_reset=detach,
    )
    x = torch.randn(7, 3, 4, 5, generator=generator, dtype=dtype)
    weights = torch.randn(7, 3, 4, 5, generator=generator, dtype=dtype)
    mine = x.clone().requires_grad_()
    theirs = x.clone().requires_grad_()
    out = neuron(mine)
    expected = loop(theirs, neuron)
    assert out.dtype == dtype
    assert torch.equal(out, expected)
    assert 0 < out.mean() < 1
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert theirs.grad.abs().max() > 0.1
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["auto", "off"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_current_given_once_has_the_gradient_of_all_its_steps(monkeypatch, reset, detach, mode):
    monkeypatch.setenv("PURESPIKE_KERNEL", mode)
    generator = torch.Generator().manual_seed(6)
    neuron = Neuron(
        decay=0.7, input_scale=0.9, threshold=0.6, reset=reset, amount=0.8, detach_reset=detach
    )
    x = torch.randn(1, 3, 40, generator=generator, dtype=torch.float64)
    weights = torch.randn(5, 3, 40, generator=generator, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = neuron(mine, steps=5), loop(theirs.expand(5, 3, 40), neuron)
    assert torch.equal(out, expected) and 0 < out.mean() < 1
    assert neuron.firing_rate.item() == pytest.approx(out.mean().item())
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape,steps", [((2, 3), 2), ((1, 3), 0), ((1, 3), -1)])
def test_a_current_given_once_is_one_step(shape, steps):
    with pytest.raises(ShapeError, match="given once"):
        IF()(torch.zeros(shape), steps=steps)


def test_the_reset_path_matters_when_not_detached():
    x = torch.randn(6, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grads = []
    for detach in (True, False):
        leaf = x.clone().requires_grad_()
        IF(detach_reset=detach)(leaf).sum().backward()
        grads.append(leaf.grad)
    assert (grads[0] - grads[1]).abs().max() > 0.1


def test_input_is_left_alone():
    x = torch.randn(4, 8)
    before = x.clone()
    IF()(x)
    Neuron(decay=0.5, reset="subtract")(x)
    assert torch.equal(x, before)


def test_soft_and_hard_reset_differ_as_in_the_inflor_paper():
    # InfLoR, Fig. 2: inputs in units of the threshold 0.5.
    x = torch.tensor([1.5, 1.2, 1.5, 0.9, 1.4], dtype=torch.float64)[:, None] * 0.5
    soft = Neuron(threshold=0.5, reset="subtract", amount=1.0)
    hard = Neuron(threshold=0.5, reset="zero")
    assert soft(x)[:, 0].tolist() == [1, 0, 1, 1, 0]
    assert hard(x)[:, 0].tolist() == [1, 1, 1, 0, 1]


def test_subtracting_one_at_half_is_a_raised_start_at_one():
    # SRIF(threshold 0.5, subtract 1) and IF(threshold 1, subtract 1) starting at 0.5 agree.
    x = torch.randint(-8, 9, (8, 1000), generator=torch.Generator().manual_seed(1)) / 8
    raised = x.clone()
    raised[0] += 0.5
    a = Neuron(threshold=0.5, reset="subtract", amount=1.0)(x)
    assert torch.equal(a, IF(threshold=1.0, reset="subtract")(raised))


def test_a_tie_fires_and_the_amount_defaults_to_the_threshold():
    x = torch.tensor([[0.5], [0.0], [0.5]])
    assert Neuron(threshold=0.5)(x)[:, 0].tolist() == [1, 0, 1]
    assert Neuron(threshold=0.25, reset="subtract")(x)[:, 0].tolist() == [1, 1, 1]


def test_lif_is_the_spikingjelly_form():
    x = torch.randn(9, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 2
    v = torch.zeros_like(x[0])
    expected = []
    for current in x:
        h = v + (current - v) / 4.0
        s = (h >= 1.0).double()
        v = h * (1 - s)
        expected.append(s)
    assert torch.equal(LIF(tau=4.0)(x), torch.stack(expected))
    assert isinstance(LIF(), Neuron) and isinstance(IF(), Neuron)


def test_state_starts_at_rest_in_every_call():
    x = torch.full((1, 2), 0.6)
    neuron = IF()
    assert neuron(x).sum() == 0
    assert neuron(x).sum() == 0
    assert neuron(x.repeat(2, 1)).sum() == 2


def test_if_passes_spikes_on_unchanged_and_a_leaky_neuron_does_not():
    s = (torch.rand(6, 200, generator=torch.Generator().manual_seed(2)) < 0.4).float()
    assert torch.equal(IF()(s), s)
    assert not torch.equal(LIF()(s), s)


def test_firing_rate_is_that_of_the_last_forward():
    neuron = IF()
    assert neuron.firing_rate is None
    out = neuron(torch.randn(4, 100, requires_grad=True))
    assert neuron.firing_rate.item() == pytest.approx(out.mean().item())
    assert not neuron.firing_rate.requires_grad


def test_nothing_but_modules_in_the_state_dict():
    assert nn.Sequential(IF(), LIF()).state_dict() == {}


@pytest.mark.parametrize(
    "arguments",
    [
        {"decay": 1.5},
        {"decay": -0.1},
        {"threshold": 0.0},
        {"threshold": float("inf")},
        {"input_scale": 0.0},
        {"reset": "none"},
        {"reset": "subtract", "amount": 0.0},
        {"decay": float("nan")},
    ],
)
def test_impossible_neurons_are_refused(arguments):
    with pytest.raises(ConfigError, match="allowed"):
        Neuron(**arguments)


def test_a_neuron_without_time_axis_is_refused():
    with pytest.raises(ShapeError, match=r"\(T, B"):
        IF()(torch.zeros(3))
    with pytest.raises(ConfigError):
        LIF(tau=0.5)


def smooth(x: Tensor, w: Tensor, *, reset: str, amount: float) -> Tensor:
    """A PLIF whose firing step is ATan(2)'s own integral: differentiable, so gradcheck applies."""
    v, out = torch.zeros_like(x[0]), []
    for current in x:
        h = v + (current - v) * torch.sigmoid(w)
        s = torch.atan(torch.pi * (h - 0.6)) / torch.pi + 0.5
        v = h * (1 - s) if reset == "zero" else h - amount * s
        out.append(s)
    return torch.stack(out)


def unrolled(x: Tensor, w: Tensor, neuron: Neuron) -> Tensor:
    """The same with the firing step, whose derivative is the surrogate's."""
    v, out = torch.zeros_like(x[0]), []
    for current in x:
        h = v + (current - v) * torch.sigmoid(w)
        s = _Step.apply(h - neuron.threshold, neuron.surrogate)
        back = s.detach() if neuron.detach_reset else s
        v = h * (1 - back) if neuron.reset == "zero" else h - neuron.amount * back
        out.append(s)
    return torch.stack(out)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_learned_time_constant_has_the_gradient_of_the_unrolled_network(reset, detach):
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(6, 3, 5, generator=generator, dtype=torch.float64) * 2
    assert torch.autograd.gradcheck(
        lambda x, w: smooth(x, w, reset=reset, amount=0.9),
        (x[:4].clone().requires_grad_(), torch.tensor(-0.4, dtype=torch.float64).requires_grad_()),
    )
    neuron = PLIF(tau=2.5, threshold=0.6, reset=reset, amount=0.9, detach_reset=detach).double()
    weights = torch.randn(6, 3, 5, generator=generator, dtype=torch.float64)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    w = neuron.w.detach().clone().requires_grad_()
    out, expected = neuron(mine), unrolled(theirs, w, neuron)
    assert torch.equal(out, expected) and 0.05 < out.mean() < 0.95
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    assert abs(w.grad) > 1e-2
    torch.testing.assert_close(neuron.w.grad, w.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_a_plif_starts_as_the_lif_and_learns():
    x = torch.randn(9, 40, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 2
    neuron = PLIF(tau=4.0).double()
    assert neuron.constants()[1] == pytest.approx(0.25)
    assert (neuron(x) - LIF(tau=4.0)(x)).abs().mean() < 0.01
    optimizer = torch.optim.SGD(neuron.parameters(), 0.1)
    neuron(x).mean().neg().backward()  # more spikes, please
    before = neuron.constants()[1]
    optimizer.step()
    assert neuron.constants()[1] > before
    with pytest.raises(ConfigError):
        PLIF(tau=1.0)
