"""Level activations: their meaning against whole numbers, fractions, torch and SpikingJelly."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron, surrogate

from purespike.compiler.ir.domain import ANALOG, SPIKE, TERNARY, Array, Domain
from purespike.compiler.ir.graph import Edge, IRError, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels
from purespike.compiler.ir.ops.levels import Rounding, next_value, thresholds_of_rounding
from purespike.compiler.ir.verify import verify

STEPS, NEURONS = 50, 2000


def sent(op: Levels, x: Array) -> Array:
    """What it sends for inputs (T, B, n)."""
    graph = build((Edge("x", x.shape[2:], ANALOG),), [("s", op, ("x",))], ("s",), len(x))
    verify(graph)
    return np.asarray(run(graph, x).values["s"])


def currents(seed: int = 0) -> Array:
    """Dyadic, so that float64 is exact and ties are frequent: (T, 1, n)."""
    rng = np.random.default_rng(seed)
    return rng.integers(-40, 80, (STEPS, 1, NEURONS)) / 16


@pytest.mark.parametrize(("most", "tau", "v"), [(4, 4 / 3, 1.0), (1, 2.0, 1.0), (7, 2.0, 0.5)])
def test_an_ilif_neuron_is_spikingjellys(most: int, tau: float, v: float) -> None:
    x = currents()
    theirs = neuron.ILIFNode(tau, v, surrogate.MultiLevelSpikeCount(most), step_mode="m")
    op = Levels(thresholds_of_rounding(most, v), 1 - 1 / tau, np.array(v))
    expected = theirs(torch.tensor(x)).numpy()
    assert expected.max() == most and expected.min() == 0
    assert np.array_equal(sent(op, x), expected)


# The same roundings by whole numbers alone: x is a multiple of 1/4.
def _rounded(quarters: int, mode: Rounding) -> int:
    whole, rest = divmod(quarters, 4)
    if mode == "floor":
        return whole
    if mode == "ceil":
        return whole + (rest > 0)
    if mode == "down":
        return whole if quarters >= 0 else whole + (rest > 0)
    if mode == "up":
        return whole + (rest > 0) if quarters >= 0 else whole
    if rest != 2:
        return whole + (rest > 2)
    return {
        "half even": whole + whole % 2,
        "half up": whole + 1,
        "half down": whole,
        "half away": whole + (quarters > 0),
        "half to zero": whole + (quarters < 0),
    }[mode]


@pytest.mark.parametrize("mode", Rounding.__args__)  # type: ignore[attr-defined]
@pytest.mark.parametrize("grid", [None, Fraction(1, 4)])
def test_thresholds_are_where_a_rounding_goes_up(mode: Rounding, grid: Fraction | None) -> None:
    low, levels = -4, 9
    quarters = np.arange(-40, 41)
    expected = [min(max(_rounded(int(q), mode), low), low + levels) for q in quarters]
    op = Levels(thresholds_of_rounding(levels, 1.0, mode, low=low, grid=grid))
    assert np.array_equal(sent(op, quarters[None, None] / 4)[0, 0] + low, expected)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(1e-6, 1e6),
    st.sampled_from([-8, -1, 0]),
    st.integers(1, 15),
    st.fractions(-3, 3, max_denominator=64),
)
def test_no_float_is_on_the_wrong_side(scale: float, low: int, levels: int, zero: Fraction) -> None:
    thresholds = thresholds_of_rounding(levels, scale, low=low, zero=zero)
    for k, t in enumerate(thresholds):
        for x in (math.nextafter(t, -math.inf), float(t)):
            there = round(Fraction(x) / Fraction(scale) + zero)  # Python rounds half to even
            assert (there >= low + k + 1) == (x >= t)


def test_scales_may_be_fractions() -> None:
    third = Fraction(1, 3)
    scale = np.array([third, Fraction(2)], dtype=object).reshape(2, 1, 1)
    found = thresholds_of_rounding(2, scale, "floor", grid=Fraction(1))
    assert np.array_equal(found.reshape(2, 2), [[1, 2], [1, 4]])  # 1/3 and 2/3 rounded up
    assert thresholds_of_rounding(1, third, "floor") == float(third) + 2**-54


def test_rounding_of_torch_with_a_scale_of_each_channel() -> None:
    scale = np.array([0.5, 0.25, 2.0]).reshape(3, 1, 1)
    x = np.random.default_rng(1).integers(-40, 80, (1, 2, 3, 4, 4)) / 16
    expected = torch.tensor(x / scale).round().clamp(0, 7).numpy()
    assert np.array_equal(sent(Levels(thresholds_of_rounding(7, scale)), x), expected)


@settings(deadline=None)
@given(st.fractions(-100, 100, max_denominator=1000), st.booleans())
def test_the_next_value_is_the_least(bound: Fraction, strict: bool) -> None:
    x = next_value(bound, strict=strict)
    below = math.nextafter(x, -math.inf)
    assert Fraction(x) > bound if strict else Fraction(x) >= bound
    assert Fraction(below) <= bound if strict else Fraction(below) < bound


def test_ternary_spikes_have_levels_of_either_sign() -> None:
    op = Levels(np.array([1.0]), 0.5, below=np.array([1.0]))
    assert op.infer(Edge("x", (3,), ANALOG)) == ((3,), TERNARY)
    x = currents(2)
    m, expected = np.zeros((1, NEURONS)), []
    for u in x:
        m = 0.5 * m + u
        s = (m >= 1).astype(float) - (m <= -1)
        m = m - s
        expected.append(s)
    assert np.array_equal(sent(op, x), expected) and len(np.unique(expected)) == 3


def test_domain_and_printed_form() -> None:
    x = (Edge("x", (3, 2, 2), ANALOG),)
    assert Levels(np.array([0.5])).infer(*x)[1] == SPIKE
    assert Levels(np.arange(1.0, 5)).infer(*x)[1] == Domain(0, 4, 1)
    graph = build(
        x,
        [
            ("a", Levels(thresholds_of_rounding(4), 0.25), ("x",)),
            ("b", Levels(np.ones((2, 3, 1, 1)), below=np.array([2.0])), ("a",)),
        ],
        ("b",),
        2,
    )
    text = str(graph)
    assert "%a: 3x2x2 int[0, 4] = Levels(%x, 4 levels at 0.5 to 3.5, decay 0.25, subtr" in text
    assert "= Levels(%a, 2 levels (2, 3, 1, 1), below zero 1 level at 2, decay 0)" in text


@pytest.mark.parametrize(
    ("thresholds", "decay", "words"),
    [
        ([], 0.0, "no level"),
        (1.0, 0.0, "no level"),
        ([1.0, 0.5], 0.0, "do not ascend"),
        ([1.0, np.inf], 0.0, "not finite"),
        ([1.0], 1.5, "is a factor"),
    ],
)
def test_what_is_no_level_activation(thresholds: object, decay: float, words: str) -> None:
    with pytest.raises(IRError, match=words):
        Levels(np.array(thresholds), decay)


def test_thresholds_that_do_not_fit_their_input() -> None:
    with pytest.raises(IRError, match="does not fit its input"):
        Levels(np.ones((2, 5))).infer(Edge("x", (3,), ANALOG))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"scale": 0.0}, "not a number above 0"),
        ({"scale": np.array([1.0, -1.0])}, "not a number above 0"),
        ({"scale": float("nan")}, "not a number above 0"),
        ({"mode": "stochastic"}, "unknown rounding"),
        ({"levels": 0}, "no level"),
        ({"grid": Fraction(1, 3)}, "not a float64"),
    ],
)
def test_what_has_no_thresholds(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(IRError, match=words):
        thresholds_of_rounding(**{"levels": 3, **arguments})  # type: ignore[arg-type]
