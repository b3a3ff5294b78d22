"""Arithmetic in a forward that is logic of spikes: the gates that it says, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.trainer.capture.precision import InFloat64
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.nn import layers
from purespike.trainer.nn.neuron import IF

SHAPE, STEPS = (2, 5, 4), 4
Join = Callable[[Tensor, Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Two layers of spikes beside those of the input, and a join of the three."""

    def __init__(self, join: Join, closed: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = layers.Conv2d(2, 2, 3, padding=1), layers.Conv2d(2, 2, 3, padding=1)
        self.na, self.nb = IF(threshold=0.2), IF(threshold=0.3)
        self.last = IF(threshold=0.5) if closed else nn.Identity()
        self.join = join
        self.conv = layers.Conv2d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(self.join(self.na(self.a(x)), self.nb(self.b(x)), x)))


GATES: dict[str, tuple[Join, list[str]]] = {
    "and": (lambda a, b, x: a * b, ["and"]),
    "torch and": (lambda a, b, x: torch.mul(a, b), ["and"]),
    "minimum": (lambda a, b, x: torch.minimum(a, b), ["and"]),
    "min": (lambda a, b, x: torch.min(a, b), ["and"]),
    "logical and": (lambda a, b, x: torch.logical_and(a, b).float(), ["and"]),
    "bits and": (lambda a, b, x: (a.bool() & b.bool()).double(), ["and"]),
    "both": (lambda a, b, x: (a + b > 1.5).to(a.dtype), ["and"]),
    "both again": (lambda a, b, x: ((a + b) >= 2).type_as(a), ["and"]),
    "bool product": (lambda a, b, x: (a.bool() * b.bool()).to(torch.float32), ["and"]),
    "or": (lambda a, b, x: a + b - a * b, ["or"]),
    "or in another order": (lambda a, b, x: b * (1 - a) + a, ["or"]),
    "maximum": (lambda a, b, x: torch.maximum(a, b), ["or"]),
    "clamp": (lambda a, b, x: torch.clamp(a + b, max=1), ["or"]),
    "clamp method": (lambda a, b, x: (a + b).clamp(0, 1), ["or"]),
    "clamp max": (lambda a, b, x: (a + b).clamp_max(1.0), ["or"]),
    "clip": (lambda a, b, x: torch.clip(a + b, 0.0, 1.0), ["or"]),
    "logical or": (lambda a, b, x: a.logical_or(b).float(), ["or"]),
    "any": (lambda a, b, x: (a + b > 0).float(), ["or"]),
    "de Morgan": (lambda a, b, x: 1 - (1 - a) * (1 - b), ["or"]),
    "bool sum": (lambda a, b, x: (a.bool() + b.bool()).float(), ["or"]),
    "bits or": (lambda a, b, x: (a.int() | b.int()).float(), ["or"]),
    "or in place": (lambda a, b, x: (a + b).clamp_(max=1), ["or"]),
    "xor": (lambda a, b, x: a + b - 2 * a * b, ["xor"]),
    "logical xor": (lambda a, b, x: torch.logical_xor(a, b).to(x), ["xor"]),
    "bits xor": (lambda a, b, x: (a.bool() ^ b.bool()).float(), ["xor"]),
    "unequal": (lambda a, b, x: (a != b).float(), ["xor"]),
    "distance": (lambda a, b, x: (a - b).abs(), ["xor"]),
    "square": (lambda a, b, x: (a - b).square(), ["xor"]),
    "iand": (lambda a, b, x: (1 - a) * b, ["iand"]),
    "iand swapped": (lambda a, b, x: a * (1 - b), ["iand"]),
    "rsub": (lambda a, b, x: torch.rsub(a, 1.0) * b, ["iand"]),
    "not": (lambda a, b, x: (~a.bool() & b.bool()).float(), ["iand"]),
    "greater": (lambda a, b, x: (a > b).float(), ["iand"]),
    "relu": (lambda a, b, x: (a - b).clamp(min=0), ["iand"]),
    "where": (lambda a, b, x: torch.where(a > 0, 0.0, b), ["iand"]),
    "where method": (lambda a, b, x: b.where(a == 0, 0), ["iand"]),
    "three and": (lambda a, b, x: a * b * x, ["and", "and"]),
    "three or": (lambda a, b, x: (a + b + x).clamp(max=1), ["or"]),
    "parity": (lambda a, b, x: a + b + x - 2 * (a * b + b * x + a * x) + 4 * a * b * x, ["xor"]),
    "nested": (lambda a, b, x: torch.maximum(a * b, x * (1 - a)), ["and", "iand", "or"]),
    "both ways": (lambda a, b, x: a * b + (1 - a) * b, []),
    "choice": (lambda a, b, x: torch.where(a > 0, b, x), ["and", "and"]),  # a sum of gates
    "majority": (lambda a, b, x: (a + b + x >= 2).float(), ["and"] * 4),
    "one left": (lambda a, b, x: a * 1.0 + 0 * b, []),
}  # fmt: skip


