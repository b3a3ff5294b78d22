import math
from dataclasses import FrozenInstanceError, asdict

import pytest
import torch

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.surrogate import (
    SHAPES,
    SURROGATES,
    ATan,
    FastSigmoid,
    PiecewiseQuadratic,
    Rectangular,
    Shaped,
    Sigmoid,
    Tanh,
    Triangular,
    surrogate_from_dict,
    surrogate_to_dict,
)


def integral(surrogate, limit: float) -> float:
    u = torch.linspace(-limit, limit, 2_000_001, dtype=torch.float64)
    return float(torch.trapezoid(surrogate.derivative(u.clone()), u))


# What each curve is the derivative of: sigma(limit) - sigma(-limit).
@pytest.mark.parametrize(
    ("surrogate", "limit", "area"),
    [
        (ATan(2.0), 50.0, 2 / math.pi * math.atan(math.pi * 50.0)),
        (ATan(3.0), 2.0, 2 / math.pi * math.atan(math.pi / 2 * 3.0 * 2.0)),
        (Sigmoid(4.0), 1.0, math.tanh(2.0)),
        (Rectangular(1.0), 2.0, 1.0),
        (Rectangular(0.4), 2.0, 1.0),
        (Triangular(2.0), 2.0, 0.5),
        (FastSigmoid(10.0), 3.0, 2 / 10.0 * (1 - 1 / 31.0)),
        (Tanh(3.0), 2.0, 1.0),
        (Tanh(7.0), 2.0, 1.0),
        (PiecewiseQuadratic(2.5), 1.0, 1.0),
        (Shaped("triangular", 0.8, 3.0), 2.0, 2.4),
        (Shaped("rectangular", 0.8, 3.0), 2.0, 2.4),
        (Shaped("arctan", 0.8, 3.0), 4.0, 2.4 * math.atan(10.0)),
    ],
)
def test_areas(surrogate, limit, area):
    assert integral(surrogate, limit) == pytest.approx(area, abs=2e-5)


@pytest.mark.parametrize(
    ("surrogate", "peak"),
    [
        (ATan(2.0), 1.0),
        (ATan(3.0), 1.5),
        (Sigmoid(4.0), 1.0),
        (Rectangular(2.0), 0.5),
        (Triangular(5.0), 1.0),
        (FastSigmoid(10.0), 1.0),
        (Tanh(3.0), 1.6572),
    ],
)
def test_peaks_and_symmetry(surrogate, peak):
    u = torch.linspace(0, 3, 1000, dtype=torch.float64)
    right, left = surrogate.derivative(u.clone()), surrogate.derivative(-u)
    assert float(right[0]) == pytest.approx(peak, abs=5e-5)
    assert torch.allclose(right, left)
    assert bool((right[:-1] >= right[1:] - 1e-15).all())


def test_numbers_of_the_aap_paper():
    u = torch.tensor([-1.0], dtype=torch.float64)
    assert float(ATan(2.0).derivative(u)) == pytest.approx(0.092, abs=5e-4)


def test_tanh_is_inflors_rectifier_followed_by_the_clamp():
    h = torch.linspace(-0.5, 1.5, 4001, dtype=torch.float64)[1:].requires_grad_()
    rectified = torch.tanh(3 * (h - 0.5)) / (2 * math.tanh(1.5)) + 0.5
    inside = (h >= 0) & (h <= 1)
    (expected,) = torch.autograd.grad(torch.where(inside, rectified, 0.0).sum(), h)
    got = Tanh(3.0).derivative((h - 0.5).detach())
    away = ((h.detach() - 0.0).abs() > 1e-9) & ((h.detach() - 1.0).abs() > 1e-9)
    assert torch.allclose(got[away], expected[away], atol=1e-13)


