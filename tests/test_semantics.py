"""The equations of docs/semantics.md, written out in plain Python, against the interpreter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import INTEGER
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.graph import build as build_graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.ops.neuron import FixedPoint

LIMIT = 2**23 - 1


def interpreted(neuron: Neuron, xs: list[int]) -> list[float]:
    """What the interpreter's only neuron puts out, step by step."""
    edge = Edge("x", (1,), INTEGER)
    graph = build_graph((edge,), (("n", neuron, ("x",)),), ("n",), len(xs), 1e-3)
    values = run(graph, np.array(xs, float).reshape(-1, 1, 1)).values["n"]
    return [float(v) for v in values.ravel()]


def trunc(x: Fraction) -> int:
    return int(x)  # towards zero, for both signs


currents = st.lists(st.integers(-300_000, 300_000) | st.integers(-9, 9), min_size=1, max_size=12)
grid = st.integers(0, 4096)


@settings(max_examples=300, deadline=None)
@given(
    currents,
    grid,
    st.integers(0, 4095),
    st.integers(1, 40),
    st.sampled_from(["zero", "subtract", "none"]),
)
def test_fixed_point_is_what_the_page_says(
    xs: list[int], decay: int, fade: int, threshold: int, reset: str
) -> None:
    neuron = Neuron(
        np.array(float(threshold)),
        decay / 4096,
        reset,  # type: ignore[arg-type]
        fixed=FixedPoint(),
        current_decay=fade / 4096,
    )
    u = v = 0
    said = []
    for x in xs:
        u = trunc(Fraction(fade * u, 4096)) + 64 * x
        w = max(-LIMIT, min(LIMIT, trunc(Fraction(decay * v, 4096)) + u))
        fires = reset != "none" and w >= 64 * threshold
        v = w if not fires else 0 if reset == "zero" else w - 64 * threshold
        said.append(w / 64 if reset == "none" else float(fires))
    assert interpreted(neuron, xs) == said


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-9, 9), min_size=1, max_size=12),
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([0, 1, 2, 3]),
    st.integers(1, 9),
    st.sampled_from(["zero", "subtract"]),
)
def test_real_numbers_are_what_the_page_says(
    xs: list[int], decay: int, fade: int, threshold: int, reset: str
) -> None:
    # Quarters: binary fractions, so that twelve steps of them are exact in doubles.
    neuron = Neuron(np.array(float(threshold)), decay / 4, reset, current_decay=fade / 4)  # type: ignore[arg-type]
    u = v = Fraction(0)
    said = []
    for x in xs:
        u = Fraction(fade, 4) * u + x
        w = Fraction(decay, 4) * v + u
        fires = w >= threshold  # at the threshold, too
        v = w if not fires else Fraction(0) if reset == "zero" else w - threshold
        said.append(float(fires))
    assert interpreted(neuron, xs) == said