def check(join: Join) -> list[str]:
    """Equal to torch in float64 before and after lowering; the kinds of the gates, in order."""
    model = Net(join).double().eval()
    r = np.random.default_rng(0)
    x = (r.random((STEPS, 8, *SHAPE)) < 0.5).astype(np.float64)
    graph = capture(model, SHAPE, STEPS).graph
    verify(graph)
    with torch.no_grad(), InFloat64():
        wanted = model(torch.from_numpy(x)).numpy()
    assert 0 < wanted.mean() < 1
    for g in (graph, lower_gates(graph)):
        np.testing.assert_array_equal(run(g, x).values[g.outputs[0]], wanted)
    read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    assert {n.name for n in graph.nodes} - {"na", "nb", "a", "b"} <= read  # nothing left over
    return [n.op.kind for n in graph.nodes if isinstance(n.op, ops.Gate)]


@pytest.mark.parametrize(("join", "kinds"), GATES.values(), ids=list(GATES))
def test_gates(join: Join, kinds: list[str]) -> None:
    assert check(join) == kinds


def test_every_function_of_two_spikes_is_one_gate_or_refused() -> None:
    """All 16 truth tables as polynomials: 8 compile, and 8 that fire in silence are refused."""
    done = {}
    for table in range(16):
        f = [(table >> k) & 1 for k in range(4)]  # at 00, 01, 10, 11

        def join(a: Tensor, b: Tensor, x: Tensor, f: list[int] = f) -> Tensor:
            first, second = f[1] - f[0], f[2] - f[0]
            return f[0] + second * a + first * b + (f[3] - f[2] - f[1] + f[0]) * a * b

        try:
            done[table] = check(join) if table else ["silent"]
        except CaptureError as e:
            assert (f[0] == 1 and "constant beside" in e.message) or "not a gate" in e.message
    assert sorted(done) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert done[8] == ["and"] and done[14] == ["or"] and done[6] == ["xor"]


def test_sums_stay_sums() -> None:
    """``a + b`` of spikes is SEW's join, an integer, in its old place and under its old name."""
    graph = capture(Net(lambda a, b, x: a + b), SHAPE, STEPS).graph
    assert [n.name for n in graph.nodes if isinstance(n.op, ops.Add)] == ["add"]
    edge = graph.edge("add")
    assert (edge.domain.lo, edge.domain.hi) == (0, 2)


def test_constant_factors_are_synapses() -> None:
    """Of spikes and of currents; of a parameter, one for each channel."""

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2d(2, 2, 1)
            self.gain = nn.Parameter(torch.tensor([0.5, -2.0]).view(2, 1, 1))
            self.last = IF(threshold=0.25)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.gain.abs() * self.conv(x) / 2 + 0.75 * x - x)

    torch.manual_seed(0)
    model = Factors().double()
    x = (np.random.default_rng(1).random((STEPS, 8, *SHAPE)) < 0.5).astype(np.float64)
    graph = capture(model, SHAPE, STEPS).graph
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(run(graph, x).values[graph.outputs[0]], wanted)
    factors = sorted(
        np.ravel(n.op.factor).tolist() for n in graph.nodes if isinstance(n.op, ops.Scale)
    )
    assert factors == [[-0.25], [0.25, 1.0]]


def test_a_gate_is_named_after_the_module_that_says_it() -> None:
    class Inner(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a * (1 - b)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n, self.inner = IF(threshold=0.5), Inner()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x, self.n(x))

    graph = capture(Outer(), SHAPE, STEPS).graph
    assert graph.nodes[-1].name == "inner.iand" and graph.nodes[-1].origin == "inner"
    assert graph.nodes[-1].inputs == ("n", "x") and graph.edge("inner.iand").domain == SPIKE


def attention(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return a @ b.transpose(-1, -2)


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda a, b, x: 1 - a, "a constant beside"),
        (lambda a, b, x: torch.logical_not(a).float(), "a constant beside"),
        (lambda a, b, x: (a == b).float(), "a constant beside"),
        (lambda a, b, x: ~a.int() + b, "~ of a number"),
        (lambda a, b, x: a.bool() - b.bool(), "difference of bools"),
        (lambda a, b, x: a / b, "division by a value"),
        (lambda a, b, x: a & b, "other values than 0 and 1"),
        (lambda a, b, x: a.to(torch.uint8) - b, "no operation for to"),
        (lambda a, b, x: torch.max(a, 1), "no operation for max"),
        (lambda a, b, x: a.max(), "no operation for max"),
        (lambda a, b, x: a + b[..., :1], "different shapes or orders meet"),
        (attention, "multiplies what it computes"),
    ],
)
def test_refused(join: Join, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(Net(join), SHAPE, STEPS)
    assert e.value.where
