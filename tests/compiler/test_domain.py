"""The algebra of domains against the sets of values they stand for."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from purespike.compiler import statistics
from purespike.compiler.ir import domain as domain_module
from purespike.compiler.ir.domain import (
    ANALOG,
    INTEGER,
    SPIKE,
    TERNARY,
    Domain,
    Reach,
    image,
    integer,
    join,
    total,
    widen,
    with_zero,
)

# Dyadic, so that all sums and products are exact and sets of values can be compared.
GRID = st.integers(-12, 12).map(lambda k: k / 4)
STEPS = st.sampled_from([0.25, 0.5, 0.75, 1.0, 2.0, 3.0])


@st.composite
def grids(draw: st.DrawFn) -> Domain:
    lo, step, count = draw(GRID), draw(STEPS), draw(st.integers(0, 6))
    spare = draw(st.sampled_from([0.0, step / 2]))  # an upper end between two values
    return Domain(lo, lo + count * step + spare, step)


@st.composite
def intervals(draw: st.DrawFn) -> Domain:
    lo, hi = sorted((draw(GRID), draw(GRID)))
    return Domain(
        draw(st.sampled_from([lo, -math.inf])), draw(st.sampled_from([hi, math.inf])), 0.0
    )


@st.composite
def endless_grids(draw: st.DrawFn) -> Domain:
    lo, hi = sorted((draw(GRID), draw(GRID)))
    ends = draw(st.sampled_from([(-math.inf, hi), (lo, math.inf), (-math.inf, math.inf)]))
    return Domain(*ends, draw(STEPS))


DOMAINS = st.one_of(grids(), intervals(), endless_grids())


def values(d: Domain, reach: float = 40.0) -> set[Fraction]:
    """Values of the domain within ``reach``; of an interval, those on a fine grid."""
    step = Fraction(d.step) if d.step else Fraction(1, 8)
    start = Fraction(d.lo) if math.isfinite(d.lo) else Fraction(0)
    first = math.ceil((Fraction(max(d.lo, -reach)) - start) / step)
    last = math.floor((Fraction(min(d.hi, reach)) - start) / step)
    return {start + k * step for k in range(first, last + 1)}


@given(DOMAINS, DOMAINS)
def test_order_is_inclusion_of_the_values(a: Domain, b: Domain) -> None:
    assume(not (b.step and not a.step and a.lo != a.hi))  # an interval in a grid: below
    ends = all(math.isinf(x) <= math.isinf(y) for x, y in ((a.lo, b.lo), (a.hi, b.hi)))
    assert (a <= b) == (values(a) <= values(b) and ends)


@given(intervals(), st.one_of(grids(), endless_grids()))
def test_no_interval_lies_in_a_grid(a: Domain, b: Domain) -> None:
    assume(a.lo < a.hi)
    assert not a <= b


@given(DOMAINS, DOMAINS, DOMAINS)
def test_order_is_reflexive_and_transitive(a: Domain, b: Domain, c: Domain) -> None:
    assert a <= a
    assert not (a <= b and b <= c) or a <= c


@given(DOMAINS)
def test_holds_the_values_and_nothing_between(d: Domain) -> None:
    inside = np.array([float(v) for v in values(d)])
    assert d.holds(inside)
    outside = {v + Fraction(1, 16) for v in values(d)} - values(d)
    for v in outside:
        if d.step or not d.lo <= v <= d.hi:
            assert not d.holds(np.array([float(v)])), v


def test_order_of_the_named_domains() -> None:
    chain = [SPIKE, TERNARY, integer(2), integer(8), INTEGER, ANALOG]
    for k, small in enumerate(chain):
        for large in chain[k + 1 :]:
            assert small <= large and not large <= small
    assert integer(8, signed=False) == Domain(0, 255, 1)
    assert not Domain(-1, 1, 2) <= Domain(0, 1, 1)
    assert Domain(-1, 1, 2) <= TERNARY and not TERNARY <= Domain(-1, 1, 2)


@pytest.mark.parametrize(
    ("d", "x", "held"),
    [
        (SPIKE, [0.0, 1.0], True),
        (SPIKE, [1e-15], False),  # integers are exact
        (SPIKE, [1.0 + 1e-12], False),
        (SPIKE, [math.nan], False),
        (SPIKE, [math.inf], False),
        (integer(8), [-128.0, 127.0], True),
        (integer(8), [128.0], False),
        (Domain(0, 1, 1 / 9), [k / 9 for k in range(10)], True),
        (Domain(0, 1, 1 / 9), [sum([1 / 9] * 9)], True),  # rounding of a float
        (Domain(0, 1, 1 / 9), [0.5], False),
        (Domain(0, 1, 0), [1 + 1e-12, 0.3], True),
        (Domain(0, 1, 0), [1 + 1e-8], False),
        (Domain(0, 1, 0), [math.inf], False),
        (Domain(0, 1, 0), [-math.inf], False),
        (Domain(0, 1, 0), [math.nan], False),
        (ANALOG, [1e300, -1e300], True),
        (ANALOG, [math.inf], False),  # no real number
        (ANALOG, [math.nan], False),
        (INTEGER, [-1e9, 1e9], True),
        (INTEGER, [0.5], False),
        (SPIKE, [], True),
    ],
)
def test_holds(d: Domain, x: list[float], held: bool) -> None:
    assert d.holds(np.array(x)) is held


@st.composite
def products(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray | None, Domain]:
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    entries = draw(st.sampled_from([st.integers(-4, 4).map(float), GRID]))
    weight = draw(arrays(np.float64, shape, elements=entries))
    bias = draw(st.none() | arrays(np.float64, shape[:1], elements=GRID))
    return weight, bias, draw(st.one_of(grids(), intervals(), endless_grids()))


@given(products(), st.data())
def test_image_holds_every_product_and_reaches_its_bounds(
    case: tuple[np.ndarray, np.ndarray | None, Domain], data: st.DataObject
) -> None:
    weight, bias, x = case
    y = image(weight, bias, x)
    pool = sorted(values(x))
    if not pool:
        return
    shift = np.zeros(len(weight)) if bias is None else bias
    chosen = data.draw(st.lists(st.sampled_from(pool), min_size=weight.shape[1],
                                max_size=weight.shape[1]))  # fmt: skip
    assert y.holds(weight @ np.array([float(v) for v in chosen]) + shift)
    if x.step and math.isfinite(x.lo) and math.isfinite(x.hi):
        top, bottom = float(pool[-1]), float(pool[0])
        reached = (weight * np.where(weight > 0, top, bottom)).sum(axis=1) + shift
        least = (weight * np.where(weight > 0, bottom, top)).sum(axis=1) + shift
        assert (y.lo, y.hi) == (least.min(), reached.max())


def test_image_keeps_the_grid_of_integer_weights() -> None:
    assert image(np.array([[2.0, -3.0]]), np.array([1.0]), SPIKE) == Domain(-2, 3, 1)
    assert image(np.array([[2.0, -3.0]]), np.array([0.5]), SPIKE) == Domain(-2.5, 2.5, 0)
    assert image(np.array([[0.0, 0.0]]), None, ANALOG) == Domain(0, 0, 0)
    assert image(np.array([[0.0, 2.0]]), None, ANALOG) == ANALOG


@given(st.lists(DOMAINS, min_size=1, max_size=3), st.data())
def test_total_holds_every_sum(domains: list[Domain], data: st.DataObject) -> None:
    pools = [sorted(values(d)) for d in domains]
    assume(all(pools))
    terms = [data.draw(st.sampled_from(p)) for p in pools]
    assert total(tuple(domains)).holds(np.array([float(sum(terms))]))


@given(DOMAINS)
def test_with_zero_holds_zero_and_all_values(d: Domain) -> None:
    wide = with_zero(d)
    assert wide.holds(np.zeros(1))
    assert d <= wide
    if d.holds(np.zeros(1)):
        assert wide == d


@given(st.one_of(grids(), st.integers(1, 12).map(integer)))
def test_bits_tell_the_values_apart(d: Domain) -> None:
    assert d.bits is not None
    count = len(values(d, reach=1e6))
    assert 2**d.bits >= count and (d.bits == 1 or 2 ** (d.bits - 1) < count)


def test_domains_without_bits() -> None:
    assert ANALOG.bits is None and INTEGER.bits is None
    assert (SPIKE.bits, TERNARY.bits, integer(8).bits) == (1, 2, 8)


@pytest.mark.parametrize(
    "ends", [(1, 0, 1), (0, 1, -1), (math.nan, 1, 0), (0, 1, math.nan), (0, math.nan, 1)]
)
def test_ill_formed_domains(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="lo <= hi and step >= 0"):
        Domain(*ends)


@pytest.mark.parametrize(
    ("d", "text"),
    [
        (SPIKE, "spike"),
        (TERNARY, "ternary"),
        (ANALOG, "analog"),
        (INTEGER, "int[-inf, inf]"),
        (Domain(-0.0, 2, 0), "analog[0, 2]"),
        (Domain(0, 1, 0.25), "grid[0, 1] by 0.25"),
        (Domain(-4, 4, 2), "int[-4, 4] by 2"),
    ],
)
def test_text(d: Domain, text: str) -> None:
    assert str(d) == text


@pytest.mark.parametrize("module", [domain_module, statistics])
def test_examples_in_the_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0 and result.failed == 0


@given(st.integers(1, 400), st.data())
def test_wilson_interval_solves_its_equation(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, n))
    rate = correct / n
    lo, hi = statistics.wilson_interval(correct, n)
    assert 0 <= lo <= rate + 1e-12 and rate - 1e-12 <= hi <= 1
    for bound in (lo, hi):  # |rate - p| = z sqrt(p (1 - p) / n), the equation it inverts
        if 1e-12 < bound < 1 - 1e-12:
            z = abs(rate - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(1.959963984540054, rel=1e-9)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_interval_refuses(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= correct <= n"):
        statistics.wilson_interval(correct, n)


# The lattice.


@given(DOMAINS, DOMAINS)
def test_join_holds_the_values_of_both_and_keeps_the_ends(a: Domain, b: Domain) -> None:
    both = join(a, b)
    assert values(a) <= values(both) or not both.step
    assert a <= both and b <= both
    assert (both.lo, both.hi) == (min(a.lo, b.lo), max(a.hi, b.hi))
    assert join(b, a) == both


@given(DOMAINS)
def test_join_with_itself_changes_nothing(a: Domain) -> None:
    both = join(a, a)
    assert both <= a and a <= both


@given(DOMAINS, st.lists(DOMAINS, min_size=1, max_size=12))
def test_widening_settles(start: Domain, rest: list[Domain]) -> None:
    changes, now = 0, start
    for d in rest:
        wide = widen(now, d)
        assert now <= wide and d <= wide
        changes += not wide <= now
        now = wide
    assert changes <= 4


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        (SPIKE, TERNARY, TERNARY),
        (Domain(0, 0, 0), Domain(1, 1, 0), SPIKE),
        (Domain(0, 0, 1), Domain(0, 0.5, 0.5), Domain(0, 0.5, 0.5)),
        (Domain(0, 4, 2), Domain(3, 6, 3), Domain(0, 6, 1)),
        (SPIKE, Domain(0.3, 0.3, 0), Domain(0, 1, 0)),  # 0.3 is not an exact part of 1
        (SPIKE, Domain(0, 1, 0), Domain(0, 1, 0)),
        (SPIKE, ANALOG, ANALOG),
    ],
)
def test_known_joins(a: Domain, b: Domain, both: Domain) -> None:
    assert join(a, b) == both


def test_known_widenings() -> None:
    assert widen(SPIKE, SPIKE) == SPIKE
    assert widen(SPIKE, Domain(0, 2, 1)) == Domain(0, np.inf, 1)
    assert widen(SPIKE, Domain(-1, 1, 1)) == Domain(-np.inf, 1, 1)
    assert widen(SPIKE, Domain(0, 1, 0.5)) == Domain(0, 1, 0)
    assert widen(Domain(0.5, 1.5, 1), Domain(-0.5, 1.5, 1)) == Domain(-np.inf, 1.5, 0)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [1, 3, 70_000])
def test_weights_are_looked_at_in_parts_as_a_whole(order: str, size: int) -> None:
    for scale in (0.37, 1.0):
        w = scale * np.random.default_rng(size).integers(-9, 10, (5, size))
        w = np.asarray(w, order=order)  # type: ignore[call-overload]
        reach = Reach.of(w)
        assert reach.positive.tobytes() == np.maximum(w, 0.0).sum(axis=1).tobytes()
        assert reach.negative.tobytes() == np.minimum(w, 0.0).sum(axis=1).tobytes()
        assert reach.whole == (scale == 1.0)
    assert not len(Reach.of(np.zeros((0, 3))).positive)
    late = np.zeros((2, size))
    late[-1, -1] = 0.5
    assert not Reach.of(late).whole
