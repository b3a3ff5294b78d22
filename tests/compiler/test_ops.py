"""The operations against torch in float64, and against loops in Python's whole numbers."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from helpers.strategies import FIXED, conv_geometry, convolution, input_shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from purespike.compiler.ir.domain import ANALOG, INTEGER, SPIKE, TERNARY, Array, Domain, integer
from purespike.compiler.ir.graph import Edge, IRError, Node, Op, Shape, build
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Relu,
    Scale,
    TimeMean,
)

CLOSE = {"rtol": 0, "atol": 1e-12}
SLOW = [HealthCheck.too_slow]


def once(op: Op, *inputs: Array) -> Array:
    """The first step of an operation that starts at rest."""
    edges = [Edge(f"i{k}", x.shape[1:], ANALOG) for k, x in enumerate(inputs)]
    shape, _ = op.infer(*edges)
    _, y = op.step(op.start(len(inputs[0]), shape), *inputs)
    assert y.shape == (len(inputs[0]), *shape)
    return y


def tensor(x: Array | None) -> torch.Tensor | None:
    return None if x is None else torch.tensor(x)


def random_input(seed: int, shape: Shape) -> tuple[np.random.Generator, Array]:
    r = np.random.default_rng(seed)
    return r, r.normal(size=(2, *shape))


@settings(deadline=None, suppress_health_check=SLOW)
@given(st.data(), input_shapes(), st.booleans(), st.integers(0, 2**32 - 1))
def test_convolution_is_torchs(data: Any, shape: Shape, bias: bool, seed: int) -> None:
    r, x = random_input(seed, shape)
    op = convolution(conv_geometry(data.draw, shape), shape[0], lambda s: r.normal(size=s), bias)
    y = torch.conv2d(
        torch.tensor(x),
        torch.tensor(op.weight),
        tensor(op.bias),
        op.stride,
        op.padding,
        op.dilation,
        op.groups,
    )
    np.testing.assert_allclose(once(op, x), y, **CLOSE)


@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_linear_is_torchs(inputs: int, outputs: int, bias: bool, seed: int) -> None:
    r, x = random_input(seed, (inputs,))
    op = Linear(r.normal(size=(outputs, inputs)), r.normal(size=outputs) if bias else None)
    y = nn.functional.linear(torch.tensor(x), torch.tensor(op.weight), tensor(op.bias))
    np.testing.assert_allclose(once(op, x), y, **CLOSE)


@st.composite
def pools(draw: st.DrawFn) -> tuple[Shape, Any, Any, Any]:
    shape = draw(input_shapes())
    kernel = tuple(draw(st.integers(1, min(3, n))) for n in shape[1:])
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)  # torch allows no more
    return shape, kernel, stride, padding


@given(pools(), st.integers(0, 99))
def test_average_pooling_is_torchs(pool: tuple[Shape, Any, Any, Any], seed: int) -> None:
    shape, *geometry = pool
    _, x = random_input(seed, shape)
    y = nn.AvgPool2d(*geometry)(torch.tensor(x))
    np.testing.assert_allclose(once(AvgPool2d(*geometry), x), y, **CLOSE)


@given(pools(), st.integers(0, 99))
def test_max_pooling_is_torchs(pool: tuple[Shape, Any, Any, Any], seed: int) -> None:
    shape, *geometry = pool
    _, x = random_input(seed, shape)
    op = MaxPool2d(*geometry)
    op.infer(Edge("x", shape, SPIKE))
    np.testing.assert_array_equal(op.step(None, x)[1], nn.MaxPool2d(*geometry)(torch.tensor(x)))


def test_max_pooling_of_padding_alone_refuses_negative_values() -> None:
    x = Edge("x", (1, 4, 4), TERNARY)
    assert MaxPool2d((2, 2), (2, 2)).infer(x) == ((1, 2, 2), TERNARY)
    ones = Edge("x", (1, 4, 4), Domain(1, 1, 1))  # but a window in the padding holds zeros
    assert MaxPool2d((1, 1), (1, 1), (1, 1)).infer(ones)[1] == Domain(0, 1, 1)
    assert MaxPool2d((2, 2), (2, 2), (1, 1)).infer(x) == ((1, 3, 3), TERNARY)
    with pytest.raises(IRError, match="values of 0 and more"):
        MaxPool2d((2, 2), (2, 2), (2, 2)).infer(x)


@given(input_shapes(), st.integers(0, 99))
def test_batch_norm_is_torchs_in_evaluation(shape: Shape, seed: int) -> None:
    r, x = random_input(seed, shape)
    c = shape[0]
    op = BatchNorm(r.normal(size=c), r.normal(size=c), r.normal(size=c), r.random(c), 1e-3)
    y = nn.functional.batch_norm(
        torch.tensor(x),
        *(torch.tensor(a) for a in (op.mean, op.variance, op.gamma, op.beta)),
        eps=op.eps,
    )
    np.testing.assert_allclose(once(op, x), y, **CLOSE)
    factor, shift = op.affine()
    affine = x * factor[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(affine, y, **CLOSE)


def test_flatten_and_relu_are_torchs() -> None:
    _, x = random_input(0, (2, 3, 4))
    np.testing.assert_array_equal(once(Flatten(), x), torch.tensor(x).flatten(1))
    np.testing.assert_array_equal(once(Relu(), x), torch.relu(torch.tensor(x)))


@pytest.mark.parametrize("factor", [2.0, -0.5, [[[2.0]], [[3.0]]], [[[1.0, -2.0]]]])
def test_scale_multiplies_value_by_value(factor: Any) -> None:
    _, x = random_input(0, (2, 3, 2))
    np.testing.assert_array_equal(once(Scale(factor), x), x * np.array(factor))


def test_time_mean_builds_up_to_torchs() -> None:
    r = np.random.default_rng(0)
    x = r.normal(size=(5, 2, 3))
    op, state, y = TimeMean(5), np.zeros((2, 3)), np.zeros(0)
    for t in range(5):
        state, y = op.step(state, x[t])
        np.testing.assert_allclose(y, x[: t + 1].sum(0) / 5, **CLOSE)
    np.testing.assert_allclose(y, torch.tensor(x).mean(0), **CLOSE)


# The neuron.


def membranes(
    op: Neuron, x: Array
) -> tuple[list[int], list[Fraction]]:  # one neuron: x is (T,), exact by fractions
    """A loop over the definition, in exact arithmetic."""
    v, spikes, kept = Fraction(op.initial), [], []
    theta, amount = Fraction(float(op.threshold)), Fraction(float(op.amount))
    for current in x:
        v = Fraction(op.decay) * v + Fraction(float(current))
        fired = v >= theta
        if fired:
            v = Fraction(0) if op.reset == "zero" else v - amount
        spikes.append(int(fired))
        kept.append(v)
    return spikes, kept


DYADIC = st.integers(-16, 16).map(lambda k: k / 8)


@given(
    st.lists(DYADIC, min_size=1, max_size=8),
    st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    st.sampled_from(["zero", "subtract"]),
    st.integers(1, 16).map(lambda k: k / 8),
    st.integers(1, 16).map(lambda k: k / 8),
    DYADIC,
)
def test_neuron_in_real_numbers(
    x: list[float], decay: float, reset: Any, threshold: float, amount: float, initial: float
) -> None:
    op = Neuron(threshold, decay, reset, np.array(amount), initial)
    state, spikes, kept = op.start(1, (1,)), [], []
    for current in x:
        state, s = op.step(state, np.array([[current]]))
        spikes.append(int(s[0, 0]))
        kept.append(Fraction(float(state[0, 0])))
    assert (spikes, kept) == membranes(op, np.array(x))


def loihi(x: list[int], dv: int, vth: int, amount: int | None, limit: int) -> list[tuple[int, int]]:
    """lava-nc 0.10.0, PyLifModelBitAcc without a current's memory, in Python's integers."""
    v, rows = 0, []
    for current in x:
        kept = abs(v) * (4096 - dv) >> 12  # towards zero
        v = (kept if v >= 0 else -kept) + (current << 6)
        v = max(-limit, min(limit, v))
        fired = v > vth << 6
        if fired:
            v = 0 if amount is None else v - (amount << 6)
        rows.append((int(fired), v))
    return rows


@given(
    st.lists(
        st.one_of(st.integers(-8, 8), st.integers(-200_000, 200_000)), min_size=1, max_size=12
    ),
    st.sampled_from([0, 1, 410, 2048, 4094, 4095, 4096]),
    st.one_of(st.integers(0, 8), st.integers(0, 131_071)),
    st.none() | st.integers(1, 8) | st.integers(1, 131_071),
    st.sampled_from([24, 12]),
)
def test_neuron_in_fixed_point(
    x: list[int], dv: int, vth: int, amount: int | None, width: int
) -> None:
    fixed = FixedPoint(width=width)
    decay = (4096 - dv) / 4096
    # Strict vth in a chip that fires on >: on >= that is one unit of the membrane more.
    op = Neuron(
        vth + 2.0**-6,
        decay,
        "zero" if amount is None else "subtract",
        np.array(0 if amount is None else amount),
        fixed=fixed,
    )
    state, rows = op.start(1, (1,)), []
    for current in x:
        state, s = op.step(state, np.array([[float(current)]]))
        rows.append((int(s[0, 0]), int(state[0, 0])))
        assert state[0, 0] == int(state[0, 0])
    assert rows == loihi(x, dv, vth, amount, fixed.limit)


def test_integrator_gives_its_membrane_and_never_fires() -> None:
    op = Neuron(np.inf, 0.5, "none")
    state, seen = op.start(1, (1,)), []
    for _ in range(3):
        state, y = op.step(state, np.array([[4.0]]))
        seen.append(y[0, 0])
    assert seen == [4.0, 6.0, 7.0]
    assert not op.fires and op.arrays() == {}


def test_integrator_saturates_within_its_domain() -> None:
    op = Neuron(np.inf, reset="none", fixed=FixedPoint())
    shape, domain = op.infer(Edge("x", (1,), integer(24)))
    state = op.start(1, shape)
    for current in (-(2.0**23), 5.0, 2.0**23 - 1):
        state, y = op.step(state, np.array([[current]]))
        assert domain.holds(y), (domain, y)
    assert y[0, 0] == (2**23 - 1) / 64


def test_fixed_integrator_of_whole_currents_keeps_a_grid() -> None:
    x = Edge("x", (1,), integer(8))
    assert Neuron(np.inf, reset="none").infer(x)[1] == INTEGER
    for decay in (1.0, 0.5):
        _, domain = Neuron(np.inf, decay, "none", fixed=FixedPoint()).infer(x)
        assert domain.step == 2.0**-6


def test_neuron_fires_on_a_tie_and_an_array_of_thresholds_broadcasts() -> None:
    op = Neuron(np.array([1.0, 2.0]).reshape(2, 1, 1))
    x = np.ones((1, 2, 1, 2))
    _, s = op.step(op.start(1, (2, 1, 2)), x)
    np.testing.assert_array_equal(s, [[[[1, 1]], [[0, 0]]]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": 1.5}, "decay of a neuron is a factor"),
        ({"decay": -0.1}, "decay of a neuron is a factor"),
        ({"decay": float("nan")}, "decay of a neuron is a factor"),
        ({"reset": "soft"}, "unknown reset"),
        ({"decay": 0.3, "fixed": FIXED}, "off the chip's grid"),
    ],
)
def test_neurons_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(IRError, match=message):
        Neuron(1.0, **arguments)


# Joins.

TRUTH: dict[str, Any] = {
    "and": lambda bits: all(bits),
    "or": lambda bits: any(bits),
    "xor": lambda bits: sum(bits) % 2 == 1,
    "iand": lambda bits: not bits[0] and bits[1],
}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [(k, n) for k in ("and", "or", "xor") for n in (2, 3, 4)] + [("iand", 2)],
)
def test_truth_tables_of_the_gates(kind: Any, inputs: int) -> None:
    rows = np.array(list(itertools.product([0.0, 1.0], repeat=inputs)))
    _, y = Gate(kind).step(None, *rows.T[:, :, None])
    np.testing.assert_array_equal(y[:, 0], [float(TRUTH[kind](row)) for row in rows])


def test_gates_that_cannot_be() -> None:
    a, b = Edge("a", (2,), SPIKE), Edge("b", (2,), TERNARY)
    with pytest.raises(IRError, match="unknown gate"):
        Gate("nand")  # type: ignore[arg-type]
    with pytest.raises(IRError, match="takes spikes only"):
        Gate("or").infer(a, b)
    with pytest.raises(IRError, match="takes two inputs"):
        Gate("iand").infer(a, a, a)
    for op in (Gate("or"), Add()):
        with pytest.raises(IRError, match="two or more inputs of one shape"):
            op.infer(a, Edge("c", (3,), SPIKE))
        with pytest.raises(IRError, match="two or more inputs of one shape"):
            op.infer(a)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_delay_gives_back_its_input_later(steps: int) -> None:
    x = np.arange(1.0, 6.0)
    op = Delay(steps)
    state, seen = op.start(1, (1,)), []
    for value in x:
        state, y = op.step(state, np.array([[value]]))
        seen.append(y[0, 0])
    assert seen == [0.0] * steps + list(x[: 5 - steps])


def test_delays_that_cannot_be() -> None:
    for steps in (0, 1.5, [1, 0], []):
        with pytest.raises(IRError, match="at least one step"):
            Delay(steps)


@pytest.mark.parametrize(
    ("before", "after"),
    [((1, 2, 1), (0, 2, 1)), ((-1, 1, 2), (-1, 1, 0)), ((-3, -2, 0.5), (-3, 0, 0.5))],
)
def test_a_delay_starts_with_zeros(before: Any, after: Any) -> None:
    _, domain = Delay(1).infer(Edge("x", (1,), Domain(*before)))
    assert domain == Domain(*after)


# Typing: what an operation makes lies in the domain it infers.

IN_DOMAINS = st.sampled_from(
    [
        SPIKE,
        TERNARY,
        integer(4),
        Domain(-1, 1, 2),
        Domain(1, 3, 1),
        Domain(0, 2, 0.25),
        Domain(-1, 1, 0),
        Domain(0, 0.5, 0),
    ]
)


def sample(r: np.random.Generator, domain: Domain, shape: Shape) -> Array:
    if domain.step:
        count = round((domain.hi - domain.lo) / domain.step)
        return domain.lo + domain.step * r.integers(0, count + 1, shape)
    return r.uniform(domain.lo, domain.hi, shape)


@st.composite
def operations(draw: st.DrawFn, shape: Shape, r: np.random.Generator) -> Op:
    whole = draw(st.booleans())

    def values(size: Shape) -> Array:
        return r.integers(-2, 3, size).astype(float) if whole else r.normal(size=size)

    pool = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    padding = draw(st.sampled_from([(0, 0), (1, 0), (1, 1)]))
    makers = [
        lambda: convolution(conv_geometry(draw, shape), shape[0], values, draw(st.booleans())),
        lambda: AvgPool2d(pool, (1, 2), padding),
        lambda: MaxPool2d(pool, (2, 1), padding),
        lambda: Scale(values(draw(st.sampled_from([(), (shape[0], 1, 1), shape])))),
        lambda: Add(),
        lambda: TimeMean(3),
        lambda: Delay(2),
        lambda: Delay(r.integers(1, 4, shape)),
        lambda: Flatten(),
        lambda: Relu(),
        lambda: Neuron(0.5, 0.5, draw(st.sampled_from(["zero", "none"]))),
        lambda: Neuron(np.inf, 0.5, "none", fixed=FIXED),
    ]
    return draw(st.sampled_from(makers))()


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(st.data(), input_shapes(), IN_DOMAINS, st.integers(0, 2**32 - 1))
def test_every_value_lies_in_the_inferred_domain(
    data: Any, shape: Shape, domain: Domain, seed: int
) -> None:
    r = np.random.default_rng(seed)
    op = data.draw(operations(shape, r))
    edges = [Edge("x", shape, domain)] * (2 if isinstance(op, Add) else 1)
    try:
        out, inferred = op.infer(*edges)
    except IRError:
        return  # a delay or a padded maximum of values that its zeros do not belong to
    state = op.start(2, out)
    for _ in range(3):
        state, y = op.step(state, *(sample(r, domain, (2, *shape)) for _ in edges))
        assert y.shape == (2, *out)
        assert inferred.holds(y), (op, inferred, y)


@pytest.mark.parametrize(
    ("domain", "factor", "expected"),
    [
        (SPIKE, 3.0, Domain(0, 3, 3)),
        (SPIKE, -1.0, Domain(-1, 0, 1)),
        (SPIKE, 0.0, Domain(0, 0, 0)),
        (Domain(1, np.inf, 2), -1.0, Domain(-np.inf, -1, 0)),  # odd numbers: no grid through 0
        (Domain(2, np.inf, 2), -1.0, Domain(-np.inf, -2, 2)),
        (ANALOG, 2.0, ANALOG),
        (SPIKE, [2.0, -1.0], Domain(-1, 2, 1)),
    ],
)
def test_domain_of_a_scaled_edge(domain: Domain, factor: Any, expected: Domain) -> None:
    assert Scale(factor).infer(Edge("x", (2,), domain))[1] == expected


X = Edge("x", (2, 4, 4), SPIKE)
FLAT = Edge("x", (4,), SPIKE)


@pytest.mark.parametrize(
    ("op", "edge", "message"),
    [
        (Conv2d(np.zeros((2, 3, 1, 1))), X, "convolution does not fit"),
        (Conv2d(np.zeros((2, 2, 1, 1))), FLAT, "convolution does not fit"),
        (Conv2d(np.zeros((3, 1, 1, 1)), groups=2), X, "convolution does not fit"),
        (Conv2d(np.zeros((2, 2, 5, 5))), X, "kernel is larger"),
        (Conv2d(np.zeros((2, 2, 3, 3)), dilation=(2, 1)), X, "kernel is larger"),
        (Conv2d(np.zeros((2, 2, 1, 1)), np.zeros(3)), X, "convolution does not fit"),
        (Conv2d(np.zeros((2, 2, 1, 1)), np.zeros(1)), X, "convolution does not fit"),
        (Conv2d(np.zeros((2, 2, 1))), X, "convolution does not fit"),
        (Linear(np.zeros((2, 3))), FLAT, "linear layer does not fit"),
        (Linear(np.zeros((2, 4)), np.zeros(3)), FLAT, "linear layer does not fit"),
        (Linear(np.zeros((2, 4)), np.zeros(1)), FLAT, "linear layer does not fit"),
        (Linear(np.zeros(4)), FLAT, "linear layer does not fit"),
        (AvgPool2d((5, 5), (1, 1)), X, "pool is larger"),
        (MaxPool2d((5, 5), (1, 1)), X, "pool is larger"),
        (AvgPool2d((2, 2), (1, 1)), FLAT, "pooling takes"),
        (BatchNorm(*(np.ones(3) for _ in range(4)), 0.0), X, "batch norm does not fit"),
        (
            BatchNorm(np.ones(2), np.ones(1), np.ones(2), np.ones(2), 0.0),
            X,
            "batch norm does not fit",
        ),
        (Scale(np.ones(3)), X, "parameter does not fit"),
        (Scale(np.ones((1, 2, 4, 4))), X, "parameter does not fit"),
        (Neuron(np.ones((3, 1, 1))), X, "parameter does not fit"),
        (Neuron(1.0, reset="subtract", amount=np.ones((3, 1, 1))), X, "parameter does not fit"),
    ],
)
def test_ill_fitting_shapes_name_the_module(op: Op, edge: Edge, message: str) -> None:
    with pytest.raises(IRError, match=message) as e:
        build((edge,), [("layer", op, ("x",))], ("layer",), 1)
    assert "%layer (module layer)" in e.value.where
    draft = build((edge,), [], ("x",), 1)
    with pytest.raises(IRError, match=message) as e:
        draft.rebuilt([Node(op, ("x",), Edge("layer", (), SPIKE), origin="net.block.conv")])
    assert "net.block.conv" in e.value.where


def test_parameters_cannot_be_changed() -> None:
    weight = np.ones((2, 2))
    op = Linear(weight)
    weight[0, 0] = 5.0  # ours, not the op's
    assert op.weight[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0, 0] = 5.0


@pytest.mark.parametrize(
    ("op", "names"),
    [
        (Conv2d(np.zeros((1, 1, 1, 1))), ["weight"]),
        (Linear(np.zeros((1, 1)), np.zeros(1)), ["weight", "bias"]),
        (Scale(2.0), ["factor"]),
        (Neuron(1.0), ["threshold"]),
        (Neuron(1.0, reset="subtract"), ["threshold", "amount"]),
        (BatchNorm(*(np.ones(1) for _ in range(4)), 0.1), ["gamma", "beta", "mean", "variance"]),
        (Add(), []),
    ],
)
def test_names_of_the_parameters(op: Op, names: list[str]) -> None:
    assert list(op.arrays()) == names