@pytest.mark.parametrize("cls", SURROGATES.values(), ids=lambda c: c.__name__)
def test_derivative_leaves_its_argument_alone_and_json_round_trips(cls):
    surrogate = cls()
    u = torch.randn(100, dtype=torch.float64)
    before = u.clone()
    surrogate.derivative(u)
    assert torch.equal(u, before)
    assert surrogate_from_dict(surrogate_to_dict(surrogate)) == surrogate
    with pytest.raises(FrozenInstanceError):
        setattr(surrogate, next(iter(asdict(surrogate))), 1.0)


@pytest.mark.parametrize(
    "data", [{"name": "Step"}, {"alpha": 2.0}, {"name": "ATan", "k": 1.0}, {"name": ["ATan"]}]
)
def test_unknown_descriptions_are_refused(data):
    with pytest.raises(ConfigError):
        surrogate_from_dict(data)


def test_a_foreign_surrogate_cannot_be_saved():
    class Mine:
        def derivative(self, u):
            return u

    with pytest.raises(ConfigError, match="Mine"):
        surrogate_to_dict(Mine())


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan, True, "2"])
def test_steepness_must_be_positive(value):
    with pytest.raises(ConfigError, match="> 0"):
        ATan(value)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (0.3, 2.0), (4.0, 0.5)])
def test_width_and_height_mean_the_same_for_every_shape(shape, width, height):
    u = torch.tensor([0.0, -width / 2, width / 2, width / 2 * 0.999, width / 2 * 1.001])
    found = Shaped(shape, width, height).derivative(u.double())
    assert float(found[0]) == pytest.approx(height)
    if shape != "rectangular":
        assert found[1:3].tolist() == pytest.approx([height / 2, height / 2], rel=1e-6)
    assert float(found[3]) > height / 2 * 0.999 and float(found[4]) < height / 2 * 1.001


def test_shapes_are_the_families_of_their_names():
    u = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    pairs = [
        (Shaped("triangular", 0.5, 2.0), PiecewiseQuadratic(2.0)),
        (Shaped("rectangular", 0.5, 2.0), Rectangular(0.5)),
        (Shaped("arctan", 2 / math.pi, 1.0), ATan(2.0)),
        (Shaped("sigmoid", 2 * math.acosh(math.sqrt(2.0)) / 2.0, 1.0), Sigmoid(4.0)),
        (Shaped("fast_sigmoid", 2 * (math.sqrt(2.0) - 1) / 10.0, 1.0), FastSigmoid(10.0)),
    ]
    for mine, named in pairs:
        torch.testing.assert_close(mine.derivative(u.clone()), named.derivative(u.clone()))
    with pytest.raises(ConfigError, match="sinc"):
        Shaped("sinc")


def quadratic(u, alpha):
    """The smoothed step of the piecewise quadratic surrogate (Esser et al. 2016)."""
    return (-(alpha**2) / 2 * u.abs() * u + alpha * u + 0.5).where(
        u.abs() < 1 / alpha, (u > 0).double()
    )


# The smoothed step functions as the papers print them, differentiated by autograd.
@pytest.mark.parametrize(
    ("surrogate", "step"),
    [
        (ATan(2.0), lambda u: torch.atan(math.pi / 2 * 2.0 * u) / math.pi + 0.5),
        (Sigmoid(4.0), lambda u: 1 / (1 + torch.exp(-4.0 * u))),
        (Rectangular(0.8), lambda u: (u / 0.8 + 0.5).clamp(0, 1)),
        (PiecewiseQuadratic(2.5), lambda u: quadratic(u, 2.5)),
        (Triangular(2.5), lambda u: quadratic(u, 2.5) / 2.5),
        (FastSigmoid(10.0), lambda u: u / (1 + 10.0 * u.abs())),
        (Tanh(3.0), lambda u: torch.tanh(3.0 * u.clamp(-0.5, 0.5)) / (2 * math.tanh(1.5)) + 0.5),
    ],
)
def test_each_is_the_derivative_of_its_smoothed_step(surrogate, step):
    u = (torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64) + 1e-4).requires_grad_()
    (expected,) = torch.autograd.grad(step(u).sum(), u)
    torch.testing.assert_close(surrogate.derivative(u.detach().clone()), expected)
